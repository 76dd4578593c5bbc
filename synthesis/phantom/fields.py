"""Implicit functions of the canonical chest, compiled: negative inside, in canonical millimetres near the surface.

`SCALARS` is the record of numbers that the functions need beside the height profiles; `chest.build_chest` fills it.
Names in `_ra`, `_rb`, `_la`, `_lb` and `_ir`, `_il`, `_iz` hold reciprocals, because divisions dominate the march.
"""

import math

import numpy as np
from numba import njit

from .profiles import Z_MIN, Z_STEP, C


SCALARS = np.dtype(
    [(name, np.float64) for name in (
        "dome_rx", "dome_ry", "dome_rz", "dome_ra", "dome_rb",
        "dome_lx", "dome_ly", "dome_lz", "dome_la", "dome_lb", "dome_drop",
        "heart_z", "heart_sr", "heart_sl", "heart_sz", "heart_ir", "heart_il", "heart_iz",
        "heart_cos", "heart_sin", "heart_side",
        "arch_x0", "arch_y0", "arch_x1", "arch_y1", "arch_z0", "arch_z1", "arch_r",
        "breast", "breast_x", "breast_z", "breast_rx", "breast_rz",
        "fluid_r", "fluid_l", "layer_r", "layer_l", "gap_r", "gap_l", "gap_base",
        "lung_rho", "edema", "edema_z", "hilum_lift_r", "hilum_lift_l",
    )]
)  # fmt: skip

_CX, _CY, _CYC, _CMID = C["cage_x"], C["cage_y"], C["cage_yc"], C["body_mid_x"]
_BX, _BY, _BYC = C["body_x"], C["body_y"], C["body_yc"]
_IBX, _IBY, _ICX, _ICY = C["body_ix"], C["body_iy"], C["cage_ix"], C["cage_iy"]
_MX, _SPX, _SPY, _PAR = C["mid_x"], C["spine_x"], C["spine_y"], C["paraspinal"]
_MR, _ML = C["med_r"], C["med_l"]
_DX, _DY, _DR, _AX, _AY, _AR = C["desc_x"], C["desc_y"], C["desc_r"], C["asc_x"], C["asc_y"], C["asc_r"]
_VX, _VY, _VR = C["svc_x"], C["svc_y"], C["svc_r"]
_RX, _RY, _RR = C["arm_x"], C["arm_y"], C["arm_r"]

FAR = 40.0


@njit(cache=True, inline="always", error_model="numpy", fastmath=True)
def row_of(z: float, rows: int) -> int:
    """Profile row of a height."""
    return min(max(int((z - Z_MIN) / Z_STEP + 0.5), 0), rows - 1)


@njit(cache=True, inline="always", error_model="numpy", fastmath=True)
def superellipse(a: float, b: float, square: float) -> float:
    """Radius in a rounded-box norm without a power function; `square` is 0.067 near p = 2.5, 0.12 near 3.2."""
    s = a * a + b * b
    if s < 1e-9:
        return 0.0
    t = 2.0 * a * b / s
    return math.sqrt(s) * (1.0 - square * t * t)


@njit(cache=True, inline="always", error_model="numpy", fastmath=True)
def smooth_min(a: float, b: float, k: float) -> float:
    """Polynomial smooth minimum with blend width k."""
    h = max(k - abs(a - b), 0.0) / k
    return min(a, b) - 0.25 * h * h * k


@njit(cache=True, inline="always", error_model="numpy", fastmath=True)
def body_field(x: float, y: float, z: float, t: np.ndarray, p) -> float:
    """Skin of trunk, neck, arms and breasts."""
    bx = t[_BX]
    if bx < 1.0:
        return FAR
    a = (x - t[_CMID]) * t[_IBX]
    b = (y - t[_BYC]) * t[_IBY]
    if a * a + b * b < 0.5:
        return -FAR
    f = (superellipse(a, b, 0.125 * min(max((132.0 - z) / 50.0, 0.0), 1.0)) - 1.0) * min(bx, t[_BY])
    r = t[_RR]
    if r > 1.0:
        dx = abs(x) - t[_RX]
        dy = y - t[_RY]
        f = smooth_min(f, math.sqrt(dx * dx + dy * dy) - r, 14.0)
    if p.breast > 0.0:
        dx = (abs(x - t[_CMID]) - p.breast_x) / p.breast_rx
        dz = (z - p.breast_z) / (p.breast_rz * (1.6 if z > p.breast_z else 1.0))
        dy = (y - (t[_BYC] + 0.93 * t[_BY])) / (p.breast * 1.0)
        f = smooth_min(f, (math.sqrt(dx * dx + dy * dy + dz * dz) - 1.0) * min(p.breast, p.breast_rz), 9.0)
    return f


@njit(cache=True, inline="always", error_model="numpy", fastmath=True)
def cage_field(x: float, y: float, t: np.ndarray) -> float:
    """Inner surface of the rib cage (the parietal pleura)."""
    cx = t[_CX]
    cy = t[_CY]
    a = (x - t[_CMID]) * t[_ICX]
    b = (y - t[_CYC]) * t[_ICY]
    r = superellipse(a, b, 0.067)
    if r < 1e-6:
        return -min(cx, cy)
    # Distance along the ray from the axis: exact at the surface, monotone inside.
    return (r - 1.0) * math.sqrt((a * cx) ** 2 + (b * cy) ** 2) / r


@njit(cache=True, inline="always", error_model="numpy", fastmath=True)
def dome_height(x: float, y: float, p) -> float:
    """Height of the diaphragm."""
    ax = (x - p.dome_rx) * p.dome_ra
    ay = (y - p.dome_ry) * p.dome_rb
    bx = (x - p.dome_lx) * p.dome_la
    by = (y - p.dome_ly) * p.dome_lb
    qa = ax * ax + ay * ay
    qb = bx * bx + by * by
    # Steeper towards the chest wall: the costophrenic sulcus is a narrow wedge.
    right = p.dome_rz - p.dome_drop * qa * (0.42 + 0.60 * qa * qa)
    left = p.dome_lz - 0.86 * p.dome_drop * qb * (0.42 + 0.60 * qb * qb)
    # The central tendon carries the heart, so the surface hardly dips between the domes in front of the spine.
    cx = x / 62.0
    cy = (y - 18.0) / 70.0
    middle = 0.5 * (p.dome_rz + p.dome_lz) - 9.0 - 0.8 * p.dome_drop * (cx * cx + cy * cy)
    return -smooth_min(smooth_min(-right, -left, 10.0), -middle, 16.0)


@njit(cache=True, inline="always", error_model="numpy", fastmath=True)
def _ellipsoid(x: float, y: float, z: float, a: float, b: float, c: float) -> float:
    x /= a
    y /= b
    z /= c
    return (math.sqrt(x * x + y * y + z * z) - 1.0) * min(a, min(b, c))


@njit(cache=True, inline="always", error_model="numpy", fastmath=True)
def heart_field(x: float, y: float, z: float, t: np.ndarray, p) -> float:
    """Pericardial outline: ventricles, right atrium, left atrium with appendage, pulmonary outflow."""
    hx = (x - t[_MX]) * p.heart_side
    hx = hx * p.heart_ir if hx < 0.0 else hx * p.heart_il
    hy = y - 14.0
    hz = (z - p.heart_z) * p.heart_iz
    if hx < -64.0 or hx > 106.0 or hz > 78.0 or hz < -68.0 or hy > 92.0 or hy < -78.0:
        return FAR
    # Long axis of the left ventricle: down, left and forward.
    vx = hx - 27.0
    vz = hz - 2.0
    c = p.heart_cos
    s = p.heart_sin
    f = _ellipsoid(c * vx - s * vz, hy - 2.0, s * vx + c * vz, 64.0, 54.0, 40.0)
    f = smooth_min(f, _ellipsoid(hx - 4.0, hy - 24.0, hz + 12.0, 50.0, 46.0, 40.0), 14.0)
    f = smooth_min(f, _ellipsoid(hx + 19.0, hy - 6.0, hz - 6.0, 28.0, 44.0, 42.0), 12.0)
    f = smooth_min(f, _ellipsoid(hx - 10.0, hy + 24.0, hz - 26.0, 32.0, 34.0, 28.0), 14.0)
    f = smooth_min(f, _ellipsoid(hx - 17.0, hy - 8.0, hz - 38.0, 17.0, 22.0, 24.0), 20.0)
    # Apex and pericardial fat fill the angle with the left dome.
    f = smooth_min(f, _ellipsoid(hx - 46.0, hy - 16.0, hz + 22.0, 36.0, 34.0, 26.0), 14.0)
    return f


@njit(cache=True, inline="always", error_model="numpy", fastmath=True)
def mediastinum_field(x: float, y: float, z: float, t: np.ndarray, p) -> float:
    """Mediastinum without the heart: fat, oesophagus, great vessels, spine."""
    mx = x - t[_MX]
    if abs(mx) > 78.0:
        return FAR
    # Widest around the great vessels, thin towards the sternum and beside the spine.
    depth = (y + 6.0) / 46.0
    depth = 1.0 / (1.0 + 0.55 * depth * depth)
    share = 0.14 + 0.98 * depth * depth
    f = -mx - t[_MR] * share if mx < 0.0 else mx - t[_ML] * share
    r = t[_DR]
    if r > 0.0:
        dx = mx - t[_DX]
        dy = y - t[_DY]
        f = smooth_min(f, math.sqrt(dx * dx + dy * dy) - r, 5.0)
    r = t[_AR]
    if r > 0.0:
        dx = mx - t[_AX]
        dy = y - t[_AY]
        f = smooth_min(f, math.sqrt(dx * dx + dy * dy) - r, 6.0)
    r = t[_VR]
    if r > 0.0:
        dx = mx - t[_VX]
        dy = y - t[_VY]
        f = smooth_min(f, math.sqrt(dx * dx + dy * dy) - r, 6.0)
    if abs(z - 0.5 * (p.arch_z0 + p.arch_z1)) < 40.0:
        ex = p.arch_x1 - p.arch_x0
        ey = p.arch_y1 - p.arch_y0
        ez = p.arch_z1 - p.arch_z0
        dx = mx - p.arch_x0
        dy = y - p.arch_y0
        dz = z - p.arch_z0
        s = min(max((dx * ex + dy * ey + dz * ez) / (ex * ex + ey * ey + ez * ez), 0.0), 1.0)
        dx -= s * ex
        dy -= s * ey
        dz -= s * ez
        f = smooth_min(f, math.sqrt(dx * dx + dy * dy + dz * dz) - p.arch_r, 4.0)
    # Vertebral column with its paraspinal soft tissue.
    dx = (x - t[_SPX]) / (t[_PAR] + 2.0)
    dy = (y - (t[_SPY] - 12.0)) / 28.0
    return smooth_min(f, (math.sqrt(dx * dx + dy * dy) - 1.0) * 20.0, 6.0)


@njit(cache=True, inline="always", error_model="numpy", fastmath=True)
def fluid_field(x: float, y: float, z: float, cage: float, right: bool, p) -> float:
    """Pleural space free of fluid: negative outside the fluid.

    Free fluid of the upright patient has a level with a meniscus that climbs the chest wall, more so behind; in the
    supine patient it layers behind the lung.
    """
    climb = math.exp(cage / 17.0)
    behind = min(max((-y - 20.0) / 70.0, 0.0), 1.0)
    level = p.fluid_r if right else p.fluid_l
    layer = p.layer_r if right else p.layer_l
    return max(level - 14.0 + 62.0 * climb + 14.0 * behind * behind - z, layer + 10.0 * climb - y)


@njit(cache=True, inline="always", error_model="numpy", fastmath=True)
def pneumothorax_gap(z: float, right: bool, p) -> float:
    """Distance between the two pleural layers; widest at the apex in the upright patient."""
    gap = p.gap_r if right else p.gap_l
    rise = min(max((z + 60.0) / 190.0, 0.0), 1.0)
    return gap * (p.gap_base + (1.0 - p.gap_base) * rise * rise * 1.25)
