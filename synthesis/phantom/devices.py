"""Tubes, lines and implants. Which ones a study has depends on the view alone, never on its findings."""

import math

import numpy as np

from .chest import Chest
from .parameters import PhantomParameters, PlacedFinding
from .profiles import Z_MIN, Z_STEP, C
from .skeleton import Chain, chain, curve


# Share of studies with each device, upright and portable.
PREVALENCE = {
    "endotracheal tube": (0.05, 0.30),
    "enteric tube": (0.06, 0.30),
    "picc": (0.07, 0.15),
    "ij line": (0.06, 0.22),
    "cardiac pacer and wires": (0.08, 0.08),
    "sternotomy wires": (0.09, 0.10),
}


def sample_devices(rng: np.random.Generator, *, portable: bool) -> list[PlacedFinding]:
    """Devices of a study."""
    out = []
    for name, shares in PREVALENCE.items():
        if rng.random() >= shares[int(portable)]:
            continue
        side = ""
        if name in ("picc", "ij line"):
            side = "right" if rng.random() < 0.65 else "left"
        elif name == "cardiac pacer and wires":
            side = "left" if rng.random() < 0.8 else "right"
        values = {
            "tip": float(rng.uniform(0, 1)),
            "contrast": float(rng.uniform(0.6, 1.4)),
            "seed": float(rng.integers(2**31)),
        }
        out.append(PlacedFinding(name, side, "", "", values))
    return out


def device_chains(parameters: PhantomParameters, chest: Chest) -> list[Chain]:
    """Chains of all devices of a study, named by their position among the findings."""
    out: list[Chain] = []
    for index, device in enumerate(parameters.findings):
        if device.name not in PREVALENCE:
            continue
        rng = np.random.default_rng(int(device.values["seed"]))
        sign = -1.0 if device.side == "right" else 1.0
        if parameters.body.situs_inversus:
            sign = -sign
        for points, radius, density, hollow in _draw(device, rng, sign, parameters, chest):
            amount = density * device.values["contrast"]
            out.append(chain(f"finding_{index}", points, radius, density=amount, hollow=hollow))
    return out


Point = tuple[float, float, float]
Piece = tuple[np.ndarray, np.ndarray | float, float, float]


def _draw(
    device: PlacedFinding, rng: np.random.Generator, sign: float, parameters: PhantomParameters, chest: Chest
) -> list[Piece]:
    tip, pose, table = device.values["tip"], parameters.pose, chest.table
    heart = float(chest.scalars["heart_z"])
    if device.name == "endotracheal tube":
        end = 72.0 + 42.0 * tip
        return _tube(
            [(2, -2, 225), (2, -8, 185), (3, -16, 150), (1, -23, max(end + 8, 104)), (0, -24, end)], table, 4.3
        )
    if device.name == "enteric tube":
        fundus = pose.dome_left - rng.uniform(34, 70)
        return _tube(
            [(3, -34, 225), (4, -40, 150), (6, -44, 60), (10, -40, -10), (18, -22, pose.dome_left - 12),
             (44, 4, fundus), (44 + 34 * tip, 16, fundus - 16 * rng.uniform(-1, 1))], table, 2.0)  # fmt: skip
    trunk: list[Point] = [(-25, 16, 74), (-27, 15, 45)]
    entry: list[Point] = [(-20, 20, 86)] if sign < 0 else [(34, 24, 92), (4, 28, 84)]
    path: list[Point]
    if device.name == "picc":
        path = [
            (sign * 186, -8, 30),
            (sign * 164, -6, 88),
            (sign * 120, 10, 112),
            (sign * 76, 18, 108),
            *entry,
            *trunk,
        ]
        path.append((-26, 15, heart + 26 + 34 * (1 - tip)))
        return [(_shift(path, table), 0.85, 0.55, 0.0)]
    if device.name == "ij line":
        path = [(sign * 40, 4, 205), (sign * 34, 8, 160), (sign * 26, 14, 116), *entry, *trunk]
        path.append((-26, 15, heart + 28 + 34 * (1 - tip)))
        return [(_shift(path, table), 1.15, 0.55, 0.0)]
    if device.name == "cardiac pacer and wires":
        return _pacemaker(rng, sign, entry, trunk, heart, tip, float(chest.scalars["heart_side"]), table)
    pieces: list[Piece] = []
    for z in np.linspace(78, -22, int(rng.integers(5, 8))):
        angle = np.linspace(0.15, 2 * math.pi - 0.15, 26)
        t = table[int((z - Z_MIN) / Z_STEP)]
        wide, tall, turn = rng.uniform(6, 10), rng.uniform(3, 5.5), rng.normal(0, 0.25)
        x = wide * np.cos(angle)
        dz = tall * np.sin(angle) + turn * x
        front = np.full_like(x, t[C["cage_yc"]] + t[C["cage_y"]] + 6.0)
        pieces.append((np.stack([x + t[C["body_mid_x"]] + rng.normal(0, 1.5), front, z + dz], axis=1), 0.5, 3.2, 0.0))
    return pieces


def _shift(knots: list[Point], table: np.ndarray, spacing: float = 1.2) -> np.ndarray:
    """Dense curve whose inner points follow the shifted mediastinum."""
    values = np.array(knots, float)
    row = np.clip(((values[:, 2] - Z_MIN) / Z_STEP).astype(int), 0, len(table) - 1)
    inner = np.clip(1.6 - np.abs(values[:, 0]) / 60, 0, 1)
    values[:, 0] += inner * table[row, C["mid_x"]]
    points, _ = curve(values, spacing)
    return points


def _tube(knots: list[Point], table: np.ndarray, radius: float) -> list[Piece]:
    """A soft tube with a radiopaque stripe."""
    points = _shift(knots, table)
    stripe = points + np.array([0.55 * radius, 0, 0])
    return [(points, radius, 0.13, 0.95), (stripe, 0.7, 1.6, 0.0)]


def _pacemaker(
    rng: np.random.Generator,
    sign: float,
    entry: list[Point],
    trunk: list[Point],
    heart: float,
    tip: float,
    heart_side: float,
    table: np.ndarray,
) -> list[Piece]:
    box = np.array([sign * rng.uniform(88, 112), 72.0, rng.uniform(72, 104)])
    angle = np.linspace(0, 2 * math.pi, 40)
    out: list[Piece] = []
    size = rng.uniform(15, 20)
    for share in np.linspace(0.12, 1.0, 7):
        ring = box + size * share * np.stack([1.15 * np.cos(angle), 0 * angle, np.sin(angle)], axis=1)
        out.append((ring, 2.6, 0.9, 0.0))
    start = tuple(box + np.array([-sign * 8, 0, 16.0]))
    common = [start, (sign * 70, 30, 112), *entry, *trunk, (-26, 16, heart + 34)]
    ventricle = [
        *common,
        (-14, 22, heart + 2),
        (heart_side * 14, 34, heart - 22),
        (heart_side * (40 + 16 * tip), 40, heart - 26),
    ]
    out.append((_shift(ventricle, table), 0.9, 1.5, 0.0))
    if rng.random() < 0.6:
        atrium = [*common, (-20, 24, heart + 6), (-12, 34, heart + 16)]
        out.append((_shift(atrium, table), 0.9, 1.5, 0.0))
    return out
