"""Plain, slow and exact marches: what the fast projections are tested and measured against."""

from math import floor

import numpy as np

from anatomy_vlm.synthesis.projection.compiled import njit
from anatomy_vlm.synthesis.projection.geometry import Geometry
from anatomy_vlm.synthesis.projection.placement import voxel_to_world
from anatomy_vlm.synthesis.projection.rays import plan_rays


def siddon(volume: np.ndarray, placement, geometry: Geometry) -> np.ndarray:
    """Exact line integrals through a volume of constant cells (Siddon 1985; incremental form of Jacobs 1998).

    Arguments and result are those of `project_volume` for a float volume.
    """
    affine = voxel_to_world(placement, volume.shape)
    inverse = np.linalg.inv(affine)
    targets = geometry.pixels_mm().reshape(-1, 3)
    lengths = np.linalg.norm(targets - geometry.source_mm, axis=1)
    source = inverse[:3, :3] @ geometry.source_mm + inverse[:3, 3]
    ends = targets @ inverse[:3, :3].T + inverse[:3, 3]
    image = np.empty(len(ends))
    _siddon(np.ascontiguousarray(volume, np.float32), source, ends, image)
    return (image * lengths).astype(np.float32).reshape(geometry.detector_shape)


@njit(cache=True, nogil=True)
def _siddon(volume, source, ends, image):
    for ray in range(ends.shape[0]):
        start = 0.0
        stop = 1.0
        step = np.empty(3)
        following = np.empty(3)
        cell = np.empty(3, np.int64)
        way = np.empty(3, np.int64)
        for axis in range(3):
            d = ends[ray, axis] - source[axis]
            n = volume.shape[2 - axis]
            if abs(d) < 1e-12:
                if source[axis] < -0.5 or source[axis] > n - 0.5:
                    stop = -1.0
                continue
            a = (-0.5 - source[axis]) / d
            b = (n - 0.5 - source[axis]) / d
            start = max(start, min(a, b))
            stop = min(stop, max(a, b))
        total = 0.0
        if stop > start:
            for axis in range(3):
                d = ends[ray, axis] - source[axis]
                n = volume.shape[2 - axis]
                position = source[axis] + start * d
                cell[axis] = min(max(floor(position + 0.5 + 1e-9 * d), 0), n - 1)
                way[axis] = 1 if d > 0 else -1
                if abs(d) < 1e-12:
                    step[axis] = 1e30
                    following[axis] = 1e30
                else:
                    step[axis] = 1.0 / abs(d)
                    following[axis] = (cell[axis] + 0.5 * way[axis] - source[axis]) / d
            t = start
            while t < stop - 1e-12:
                axis = int(np.argmin(following))
                end = min(following[axis], stop)
                total += (end - t) * volume[cell[2], cell[1], cell[0]]
                t = end
                following[axis] += step[axis]
                cell[axis] += way[axis]
                if cell[axis] < 0 or cell[axis] >= volume.shape[2 - axis]:
                    break
        image[ray] = total


def march_labels(labels: np.ndarray, placement, geometry: Geometry) -> np.ndarray:
    """Slabs in which the nearest voxel to each ray holds each label.

    Args:
        labels: unsigned (Z, Y, X), 0 is background.

    Returns:
        int32 (largest label + 1, rows, columns); row 0 stays empty.
    """
    plan = plan_rays(labels.shape, voxel_to_world(placement, labels.shape), geometry)
    rows, columns = geometry.detector_shape
    inverse = np.linalg.inv(plan.affine)
    ends = geometry.pixels_mm() @ inverse[:3, :3].T + inverse[:3, 3]
    counts = np.zeros((int(labels.max()) + 1, rows, columns), np.int32)
    axes = (plan.across, plan.down, plan.slab)
    moved = np.ascontiguousarray(labels.transpose([2 - plan.slab, 2 - plan.down, 2 - plan.across]))
    _march(moved, plan.source[list(axes)], np.ascontiguousarray(ends[..., list(axes)]), counts)
    return counts


@njit(cache=True, nogil=True)
def _march(labels, source, ends, counts):
    for r in range(ends.shape[0]):
        for c in range(ends.shape[1]):
            for k in range(labels.shape[0]):
                t = (k - source[2]) / (ends[r, c, 2] - source[2])
                i = floor(source[0] + (ends[r, c, 0] - source[0]) * t + 0.5)
                j = floor(source[1] + (ends[r, c, 1] - source[1]) * t + 0.5)
                if 0 <= i < labels.shape[2] and 0 <= j < labels.shape[1]:
                    label = labels[k, j, i]
                    if label:
                        counts[label, r, c] += 1
