"""Air outside the lung's tissue: airways, gas of stomach and bowel; and the hila, where airways enter the lungs."""

import math
from collections.abc import Sequence

import numpy as np

from .camera import Camera
from .chest import Chest
from .parameters import PhantomParameters
from .primitives import splat
from .profiles import Z_MIN, Z_STEP, C
from .skeleton import Chain, chain, curve


HILA = np.array([(-44.0, -8.0, 30.0), (43.0, -14.0, 40.0)])


def airway_chains(table: np.ndarray) -> list[Chain]:
    """Trachea and main bronchi as chains of air."""

    def shifted(knots: Sequence[tuple[float, float, float, float]]) -> np.ndarray:
        values = np.array(knots, float)
        row = ((values[:, 2] - Z_MIN) / Z_STEP).astype(int)
        values[:, 0] += table[row, C["mid_x"]]
        return values

    out = []
    for name, knots in (
        ("trachea", [(1, -2, 220, 8), (2, -8, 185, 8.5), (3, -16, 150, 8.5), (0, -24, 100, 8.5), (-4, -27, 58, 8.0)]),
        ("bronchus_right", [(-4, -27, 58, 7.0), (-17, -25, 42, 6.6), (-30, -21, 24, 5.4), (-38, -22, 4, 4.0)]),
        ("bronchus_left", [(-4, -27, 58, 6.0), (12, -27, 44, 5.8), (32, -25, 31, 5.4), (42, -27, 10, 3.8)]),
    ):
        points, _ = curve(shifted(knots), 2.0)
        out.append(chain(name, points[:, :3], points[:, 3], density=0.95))
    return out


def hilum_centres(chest: Chest) -> np.ndarray:
    """Canonical centres of the right and left hilum, (2, 3); the left one is higher, a collapse moves one."""
    hila = HILA.copy()
    row = ((hila[:, 2] - Z_MIN) / Z_STEP).astype(int)
    hila[:, 0] += chest.table[row, C["mid_x"]]
    hila[:, 2] += chest.scalars["hilum_lift_r"], chest.scalars["hilum_lift_l"]
    return hila


def draw_gas(parameters: PhantomParameters, camera: Camera, out: np.ndarray) -> None:
    """Add the gastric bubble and bowel gas to a map (mm); an upright stomach has a fluid level."""
    pose = parameters.pose
    if pose.gas <= 0:
        return
    rng = np.random.default_rng(parameters.study_seed + 11)
    upright = pose.view == "PA"
    top = pose.dome_left - rng.uniform(4, 9)
    # A stomach full of air is as dark as the lung above it.
    half_w, half_h = 34.0 * pose.gas * rng.uniform(0.8, 1.5), 19.0 * pose.gas * rng.uniform(0.7, 1.8)
    x, z = 58.0 + rng.uniform(-12, 16), top - half_h
    pixels, zoom = camera.project(np.array([[x, 20.0, z]]))
    bubble = np.zeros_like(out)
    amount = 0.66667 * math.pi * half_w * half_h * rng.uniform(30, 75) * zoom**2
    splat(pixels, np.array([[half_w, half_h]]) * zoom[0], amount, 0.0, bubble)
    if upright:
        # An erect film has a fluid level: the gas lies above a horizontal line.
        level = pixels[0, 1] + half_h * zoom[0] * rng.uniform(-0.1, 0.8)
        bubble *= np.clip(level - np.arange(len(out)) + 0.5, 0, 1)[:, None]
    out += bubble
    count = int(rng.integers(0, 12)) if rng.random() < 0.6 else 0
    # Distended loops are as dark as lung.
    widest = 22.0 if rng.random() < 0.7 else 34.0
    for _ in range(count):
        middle = np.array([[rng.uniform(-105, 110), 20.0, top - rng.uniform(45, 150)]])
        pixels, zoom = camera.project(middle)
        a, b = rng.uniform(8, widest), rng.uniform(7, 0.7 * widest)
        splat(
            pixels,
            np.array([[a, b]]) * zoom[0],
            0.66667 * math.pi * a * b * rng.uniform(12, 2 * widest) * zoom**2,
            0.0,
            out,
        )
