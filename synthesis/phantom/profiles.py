"""Height profiles of the canonical chest: a table of every outline that changes with height.

Frame: x to the patient's left, y anterior, z superior, in canonical millimetres (an average adult). A body's own size
is an affine scale of this frame, so every profile is written once. Levels: the lung apex lies at z = 146, the carina
near 58, the domes of the diaphragm near -40.
"""

from collections.abc import Sequence

import numpy as np

from .parameters import BodyParameters, PoseParameters


Z_MIN, Z_MAX, Z_STEP = -300.0, 300.0, 0.5
COLUMNS = (
    "cage_x", "cage_y", "cage_yc", "body_x", "body_y", "body_yc", "mid_x", "spine_y", "med_r", "med_l",
    "desc_x", "desc_y", "desc_r", "asc_x", "asc_y", "asc_r", "svc_x", "svc_y", "svc_r", "paraspinal",
    "arm_x", "arm_y", "arm_r", "body_mid_x", "spine_x",
    "body_ix", "body_iy", "cage_ix", "cage_iy",
)  # fmt: skip
C = {name: index for index, name in enumerate(COLUMNS)}

_CAGE_X = [(-300, 118), (-200, 128), (-150, 135), (-100, 140), (-50, 142), (0, 137), (40, 127), (70, 117), (82, 112),
           (102, 104), (112, 97), (122, 88), (132, 75), (138, 61), (142, 46), (146, 14), (300, 1)]  # fmt: skip
_CAGE_Y = [(-300, 78), (-200, 82), (-150, 88), (-100, 95), (-50, 94), (0, 88), (50, 76), (95, 63), (122, 50),
           (134, 40), (142, 28), (146, 12), (300, 1)]  # fmt: skip
_CAGE_YC = [(-300, 8), (-200, 8), (-100, 6), (0, 0), (60, -8), (100, -16), (140, -24), (300, -26)]
_SPINE_Y = [
    (-300, -46),
    (-200, -52),
    (-120, -60),
    (-40, -72),
    (20, -76),
    (80, -68),
    (140, -50),
    (200, -38),
    (300, -30),
]
_MED_R = [
    (-300, 34),
    (-100, 30),
    (-40, 22),
    (0, 20),
    (25, 20),
    (58, 21),
    (85, 24),
    (110, 26),
    (130, 30),
    (150, 36),
    (300, 40),
]
_MED_L = [
    (-300, 34),
    (-100, 28),
    (-40, 22),
    (0, 20),
    (25, 19),
    (58, 20),
    (85, 25),
    (110, 27),
    (130, 30),
    (150, 36),
    (300, 40),
]


def interpolate(z: np.ndarray, points: Sequence[tuple[float, float]]) -> np.ndarray:
    """Piecewise cubic-smoothed profile through (z, value) points; constant outside."""
    heights, values = np.array(points, float).T
    line = np.interp(z, heights, values)
    # A short moving average rounds the corners, so that no film shows a kink at a table row.
    width = int(14 / Z_STEP)
    kernel = np.hanning(2 * width + 1)
    padded = np.pad(line, width, mode="edge")
    return np.convolve(padded, kernel / kernel.sum(), mode="valid")


def heights() -> np.ndarray:
    """Heights of the table rows, shape (rows,)."""
    return np.arange(Z_MIN, Z_MAX + Z_STEP / 2, Z_STEP)


def build_profiles(body: BodyParameters, pose: PoseParameters) -> np.ndarray:
    """Profile table, float32 (rows, len(COLUMNS))."""
    z = heights()
    table = np.zeros((len(z), len(COLUMNS)), np.float32)

    def put(name: str, values: np.ndarray | float) -> None:
        table[:, C[name]] = values

    cage_x = interpolate(z, _CAGE_X)
    # Lung shape: exponent above 1 makes bullet-shaped, below 1 boxy upper chests.
    cage_x = cage_x.max() * np.clip(cage_x / cage_x.max(), 1e-3, 1) ** body.cage_taper
    cage_x *= 1 + body.base_flare * np.clip((-z) / 140, -0.6, 1.0)
    cage_y = interpolate(z, _CAGE_Y)
    yc = interpolate(z, _CAGE_YC) - body.kyphosis * 14 * np.exp(-(((z - 60) / 70) ** 2))
    put("cage_x", cage_x)
    put("cage_y", cage_y)
    put("cage_yc", yc)

    wall = body.wall + body.wall_low * np.clip((-z - 20) / 120, 0, 1)
    trunk = np.maximum(cage_x, 112) + wall
    shoulder = interpolate(z, [(-300, 0), (40, 0), (75, 0.35), (98, 0.9), (112, 1.0), (124, 1.0), (138, 0.9),
                               (152, 0.55), (168, 0.12), (185, 0), (300, 0)])  # fmt: skip
    neck = interpolate(
        z, [(-300, 400), (95, 400), (120, 250), (140, 190), (156, 128), (170, 88), (186, 68), (215, 60), (300, 62)]
    )
    put("body_x", np.minimum(trunk + shoulder * np.maximum(body.shoulder - trunk, 0), neck * body.neck))
    depth = interpolate(
        z,
        [
            (-300, 96),
            (-200, 100),
            (-100, 108),
            (-40, 108),
            (20, 102),
            (70, 94),
            (115, 84),
            (150, 70),
            (200, 57),
            (300, 58),
        ],
    )
    put("body_y", depth + body.wall * 0.42 + body.belly * np.clip((-z - 40) / 110, 0, 1) * 30)
    put(
        "body_yc",
        interpolate(z, [(-300, 6), (-200, 4), (0, -4), (100, -16), (150, -22), (300, -20)]) + body.belly * 10,
    )
    curve = body.scoliosis * np.sin((z + 60) / 110 * np.pi)
    put("mid_x", pose.mediastinal_shift * np.exp(-(((z - 20) / 110) ** 2)) + 0.8 * curve)
    put("body_mid_x", 0.4 * curve)
    put("spine_x", curve)
    put("spine_y", interpolate(z, _SPINE_Y) - body.kyphosis * 12 * np.exp(-(((z - 60) / 70) ** 2)))

    widen = np.exp(-(((z - 88) / 42) ** 2)) * pose.mediastinal_widening
    put("med_r", interpolate(z, _MED_R) * body.mediastinum_r + widen)
    put("med_l", interpolate(z, _MED_L) * body.mediastinum_l + widen)
    put("paraspinal", interpolate(z, [(-300, 26), (-200, 24), (-60, 21), (60, 18), (140, 22), (300, 26)]))

    unfold = body.aortic_unfolding
    inside = ((z > -300) & (z < 74)).astype(float)
    put(
        "desc_x",
        interpolate(z, [(-300, 4), (-140, 8), (-60, 18), (10, 24), (44, 27), (74, 26), (300, 26)])
        + unfold * 9 * np.exp(-(((z - 10) / 70) ** 2)),
    )
    put("desc_y", interpolate(z, [(-300, -44), (-140, -50), (-60, -56), (10, -54), (44, -46), (74, -30), (300, -30)]))
    put("desc_r", interpolate(z, [(-300, 10), (-60, 11.5), (40, 13), (74, 13.5), (300, 13)]) * body.aorta * inside)
    inside = ((z > -20) & (z < 74)).astype(float)
    put(
        "asc_x",
        interpolate(z, [(-300, 2), (-20, 2), (14, -10), (40, -15), (74, -10), (300, -8)])
        - unfold * 7 * np.exp(-(((z - 35) / 30) ** 2)),
    )
    put("asc_y", interpolate(z, [(-300, 20), (-12, 18), (14, 26), (40, 25), (74, 16), (300, 14)]))
    put("asc_r", interpolate(z, [(-300, 15), (14, 16), (40, 16), (74, 14), (300, 14)]) * body.aorta * inside)
    inside = ((z > -20) & (z < 96)).astype(float)
    put("svc_x", interpolate(z, [(-300, -26), (-10, -25), (14, -27), (40, -27), (72, -24), (96, -20), (300, -18)]))
    put("svc_y", interpolate(z, [(-300, 14), (40, 14), (72, 16), (96, 18), (300, 18)]))
    put("svc_r", interpolate(z, [(-300, 10), (10, 9.5), (40, 9.5), (72, 8.5), (96, 8), (300, 8)]) * inside * body.svc)

    shoulder_x = np.full_like(z, body.shoulder - 38.0)
    if pose.arms_down:
        hang = trunk + 30 * body.arm + pose.arm_gap * np.clip((80 - z) / 160, 0, 1.5)
        put(
            "arm_x",
            np.where(
                z < 70, np.maximum(hang, shoulder_x), shoulder_x + (hang - shoulder_x) * np.clip((112 - z) / 42, 0, 1)
            ),
        )
        slant = 1.0
    else:
        # Hands on the hips or round the detector: the upper arms point outwards.
        put("arm_x", shoulder_x + np.maximum(102 - z, 0) * pose.arm_abduction)
        slant = float(np.sqrt(1 + pose.arm_abduction**2)) ** 0.7
    put("arm_y", -12.0 + np.zeros_like(z))
    top = 136.0
    cap = np.sqrt(np.clip(1 - (np.maximum(z - (top - 46), 0) / 46) ** 2, 0, 1))
    put("arm_r", 42 * body.arm * slant * cap * (0.86 + 0.14 * np.clip((z + 40) / 120, 0, 1)))
    for name, source in (("body_ix", "body_x"), ("body_iy", "body_y"), ("cage_ix", "cage_x"), ("cage_iy", "cage_y")):
        put(name, 1.0 / np.maximum(table[:, C[source]], 1e-3))
    return table
