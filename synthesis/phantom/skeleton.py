"""Bones as chains of points on the canonical chest."""

import math
from dataclasses import dataclass

import numpy as np

from .parameters import BodyParameters, PoseParameters
from .profiles import Z_MIN, Z_STEP, C


@dataclass(frozen=True)
class Chain:
    """A tube or plate as points.

    Args:
        name: Structure, such as "rib_left_4".
        points: Canonical millimetres, (n, 3).
        radius_x: Footprint half width in real mm, (n,).
        radius_z: Footprint half height in real mm, (n,).
        volume: Volume of each point in mm^3 of the chain's material, (n,).
        hollow: Share of the inside that is missing (bright margins).
    """

    name: str
    points: np.ndarray
    radius_x: np.ndarray
    radius_z: np.ndarray
    volume: np.ndarray
    hollow: float = 0.0


def chain(
    name: str,
    points: np.ndarray,
    radius: np.ndarray | float,
    *,
    hollow: float = 0.0,
    density: np.ndarray | float = 1.0,
    radius_z: np.ndarray | float | None = None,
) -> Chain:
    """Chain from a dense curve; the volume of a point is its cross-section times its share of the length."""
    points = np.asarray(points, float)
    n = len(points)
    radius = np.broadcast_to(np.asarray(radius, float), (n,))
    tall = radius if radius_z is None else np.broadcast_to(np.asarray(radius_z, float), (n,))
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    share = np.zeros(n)
    share[:-1] += steps / 2
    share[1:] += steps / 2
    area = math.pi * radius * tall * (1 - 0.58 * hollow)
    return Chain(name, points, np.array(radius), np.array(tall), area * share * density, hollow)


def curve(knots: np.ndarray, spacing: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Smooth curve through knots (k, d): points (n, d) about `spacing` apart and their arc parameter (0..1)."""
    knots = np.asarray(knots, float)
    length = np.r_[0, np.cumsum(np.linalg.norm(np.diff(knots[:, :3], axis=0), axis=1))]
    n = max(int(length[-1] / spacing) + 2, 3)
    t = np.linspace(0, length[-1], n)
    # Catmull-Rom: passes through the knots and needs no solver.
    slopes = np.gradient(knots, length, axis=0)
    index = np.clip(np.searchsorted(length, t, side="right") - 1, 0, len(length) - 2)
    h = (length[index + 1] - length[index])[:, None]
    s = ((t - length[index]) / h[:, 0])[:, None]
    a, b = knots[index], knots[index + 1]
    points = (
        (2 * s**3 - 3 * s**2 + 1) * a
        + (s**3 - 2 * s**2 + s) * h * slopes[index]
        + (3 * s**2 - 2 * s**3) * b
        + (s**3 - s**2) * h * slopes[index + 1]
    )
    return points, t / length[-1]


def vertebrae() -> list[tuple[str, float, float]]:
    """Name, height of the centre and spacing of C6 to L2."""
    names = ["C6", "C7", *(f"T{k}" for k in range(1, 13)), "L1", "L2", "L3"]
    z, out = 172.0, []
    for index, name in enumerate(names):
        step = 15.5 if index < 2 else 17.6 + (index - 2) * 0.66
        out.append((name, z, step))
        z -= step
    return out


def _row(z: np.ndarray, table: np.ndarray) -> np.ndarray:
    index = np.clip(((np.asarray(z) - Z_MIN) / Z_STEP + 0.5).astype(int), 0, len(table) - 1)
    return table[index]


def rib_chains(
    body: BodyParameters, table: np.ndarray, broken: dict[tuple[str, int], float] | None = None
) -> list[Chain]:
    """Twenty-four ribs on the cage surface; `broken` maps (side, number) to the angle of a fracture."""
    heights = {name: (z, step) for name, z, step in vertebrae()}
    rng = np.random.default_rng(body.anatomy_seed)
    drops = [34, 52, 64, 74, 82, 88, 92, 94, 94, 88, 66, 42]
    spans = [146, 148, 148, 147, 145, 141, 137, 130, 122, 113, 86, 58]
    out = []
    for number in range(1, 13):
        z0, step = heights[f"T{number}"]
        z0 += step * 0.40
        for sign, side in ((-1, "right"), (1, "left")):
            drop = drops[number - 1] * body.rib_slope * rng.uniform(0.95, 1.05)
            limit = math.radians(spans[number - 1] * rng.uniform(0.97, 1.03))
            angle = np.arange(0.13, limit, 0.020 if number > 1 else 0.03)
            z = z0 - drop * ((1 - np.cos(angle)) / 2) ** 0.82 + 7 * np.sin(angle) + rng.normal(0, 1.0)
            shift = np.zeros_like(angle)
            if broken and (side, number) in broken:
                at = broken[(side, number)]
                shift = np.where(angle > at, 8.0, 0.0) * np.exp(-np.maximum(angle - at, 0) * 2.5)
                z = z - shift * 1.0
            t = _row(z, table)
            a = 1 + (4.2 + 0.5 * shift) / np.maximum(t[:, C["cage_x"]], 20)
            x = t[:, C["body_mid_x"]] + sign * t[:, C["cage_x"]] * a * _power(np.sin(angle), 0.8)
            y = t[:, C["cage_yc"]] - (t[:, C["cage_y"]] + 4.2) * np.sign(np.cos(angle)) * _power(
                np.abs(np.cos(angle)), 0.8
            )
            points = np.stack([x, y, z], axis=1)
            tall = (6.3 if number > 1 else 5.4) * (1 + 0.16 * np.cos(angle)) * rng.uniform(0.94, 1.06)
            density = body.bone_density * np.clip((limit - angle) / 0.25, 0.35, 1) * (1.45 - 1.02 * np.sin(angle) ** 4)
            if broken and (side, number) in broken:
                density = density * np.where(np.abs(angle - broken[(side, number)]) < 0.05, 0.0, 1.0)
            if 2 <= number <= 9 and body.calcified_cartilage > 0.15:
                out.append(_cartilage(rng, body, table, side, points[-1], number))
            out.append(
                chain(
                    f"rib_{side}_{number}",
                    points,
                    3.7 - 0.9 * np.sin(angle) ** 6,
                    radius_z=tall,
                    hollow=0.70,
                    density=density,
                )
            )
    return out


def _cartilage(
    rng: np.random.Generator, body: BodyParameters, table: np.ndarray, side: str, start: np.ndarray, number: int
) -> Chain:
    """Spotted calcification of a costal cartilage, from the rib's end towards the sternum."""
    sign = -1.0 if side == "right" else 1.0
    height = start[2] + (4.0 if number < 4 else 5.0 * (number - 3))
    front = _row(np.array(start[2]), table)
    stop = np.array([sign * 18.0, front[C["cage_yc"]] + front[C["cage_y"]] + 5.0, height])
    reach = rng.uniform(0.25, 0.8)
    points, _ = curve(np.stack([start, start + 0.5 * reach * (stop - start), start + reach * (stop - start)]), 2.0)
    spots = np.clip(rng.normal(0.35, 0.5, len(points)), 0, 1.5) * body.calcified_cartilage * 0.8
    return chain(f"cartilage_{side}_{number}", points, 5.0, hollow=0.5, density=spots)


def _power(value: np.ndarray, exponent: float) -> np.ndarray:
    return np.clip(value, 1e-6, None) ** exponent


def girdle_chains(body: BodyParameters, pose: PoseParameters, table: np.ndarray) -> list[Chain]:
    """Clavicles, scapulae, humeri."""
    out = []
    lift = body.clavicle_lift
    reach = body.shoulder / 196.0
    rng = np.random.default_rng(body.anatomy_seed + 1)
    for sign, side in ((-1, "right"), (1, "left")):
        up = lift + rng.normal(0, 3.0)
        knots = np.array(
            [(15, 56, 98, 9.0), (45, 64, 103 + 0.3 * up, 6.6), (88, 46, 112 + 0.8 * up, 5.6),
             (122, 14, 122 + up, 5.8), (150 * reach, -6, 128 + up, 7.4)]
        )  # fmt: skip
        knots[:, 0] *= sign
        points, _ = curve(knots, 1.6)
        out.append(
            chain(f"clavicula_{side}", points[:, :3], points[:, 3], hollow=0.62, density=1.7 * body.bone_density)
        )
        out += _scapula(body, side, sign, up, reach)
        shoulder_x = 168 * reach
        if pose.arms_down:
            shaft = [
                (shoulder_x, -12, 112 + up, 22),
                (shoulder_x + 9, -12, 84, 14),
                (shoulder_x + 14, -10, 10, 11.5),
                (shoulder_x + 18, -8, -120, 11),
            ]
        else:
            shaft = [
                (shoulder_x, -8, 114 + up, 22),
                (shoulder_x + 14, -4, 92, 14),
                (shoulder_x + 82 * pose.arm_abduction, 4, 20, 11.5),
                (shoulder_x + 162 * pose.arm_abduction, 10, -60, 11),
            ]
        knots = np.array(shaft, float)
        knots[:, 0] *= sign
        points, _ = curve(knots, 3.0)
        out.append(
            chain(f"humerus_{side}", points[:, :3], points[:, 3], hollow=0.78, density=0.85 * body.bone_density)
        )
    return out


def _scapula(body: BodyParameters, side: str, sign: int, up: float, reach: float) -> list[Chain]:
    out_x = body.scapula_out
    corners = np.array(
        [(104 + out_x, -72, 108 + up), (148 * reach + 0.5 * out_x, -34, 108 + up), (112 + 1.25 * out_x, -84, -6 + up)],
        float,
    )
    corners[:, 0] *= sign
    out = []
    a, b = np.meshgrid(np.linspace(0.02, 0.98, 26), np.linspace(0.02, 0.98, 26))
    keep = (a + b) < 1
    a, b = a[keep], b[keep]
    sheet = corners[0] * (1 - a - b)[:, None] + corners[1] * b[:, None] + corners[2] * a[:, None]
    cell = 0.5 * np.linalg.norm(np.cross(corners[1] - corners[0], corners[2] - corners[0])) / len(sheet)
    radius = np.full(len(sheet), 1.5 * math.sqrt(cell))
    out.append(Chain(f"scapula_{side}", sheet, radius, radius, np.full(len(sheet), cell * 1.1 * body.bone_density)))
    for start, stop, r in ((1, 2, 3.8), (0, 2, 2.0), (0, 1, 2.2)):
        bow = np.array([sign * (4 if (start, stop) == (1, 2) else -3), 0, 0])
        knots = np.stack([corners[start], (corners[start] + corners[stop]) / 2 + bow, corners[stop]])
        points, _ = curve(knots, 2.2)
        out.append(chain(f"scapula_{side}", points, r, hollow=0.4, density=0.8 * body.bone_density))
    spine = np.array(
        [(106 + out_x, -80, 84 + up), (132 * reach + 0.6 * out_x, -66, 108 + up), (162 * reach, -30, 130 + up)], float
    )
    spine[:, 0] *= sign
    points, _ = curve(spine, 2.0)
    out.append(chain(f"scapula_{side}", points, 4.2, hollow=0.4, density=0.85 * body.bone_density))
    glenoid = np.array([(150 * reach, -22, 128 + up), (152 * reach, -24, 98 + up)], float)
    glenoid[:, 0] *= sign
    points, _ = curve(np.stack([glenoid[0], glenoid.mean(0), glenoid[1]]), 2.0)
    out.append(chain(f"scapula_{side}", points, 6.0, hollow=0.5, density=0.55 * body.bone_density))
    return out


@dataclass(frozen=True)
class Plates:
    """Soft-edged boxes: canonical centres (n, 3), half sizes (n, 2), thickness (n,) and edge width in real mm."""

    name: str
    centres: np.ndarray
    half: np.ndarray
    thickness: np.ndarray
    soft: float


def spine_plates(body: BodyParameters, table: np.ndarray) -> list[Plates]:
    """Vertebral bodies with endplates, pedicles, spinous and transverse processes; all named "spine"."""
    bodies, ends, pedicles, spinous, transverse = [], [], [], [], []
    for index, (_, z, step) in enumerate(vertebrae()):
        t = _row(np.array(z), table)
        x, y = float(t[C["spine_x"]]), float(t[C["spine_y"]])
        half_w = 12.0 + 0.42 * index
        half_h = 0.40 * step
        bodies.append((x, y, z, half_w, half_h, 2.3))
        ends += [(x, y, z + sign * (half_h - 0.8), half_w - 0.8, 0.9, 1.8) for sign in (-1, 1)]
        for sign in (-1, 1):
            ends.append((x + sign * (half_w - 0.6), y, z, 0.8, half_h - 1, 1.5))
            pedicles.append((x + sign * half_w * 0.70, y - 18, z + 0.14 * step, 2.8, 3.9, 2.4))
            transverse.append((x + sign * (half_w + 6.5), y - 28, z + 0.16 * step, 7.5, 3.2, 1.1))
        spinous.append((x, y - 46, z - 0.45 * step, 2.2, 4.6, 3.2))
    out = []
    for rows, soft in ((bodies, 2.2), (ends, 1.6), (pedicles, 2.4), (spinous, 2.4), (transverse, 2.6)):
        data = np.array(rows, float)
        out.append(Plates("spine", data[:, :3], data[:, 3:5], data[:, 5] * body.bone_density, soft))
    return out


def sternum_plates(body: BodyParameters, table: np.ndarray) -> Plates:
    """Manubrium and body of the sternum, faint on a frontal film."""
    rows = []
    for z, half_w, half_h in ((84, 24, 13), (60, 16, 11), (36, 15, 11), (12, 16, 11), (-10, 15, 9)):
        t = _row(np.array(float(z)), table)
        rows.append((float(t[C["body_mid_x"]]), float(t[C["cage_yc"]] + t[C["cage_y"]] + 6), z, half_w, half_h, 0.8))
    data = np.array(rows, float)
    return Plates("sternum", data[:, :3], data[:, 3:5], data[:, 5] * body.bone_density, 4.0)
