"""Solids of about the shapes that labels of CT have, as voxels: ribs, vessels, organs, vertebrae, plates.

They are no anatomy to learn from, only outlines for a mask codec to meet: with the steps of voxels, loops seen end on,
bars that cross, several parts. Lengths are in mm; the axes are backwards, downwards and to the patient's left.
"""

import math
from collections.abc import Callable

import numpy as np


# No solid has more voxels along an axis; where it would, they are larger.
MOST_VOXELS = 120

Tube = tuple[np.ndarray, np.ndarray]


class Grid:
    """
    Voxels of a box.

    Attributes:
        voxel: Their size along the axes, `(3,)`.
        distance: `(Z, Y, X)`, below 0 inside the solid, near its surface in mm.
    """

    def __init__(self, low: np.ndarray, high: np.ndarray, voxel: np.ndarray):
        self.low, self.voxel = low, np.maximum(voxel, (high - low) / MOST_VOXELS)
        self.distance = np.full(np.ceil((high - low) / self.voxel).astype(int) + 1, 1e3, np.float32)

    def axes(self, window: tuple[slice, ...] = (slice(None),) * 3) -> list[np.ndarray]:
        """Where voxels lie along each axis, shaped to be combined."""
        places = [
            (low + size * np.arange(number)).astype(np.float32)[part]
            for low, size, number, part in zip(self.low, self.voxel, self.distance.shape, window)
        ]
        return [place.reshape([-1 if other == axis else 1 for other in range(3)]) for axis, place in enumerate(places)]

    def add_ball(self, center: np.ndarray, radius: float) -> None:
        start = np.floor((center - radius - self.low) / self.voxel - 1).astype(int)
        stop = np.ceil((center + radius - self.low) / self.voxel + 2).astype(int)
        window = tuple(slice(max(a, 0), max(min(b, n), 0)) for a, b, n in zip(start, stop, self.distance.shape))
        z, y, x = self.axes(window)
        found = np.sqrt((z - center[0]) ** 2 + (y - center[1]) ** 2 + (x - center[2]) ** 2) - radius
        np.minimum(self.distance[window], found, out=self.distance[window])

    def ellipsoid(self, center: np.ndarray, radii: np.ndarray, power: float = 2.0) -> np.ndarray:
        """Below 0 inside a superellipsoid; 2 is an ellipsoid, more is boxier."""
        total = sum(np.abs((axis - c) / r) ** power for axis, c, r in zip(self.axes(), center, radii))
        return (np.asarray(total) ** (1 / power) - 1) * float(radii.mean())

    def waves(self, rng: np.random.Generator, number: int, length: float, size: float) -> np.ndarray:
        """Smooth noise of about `size`."""
        out = np.zeros(self.distance.shape, np.float32)
        for _ in range(number):
            # A product of cosines along the axes costs no more than they do.
            factors = rng.normal(0, 2 * math.pi / length, 3)
            phases = rng.uniform(0, 2 * math.pi, 3)
            z, y, x = (np.cos(k * axis + phase) for k, axis, phase in zip(factors, self.axes(), phases))
            out += z * y * x
        return out * np.float32(2 * size / math.sqrt(number))


def _tube(points: np.ndarray, radii: np.ndarray | float) -> Tube:
    """Balls along a smooth curve (Catmull-Rom) through points `(P, 3)`."""
    radii = np.atleast_1d(np.asarray(radii, float))
    points = np.asarray(points, float)
    ends = np.vstack([2 * points[0] - points[1], points, 2 * points[-1] - points[-2]])
    t = np.linspace(0, 1, 40, endpoint=False)[:, None]
    parts = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(ends, ends[1:], ends[2:], ends[3:])
    ]
    dense = np.vstack([*parts, points[-1:]])
    length = np.r_[0, np.linalg.norm(np.diff(dense, axis=0), axis=1).cumsum()]
    at = np.linspace(0, length[-1], max(int(length[-1] / max(0.6 * float(radii.min()), 0.8)), 2))
    path = np.stack([np.interp(at, length, dense[:, axis]) for axis in range(3)], 1)
    return path, np.interp(np.linspace(0, 1, len(path)), np.linspace(0, 1, len(radii)), radii)


def _grid_of(tubes: list[Tube], voxel: np.ndarray) -> Grid:
    low = np.min([(path - radii[:, None]).min(0) for path, radii in tubes], 0) - 2 * voxel
    high = np.max([(path + radii[:, None]).max(0) for path, radii in tubes], 0) + 2 * voxel
    grid = Grid(low, high, voxel)
    for path, radii in tubes:
        for center, radius in zip(path, radii):
            grid.add_ball(center, radius)
    return grid


def _rib_tubes(rng: np.random.Generator, level: float, side: float) -> list[Tube]:
    """An arc from the spine outwards and forwards, sloping down; upper ribs are short and the lowest end early."""
    size = np.interp(level, [0, 2, 7, 11], [45, 85, 120, 105]) * rng.uniform(0.85, 1.15)
    depth = size * rng.uniform(0.65, 0.95)
    span = np.interp(level, [0, 8, 11], [2.6, 2.7, 1.5]) * rng.uniform(0.8, 1.1)
    angles = np.linspace(-0.45 * rng.uniform(0.6, 1.2), span, 9)
    drop = np.interp(level, [0, 3, 8], [25, 60, 95]) * rng.uniform(0.7, 1.3)
    share = np.linspace(0, 1, 9)
    down = level * 24 + drop * share**1.3 - 10 * np.sin(share * 3)
    points = np.stack([depth * np.cos(angles), down, side * (20 + size * np.sin(angles))], 1)
    points += rng.normal(0, 1.5, points.shape)
    radii = rng.uniform(2.8, 4.6) * np.interp(np.linspace(0, 1, 7), [0, 0.2, 1], [1.1, 0.9, rng.uniform(0.8, 1.4)])
    height = rng.uniform(0, 4.5)
    if height < 1:
        return [_tube(points, radii)]
    return [_tube(points + [0, offset, 0], 0.9 * radii) for offset in (-height / 2, height / 2)]


def _rib(rng: np.random.Generator, voxel: np.ndarray) -> Grid:
    return _grid_of(_rib_tubes(rng, rng.uniform(0, 11), rng.choice([-1.0, 1.0])), voxel)


def _ribs(rng: np.random.Generator, voxel: np.ndarray) -> Grid:
    """Several ribs as one structure, with a spine or without."""
    first, number = rng.uniform(0, 8), int(rng.integers(2, 11))
    sides = [-1.0, 1.0] if rng.random() < 0.7 else [1.0]
    levels = np.arange(first, min(first + number, 12))
    tubes = [tube for level in levels for side in sides for tube in _rib_tubes(rng, float(level), side)]
    if rng.random() < 0.6:
        spine = np.array([[20, first * 24 - 20, 0], [25, (first + number) * 24, 0]])
        tubes.append(_tube(spine, rng.uniform(12, 20)))
    return _grid_of(tubes, np.maximum(voxel, 2.0))


def _cartilages(rng: np.random.Generator, voxel: np.ndarray) -> Grid:
    """Bars that run from a midline outwards and up."""
    tubes, number = [], int(rng.integers(3, 8))
    for side in (-1.0, 1.0) if rng.random() < 0.8 else (1.0,):
        for index in range(number):
            start = np.array([-0.3 * index, 22 * index * rng.uniform(0.9, 1.1), side * (12 + 3 * index)])
            reach = side * (rng.uniform(25, 45) + 14 * index)
            bend = np.array([[0, 0, 0], [10, 8 + 3 * index, reach / 2], [30, rng.normal(-14, 5), reach]])
            tubes.append(_tube(start + bend + rng.normal(0, 2, bend.shape), rng.uniform(3.5, 6)))
    return _grid_of(tubes, voxel)


def _vessels(rng: np.random.Generator, voxel: np.ndarray) -> Grid:
    """A trunk that branches, sometimes a second piece elsewhere."""
    tubes: list[Tube] = []

    def grow(start: np.ndarray, way: np.ndarray, radius: float, branchings: int) -> None:
        way = way / np.linalg.norm(way)
        length = radius * rng.uniform(3, 9)
        points = [start]
        for _ in range(3):
            way = way + rng.normal(0, 0.25, 3)
            way = way / np.linalg.norm(way)
            points.append(points[-1] + way * length / 3)
        tubes.append(_tube(np.array(points), np.linspace(radius, radius * rng.uniform(0.7, 1), 4)))
        for _ in range(rng.integers(1, 3) if branchings else 0):
            grow(points[-1], way + rng.normal(0, 0.7, 3), radius * rng.uniform(0.55, 0.85), branchings - 1)

    radius = rng.uniform(5, 13)
    grow(np.zeros(3), rng.normal(0, 1, 3), radius, int(rng.integers(0, 3)))
    if rng.random() < 0.3:
        grow(rng.normal(0, 40, 3), rng.normal(0, 1, 3), radius, 0)
    return _grid_of(tubes, voxel)


def _long(rng: np.random.Generator, voxel: np.ndarray) -> Grid:
    """A tube that wanders about a line, down or across: gullet, cord, cava, clavicle; at times forked as an airway."""
    length, number = rng.uniform(60, 260), int(rng.integers(4, 9))
    sway = rng.normal(0, 0.04 * length, (2, number))
    points = np.stack([sway[0], np.linspace(0, length, number), sway[1]], 1)
    if rng.random() < 0.35:
        points = points[:, [0, 2, 1]] * rng.uniform(0.5, 1)
    tubes = [_tube(points, rng.uniform(4, 11) * rng.uniform(0.7, 1.3, 6))]
    if rng.random() < 0.3:
        end = tubes[0][0][-1]
        for side in (-1, 1):
            branch = np.array([[0, 0, 0], [0, 15, side * 14], [rng.normal(0, 6), 35, side * 36]])
            tubes.append(_tube(end + branch, rng.uniform(4, 8)))
    return _grid_of(tubes, voxel)


def _loops(rng: np.random.Generator, voxel: np.ndarray) -> Grid:
    """A thick tube that folds: colon, stomach."""
    points, way = [np.zeros(3)], rng.normal(0, 1, 3)
    for _ in range(rng.integers(3, 8)):
        way = 0.5 * way + rng.normal(0, 1, 3) * [0.5, 1, 1]
        points.append(points[-1] + way / np.linalg.norm(way) * rng.uniform(25, 60))
    radii = rng.uniform(9, 26) * rng.uniform(0.7, 1.3, 8)
    return _grid_of([_tube(np.array(points), radii)], np.maximum(voxel, 1.5))


def _organ(rng: np.random.Generator, voxel: np.ndarray) -> Grid:
    """Heart, liver, spleen, glands: bumpy, at times cut by a plane or hollowed by a neighbour."""
    radii = rng.uniform(15, 100) * np.exp(rng.normal(0, 0.3, 3))
    mean = float(radii.mean())
    grid = Grid(-1.4 * radii - 6, 1.4 * radii + 6, np.maximum(voxel, radii.max() / 45))
    field = grid.ellipsoid(np.zeros(3), radii, rng.uniform(1.8, 3.2))
    field = field + grid.waves(rng, 5, 2.2 * mean, 0.13 * mean * rng.uniform(0.2, 1.2))
    field = field + grid.waves(rng, 6, 0.8 * mean, 0.03 * mean * rng.uniform(0, 1.5))
    for _ in range(rng.integers(0, 3)):
        way = rng.normal(0, 1, 3)
        way = way / np.linalg.norm(way)
        if rng.random() < 0.5:
            neighbour = grid.ellipsoid(way * radii * rng.uniform(0.8, 1.5), radii * rng.uniform(0.4, 1))
            field = np.maximum(field, -neighbour)
        else:
            z, y, x = grid.axes()
            field = np.maximum(field, way[0] * z + way[1] * y + way[2] * x - mean * rng.uniform(0, 0.7))
    grid.distance = field.astype(np.float32)
    return grid


def _lung(rng: np.random.Generator, voxel: np.ndarray) -> Grid:
    """A cone with a hollowed base and a notch for the heart; at times one lobe of it."""
    radii = np.array([75.0, 125.0, 55.0]) * np.exp(rng.normal(0, 0.12, 3))
    side = rng.choice([-1.0, 1.0])
    grid = Grid(-1.25 * radii, 1.25 * radii, np.maximum(voxel, radii.max() / 48))
    field = grid.ellipsoid(np.array([0, 0.25 * radii[1], 0]), radii * [1, 1.2, 1], rng.uniform(2, 2.8))
    base = np.array([0, radii[1] * rng.uniform(1.2, 1.6), side * rng.uniform(-10, 25)])
    field = np.maximum(field, -grid.ellipsoid(base, radii * [1.2, rng.uniform(0.5, 0.8), 1.3]))
    heart = np.array([-0.4 * radii[0], 0.45 * radii[1], side * radii[2] * rng.uniform(0.9, 1.4)])
    field = np.maximum(field, -grid.ellipsoid(heart, radii * [0.6, 0.4, rng.uniform(0.4, 0.9)]))
    field = field + grid.waves(rng, 6, 60, 4 * rng.uniform(0, 1.2))
    if rng.random() < 0.5:
        z, y, x = grid.axes()
        fissure = y + rng.uniform(-0.9, 0.9) * z + 0.1 * x - rng.uniform(-40, 50)
        field = np.maximum(field, fissure if rng.random() < 0.5 else -fissure)
    grid.distance = field.astype(np.float32)
    return grid


def _vertebra(rng: np.random.Generator, voxel: np.ndarray) -> Grid:
    """A body, the canal behind it, arches and processes; now and then two to four of them."""
    size = rng.uniform(0.7, 1.5)
    heights = 24 * size * np.arange(1 if rng.random() < 0.8 else rng.integers(2, 5))
    tubes: list[Tube] = []
    for down in heights:
        for side in (-1, 1):
            tip = [size * rng.normal(28, 4), down + rng.normal(0, 5), side * size * rng.uniform(22, 36)]
            points = np.array([[12 * size, down, 11 * side * size], [22 * size, down, 15 * side * size], tip])
            tubes.append(_tube(points, 4 * size * rng.uniform(0.7, 1.2)))
            arch = np.array([[22 * size, down, 13 * side * size], [31 * size, down + 3, 0]])
            tubes.append(_tube(arch, 3.2 * size))
        tip = [55 * size * rng.uniform(0.8, 1.1), down + rng.uniform(5, 32) * size, rng.normal(0, 2)]
        tubes.append(_tube(np.array([[31 * size, down + 2, 0], tip]), 3.5 * size * rng.uniform(0.8, 1.3)))
    corners = np.array([[-16.0, -13.0, -20.0], [0.0, 13.0, 20.0]]) * size + [[0, 0, 0], [0, heights[-1], 0]]
    low = np.min([corners[0], *((path - radii[:, None]).min(0) for path, radii in tubes)], 0)
    high = np.max([corners[1], *((path + radii[:, None]).max(0) for path, radii in tubes)], 0)
    grid = Grid(low - 2 * voxel, high + 2 * voxel, voxel)
    for path, radii in tubes:
        for center, radius in zip(path, radii):
            grid.add_ball(center, radius)
    z, y, x = grid.axes()
    for down in heights:
        waist = 1 + 0.15 * ((y - down) / (11 * size)) ** 2
        round_part = 15 * np.hypot(z / 14, x / 18) / waist - 15 * size
        np.minimum(grid.distance, np.maximum(round_part, np.abs(y - down) - 10.5 * size), out=grid.distance)
    return grid


def _plate(rng: np.random.Generator, voxel: np.ndarray) -> Grid:
    """A bent plate of a smooth outline, with a hole or a ridge or without: shoulder blade, breastbone, hip."""
    radii = np.array([35.0, rng.uniform(45, 90), rng.uniform(20, 60)])
    grid = Grid(-radii * [1, 1.9, 1.9], radii * [1, 1.9, 1.9], voxel)
    z, y, x = grid.axes()
    bend = rng.uniform(-0.006, 0.006) * y**2 + rng.uniform(-0.006, 0.006) * x**2 + rng.uniform(-0.2, 0.2) * x
    power = rng.uniform(1.2, 3)
    inner = (np.abs(y / radii[1]) ** power + np.abs(x / radii[2]) ** power) ** (1 / power)
    outline = (inner - 1) * radii[1:].mean() + rng.uniform(-0.35, 0.35) * x + rng.uniform(-0.2, 0.2) * y
    outline = outline + grid.waves(rng, 4, 60, rng.uniform(0, 7))
    field = np.maximum(outline, np.abs(z - bend) - rng.uniform(2, 6))
    if rng.random() < 0.4:
        center = np.array([0, *(rng.uniform(-0.5, 0.5, 2) * radii[1:])])
        field = np.maximum(field, -grid.ellipsoid(center, np.array([99, *rng.uniform(5, 12, 2)])))
    grid.distance = field.astype(np.float32)
    if rng.random() < 0.6:
        a, b = rng.uniform(-0.8, 0.8, (2, 2)) * radii[1:]
        for t in np.linspace(0, 1, 40):
            grid.add_ball(np.array([8 + 14 * t, *(a + (b - a) * t)]), rng.uniform(4, 5) + 3 * t)
    return grid


# Kind -> what draws it, and how often it is drawn.
SOLIDS: dict[str, tuple[Callable[[np.random.Generator, np.ndarray], Grid], float]] = {
    "rib": (_rib, 0.27),
    "ribs": (_ribs, 0.06),
    "cartilages": (_cartilages, 0.06),
    "vessels": (_vessels, 0.12),
    "long": (_long, 0.10),
    "loops": (_loops, 0.05),
    "organ": (_organ, 0.12),
    "lung": (_lung, 0.07),
    "vertebra": (_vertebra, 0.10),
    "plate": (_plate, 0.05),
}


def draw_solid(rng: np.random.Generator, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """
    A solid of a kind in `SOLIDS`: voxels `(Z, Y, X)` bool and their size in mm, `(3,)`.

    Voxels measure 1.2 to 4.2 mm, at times other ones downwards, as slices do; half of the surfaces are rough, as those
    of a network's labels are.
    """
    voxel = np.full(3, np.exp(rng.uniform(math.log(1.2), math.log(4.2))))
    if rng.random() < 0.4:
        voxel[1] *= rng.uniform(0.6, 2.0)
    grid = SOLIDS[kind][0](rng, voxel)
    distance = grid.distance
    if rng.random() < 0.5:
        noise = rng.standard_normal(distance.shape, np.float32)
        distance = distance + np.float32(rng.uniform(0, 0.5) * grid.voxel.min()) * noise
    return distance < 0, grid.voxel
