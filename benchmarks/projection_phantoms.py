"""Volumes whose line integrals are known in closed form, for `benchmarks/projection.py`."""

import numpy as np
from scipy.special import erf

from anatomy_vlm.synthesis.projection import Geometry


# Centre and semi-axes in LPS mm, attenuation in 1/mm; they add up. A chest of ten ellipsoids.
CHEST = (
    ((0, 0, 0), (170, 110, 172), 0.0192),
    ((-75, 5, 15), (60, 85, 130), -0.0145),
    ((75, 5, 15), (55, 85, 130), -0.0145),
    ((25, -25, -35), (52, 45, 55), 0.0145),
    ((0, 75, 0), (16, 18, 140), 0.0160),
    ((-60, -20, 60), (6, 6, 6), 0.0145),
    ((80, 30, -20), (4, 4, 4), 0.0145),
    ((95, -40, 70), (3, 3, 3), 0.0145),
    ((-110, 0, 90), (8, 30, 8), 0.02),
    ((110, 0, 60), (8, 30, 8), 0.02),
)


def _axes(shape: tuple[int, ...], spacing: tuple[float, ...]) -> list[np.ndarray]:
    return [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing)]


def ellipsoid_volume(shape: tuple[int, int, int], spacing: tuple[float, float, float], fine: int = 3) -> np.ndarray:
    """The chest on a grid (Z, Y, X): voxel means by `fine` samples per axis."""
    z_axis, y_axis, x_axis = _axes(shape, spacing)
    offsets = [((np.arange(fine) + 0.5) / fine - 0.5) * s for s in spacing]
    volume = np.zeros(shape, np.float32)
    for (cx, cy, cz), (a, b, c), value in CHEST:
        ix = np.flatnonzero(np.abs(x_axis - cx) <= a + spacing[2])
        iy = np.flatnonzero(np.abs(y_axis - cy) <= b + spacing[1])
        iz = np.flatnonzero(np.abs(z_axis - cz) <= c + spacing[0])
        x2 = ((x_axis[ix, None] + offsets[2] - cx) / a) ** 2
        y2 = ((y_axis[iy, None] + offsets[1] - cy) / b) ** 2
        for k in iz:
            count = np.zeros((len(iy), len(ix)), np.uint8)
            for dz in offsets[0]:
                left = 1 - ((z_axis[k] + dz - cz) / c) ** 2
                for j in range(fine) if left > 0 else ():
                    for i in range(fine):
                        count += x2[None, :, i] + y2[:, None, j] <= left
            volume[k, iy[0] : iy[-1] + 1, ix[0] : ix[-1] + 1] += np.float32(value / fine**3) * count
    return volume


def ellipsoid_integrals(geometry: Geometry) -> np.ndarray:
    """Exact line integrals of the chest, float64 (rows, columns)."""
    source = geometry.source_mm
    way = geometry.pixels_mm() - source
    length = np.linalg.norm(way, axis=-1)
    total = np.zeros(geometry.detector_shape)
    for center, axes, value in CHEST:
        d, o = way / axes, (source - center) / np.array(axes)
        a, b, c = (d * d).sum(-1), d @ o, o @ o - 1
        total += value * 2 * np.sqrt(np.maximum(b * b - a * c, 0)) / a * length
    return total


def _blobs(count: int = 60) -> list[tuple[np.ndarray, float, float]]:
    rng = np.random.default_rng(5)
    return [
        (rng.uniform((-110, -80, -120), (110, 80, 120)), float(rng.uniform(6, 30)), float(rng.uniform(0.003, 0.02)))
        for _ in range(count)
    ]


def gaussian_volume(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> np.ndarray:
    """Gaussian blobs on a grid, as exact voxel means: what is left of the error is the projector's."""
    volume = np.zeros(shape, np.float32)
    for center, sigma, value in _blobs():
        means = []
        for axis, step, middle in zip(_axes(shape, spacing), spacing, center[::-1]):
            edges = (np.append(axis - step / 2, axis[-1] + step / 2) - middle) / (sigma * np.sqrt(2))
            means.append(np.diff(erf(edges)) * sigma * np.sqrt(np.pi / 2) / step)
        volume += (value * means[0][:, None, None] * means[1][:, None] * means[2]).astype(np.float32)
    return volume


def gaussian_integrals(geometry: Geometry) -> np.ndarray:
    """Exact line integrals of the blobs, float64 (rows, columns)."""
    source = geometry.source_mm
    way = geometry.pixels_mm() - source
    way /= np.linalg.norm(way, axis=-1, keepdims=True)
    total = np.zeros(geometry.detector_shape)
    for center, sigma, value in _blobs():
        offset = center - source
        along = way @ offset
        total += value * sigma * np.sqrt(2 * np.pi) * np.exp(-(offset @ offset - along**2) / (2 * sigma**2))
    return total


def label_volume(shape: tuple[int, int, int], spacing: tuple[float, float, float], count: int) -> np.ndarray:
    """uint8 (Z, Y, X) with `count` overlapping ellipsoids of 6 to 60 mm, later ones in front."""
    rng = np.random.default_rng(7)
    z_axis, y_axis, x_axis = _axes(shape, spacing)
    labels = np.zeros(shape, np.uint8)
    for label in range(1, count + 1):
        size = 60 * (6 / 60) ** (label / count) * rng.uniform(0.7, 1.3, 3)
        center = rng.uniform((-110, -70, -120), (110, 70, 120))
        iz, iy, ix = (
            np.flatnonzero(np.abs(axis - c) <= s)
            for axis, c, s in zip((z_axis, y_axis, x_axis), center[::-1], size[::-1])
        )
        inside = (
            ((z_axis[iz, None, None] - center[2]) / size[2]) ** 2
            + ((y_axis[iy, None] - center[1]) / size[1]) ** 2
            + ((x_axis[ix] - center[0]) / size[0]) ** 2
        ) <= 1
        labels[np.ix_(iz, iy, ix)] = np.where(inside, label, labels[np.ix_(iz, iy, ix)])
    return labels
