"""Ray march through the implicit chest: one perspective ray per pixel, exact crossings along the ray.

Between two nodes of a ray every field is taken as linear, so a structure's length changes smoothly with the pose and
no voxel grid blurs an edge. The maps are millimetres of each structure along the ray: image, masks and boxes all come
from them.
"""

import math

import numpy as np
from numba import njit

from .fields import (
    FAR,
    body_field,
    cage_field,
    dome_height,
    fluid_field,
    heart_field,
    mediastinum_field,
    pneumothorax_gap,
    row_of,
)
from .profiles import C


MAPS = (
    "body", "air_right", "air_left", "heart", "mediastinum", "abdomen", "fluid_right", "fluid_left",
    "pneumothorax_right", "pneumothorax_left", "opacity_right", "opacity_left", "pleural_line", "cage",
)  # fmt: skip
M = {name: index for index, name in enumerate(MAPS)}
NUM_MAPS = len(MAPS)
_MID = C["mid_x"]


@njit(cache=True, inline="always", error_model="numpy", fastmath=True)
def inside_fraction(f0: float, f1: float) -> float:
    """Fraction of a segment where a linear field is negative."""
    if f0 < 0.0:
        if f1 < 0.0:
            return 1.0
        return f0 / (f0 - f1)
    if f1 < 0.0:
        return f1 / (f1 - f0)
    return 0.0


@njit(cache=True, inline="always", error_model="numpy", fastmath=True)
def lattice_noise(x: float, y: float, z: float, noise: np.ndarray) -> float:
    """Trilinear value noise on a wrapped lattice with 11 mm spacing, about unit variance."""
    n = noise.shape[0]
    x = x / 11.0 + 1000.0
    y = y / 11.0 + 1000.0
    z = z / 11.0 + 1000.0
    i = int(x)
    j = int(y)
    k = int(z)
    fx = x - i
    fy = y - j
    fz = z - k
    i0 = i % n
    i1 = (i + 1) % n
    j0 = j % n
    j1 = (j + 1) % n
    k0 = k % n
    k1 = (k + 1) % n
    a = noise[k0, j0, i0] * (1 - fx) + noise[k0, j0, i1] * fx
    b = noise[k0, j1, i0] * (1 - fx) + noise[k0, j1, i1] * fx
    c = noise[k1, j0, i0] * (1 - fx) + noise[k1, j0, i1] * fx
    d = noise[k1, j1, i0] * (1 - fx) + noise[k1, j1, i1] * fx
    return (a * (1 - fy) + b * fy) * (1 - fz) + (c * (1 - fy) + d * fy) * fz


@njit(cache=True, error_model="numpy", fastmath=True)
def opacity_at(x: float, y: float, z: float, right: bool, blobs: np.ndarray, noise: np.ndarray, p) -> float:
    """Fraction of the airspace that is filled (0 to 1) by blobs and oedema.

    A blob row: centre (3), radii (3), amplitude, noise, edge sharpness, lower limit z, upper limit z, cutting plane
    (normal (3) and offset: kept where n . p + offset is at least 1, cut off below 0), side (-1 right, 1 left).
    """
    w = 0.0
    for b in range(blobs.shape[0]):
        dx = (x - blobs[b, 0]) / blobs[b, 3]
        dy = (y - blobs[b, 1]) / blobs[b, 4]
        dz = (z - blobs[b, 2]) / blobs[b, 5]
        q = dx * dx + dy * dy + dz * dz
        if q > 3.0 or z < blobs[b, 9] or z > blobs[b, 10] or (blobs[b, 15] < 0.0) != right:
            continue
        kept = blobs[b, 11] * x + blobs[b, 12] * y + blobs[b, 13] * z + blobs[b, 14]
        if kept <= 0.0:
            continue
        v = 1.0 - math.sqrt(q)
        if blobs[b, 7] > 0.0:
            v += blobs[b, 7] * lattice_noise(x, y, z, noise)
        v = min(max(v * blobs[b, 8], 0.0), 1.0) * blobs[b, 6] * min(kept, 1.0)
        w = max(w, v)
    if p.edema > 0.0:
        hx = (abs(x) - 52.0) / 46.0
        hy = (y + 8.0) / 70.0
        hz = (z - p.edema_z) / 62.0
        v = p.edema * math.exp(-(hx * hx + hy * hy + hz * hz))
        v *= max(0.25, 1.0 + 0.55 * lattice_noise(1.3 * x, 1.3 * y, 1.3 * z, noise))
        w += v * (1.0 - w)
    return w


@njit(cache=True, error_model="numpy", fastmath=True)
def march(
    source: np.ndarray,
    corner: np.ndarray,
    step_u: np.ndarray,
    step_v: np.ndarray,
    scale: np.ndarray,
    table: np.ndarray,
    p,
    blobs: np.ndarray,
    noise: np.ndarray,
    depth: float,
    spacing: float,
    out: np.ndarray,
) -> None:
    """Fill `out` (NUM_MAPS, V, U) with millimetres of each structure.

    Args:
        source: X-ray source in the body frame, real mm, shape (3,).
        corner: Centre of pixel (0, 0) on the detector, body frame.
        step_u: Vector from one column to the next.
        step_v: Vector from one row to the next.
        scale: Real millimetres per canonical millimetre, per axis.
        table: Height profiles.
        p: Record of `SCALARS`.
        blobs: Blobs of consolidation and collapse, (n, 16).
        noise: Lattice of unit-variance noise.
        depth: Half the depth (canonical y) that is marched.
        spacing: Distance of the nodes in canonical y.
        out: float32 maps, overwritten.
    """
    rows = table.shape[0]
    nodes = int(2 * depth / spacing) + 1
    disturbed = blobs.shape[0] > 0 or p.edema > 0.0
    has_gap = p.gap_r > 0.0 or p.gap_l > 0.0
    has_fluid = p.fluid_r > -900.0 or p.fluid_l > -900.0 or p.layer_r > -900.0 or p.layer_l > -900.0
    sx = source[0] / scale[0]
    sy = source[1] / scale[1]
    sz = source[2] / scale[2]
    for v in range(out.shape[1]):
        for u in range(out.shape[2]):
            dx = (corner[0] + u * step_u[0] + v * step_v[0]) / scale[0] - sx
            dy = (corner[1] + u * step_u[1] + v * step_v[1]) / scale[1] - sy
            dz = (corner[2] + u * step_u[2] + v * step_v[2]) / scale[2] - sz
            kx = dx / dy
            kz = dz / dy
            real = spacing * math.sqrt((kx * scale[0]) ** 2 + scale[1] ** 2 + (kz * scale[2]) ** 2)
            b_body = b_heart = b_med = b_abd = b_cage = b_line = 0.0
            b_ar = b_al = b_fr = b_fl = b_pr = b_pl = b_or = b_ol = 0.0
            f_body0 = f_cage0 = f_heart0 = f_med0 = f_abd0 = f_lung0 = f_dry0 = f_aer0 = f_line0 = FAR
            for k in range(nodes):
                y = -depth + k * spacing
                x = sx + kx * (y - sy)
                z = sz + kz * (y - sy)
                t = table[row_of(z, rows)]
                f_body = body_field(x, y, z, t, p)
                if f_body > 0.0 and f_body0 > 0.0:
                    f_body0 = f_body
                    f_cage0 = f_heart0 = f_med0 = f_abd0 = f_lung0 = f_dry0 = f_aer0 = f_line0 = FAR
                    continue
                b_body += inside_fraction(f_body0, f_body)
                f_body0 = f_body
                f_cage = cage_field(x, y, t)
                if f_cage > 12.0 and f_cage0 > 12.0:
                    f_cage0 = f_cage
                    f_heart0 = f_med0 = f_abd0 = f_lung0 = f_dry0 = f_aer0 = f_line0 = FAR
                    continue
                b_cage += inside_fraction(f_cage0, f_cage)
                f_cage0 = f_cage
                over = dome_height(x, y, p) - z
                f_med = f_heart = FAR
                if over < 14.0:
                    f_med = mediastinum_field(x, y, z, t, p)
                    f_heart = max(heart_field(x, y, z, t, p), over)
                f_abd = max(-over, f_cage)
                f_lung = max(max(f_cage + 1.5, over), max(-f_med, -f_heart))
                right = x < t[_MID]
                f_dry = f_lung
                if has_fluid:
                    f_dry = max(f_lung, fluid_field(x, y, z, f_cage, right, p))
                f_aer = f_dry
                f_line = FAR
                if has_gap:
                    gap = pneumothorax_gap(z, right, p)
                    if gap > 0.0:
                        f_line = f_cage + 1.5 + gap
                        f_aer = max(f_dry, f_line)
                b_heart += inside_fraction(f_heart0, f_heart)
                f_medx = max(f_med, max(-f_heart, max(f_cage, over)))
                b_med += inside_fraction(f_med0, f_medx)
                b_abd += inside_fraction(f_abd0, f_abd)
                cavity = inside_fraction(f_lung0, f_lung)
                if cavity > 0.0:
                    dry = inside_fraction(f_dry0, f_dry) if has_fluid else cavity
                    aerated = inside_fraction(f_aer0, f_aer) if has_gap else dry
                    if right:
                        b_ar += dry
                        b_fr += cavity - dry
                        b_pr += dry - aerated
                    else:
                        b_al += dry
                        b_fl += cavity - dry
                        b_pl += dry - aerated
                    if disturbed and aerated > 0.0:
                        w = opacity_at(x, y - 0.5 * spacing, z, right, blobs, noise, p) * aerated
                        if right:
                            b_or += w
                        else:
                            b_ol += w
                    if has_gap and f_line < 30.0 and dry > 0.0:
                        h = 0.9
                        b_line += inside_fraction(f_line0 - h, f_line - h) - inside_fraction(f_line0 + h, f_line + h)
                f_heart0 = f_heart
                f_med0 = f_medx
                f_abd0 = f_abd
                f_lung0 = f_lung
                f_dry0 = f_dry
                f_aer0 = f_aer
                f_line0 = f_line
            out[0, v, u] = b_body * real
            out[1, v, u] = b_ar * real
            out[2, v, u] = b_al * real
            out[3, v, u] = b_heart * real
            out[4, v, u] = b_med * real
            out[5, v, u] = b_abd * real
            out[6, v, u] = b_fr * real
            out[7, v, u] = b_fl * real
            out[8, v, u] = b_pr * real
            out[9, v, u] = b_pl * real
            out[10, v, u] = b_or * real
            out[11, v, u] = b_ol * real
            out[12, v, u] = b_line * real
            out[13, v, u] = b_cage * real


@njit(cache=True, error_model="numpy", fastmath=True)
def lung_field_at(points: np.ndarray, table: np.ndarray, p) -> np.ndarray:
    """Field of the aerated lung at canonical points (n, 3); shape (n,). Negative inside."""
    out = np.empty(points.shape[0])
    for i in range(points.shape[0]):
        out[i] = lung_field(points[i, 0], points[i, 1], points[i, 2], table, p)
    return out


@njit(cache=True, error_model="numpy", fastmath=True)
def lung_field(x: float, y: float, z: float, table: np.ndarray, p) -> float:
    """Field of the aerated lung at one canonical point."""
    t = table[row_of(z, table.shape[0])]
    f_cage = cage_field(x, y, t)
    over = dome_height(x, y, p) - z
    f = max(max(f_cage + 1.5, over), max(-mediastinum_field(x, y, z, t, p), -heart_field(x, y, z, t, p)))
    right = x < t[_MID]
    f = max(f, fluid_field(x, y, z, f_cage, right, p))
    gap = pneumothorax_gap(z, right, p)
    if gap > 0.0:
        f = max(f, f_cage + 1.5 + gap)
    return f
