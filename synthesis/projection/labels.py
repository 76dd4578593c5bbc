"""Projections of a label volume: every structure's thickness, footprint and box in one pass."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from anatomy_vlm.synthesis.projection import label_kernels
from anatomy_vlm.synthesis.projection.geometry import Geometry
from anatomy_vlm.synthesis.projection.image import slice_chunks
from anatomy_vlm.synthesis.projection.placement import voxel_to_world
from anatomy_vlm.synthesis.projection.rays import RayPlan, plan_rays
from anatomy_vlm.synthesis.projection.threads import run_tasks


@dataclass(frozen=True)
class LabelProjection:
    """What each label of a volume covers on a film.

    Attributes:
        labels: the label values present in the volume, ascending, without 0.
        shape: (rows, columns) of the film.
        path_mm: float32 (rows, columns), the length of a pixel's ray through one slab.
        inside: label -> share in [0, 1] of the structure that falls on the film; 1 is all of it.
        windows: label -> (top, left) and the slabs its rays cross there, an int16 patch of the film.
    """

    labels: tuple[int, ...]
    shape: tuple[int, int]
    path_mm: np.ndarray
    inside: dict[int, float]
    windows: dict[int, tuple[int, int, np.ndarray]] = field(repr=False)

    def slabs(self, labels: int | Iterable[int]) -> np.ndarray:
        """int32 (rows, columns): slabs in which each pixel's ray meets a label, or a union of labels."""
        total = np.zeros(self.shape, np.int32)
        for part, patch in self._patches(labels):
            total[part] += patch
        return total

    def thickness_mm(self, labels: int | Iterable[int]) -> np.ndarray:
        """float32 (rows, columns): mm of a label, or of a union of labels, along each pixel's ray."""
        total = np.zeros(self.shape, np.float32)
        for part, patch in self._patches(labels):
            total[part] += patch * self.path_mm[part]
        return total

    def _patches(self, labels: int | Iterable[int]) -> Iterator[tuple[tuple[slice, slice], np.ndarray]]:
        wanted = (labels,) if isinstance(labels, (int, np.integer)) else labels
        for top, left, patch in (self.windows[int(label)] for label in wanted if int(label) in self.windows):
            yield (slice(top, top + patch.shape[0]), slice(left, left + patch.shape[1])), patch

    def mask(self, labels: int | Iterable[int], minimum_mm: float = 0.0) -> np.ndarray:
        """bool (rows, columns): rays with more than `minimum_mm` of the label or union."""
        return self.thickness_mm(labels) > minimum_mm

    def box(self, labels: int | Iterable[int], minimum_mm: float = 0.0) -> tuple[int, int, int, int] | None:
        """(x0, y0, x1, y1) in pixels around `mask`, ends exclusive, or None where it is empty."""
        return box_of_mask(self.mask(labels, minimum_mm))


def box_of_mask(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """(x0, y0, x1, y1) around the true pixels of a (rows, columns) mask, ends exclusive; None if there are none.

    Example:
        >>> box_of_mask(np.array([[0, 0, 0], [0, 1, 1]], bool))
        (1, 1, 3, 2)
    """
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


class LabelRuns:
    """A label volume as runs of equal labels, for many films: built once, projected in time that grows with the runs.

    Args:
        labels: uint8 or uint16 (Z, Y, X); 0 is background.
        placement: as for `project_volume`.
        along: the world direction the beam will run along, "y" (frontal films) or "x" (laterals).

    Raises:
        ValueError: for another dtype or shape, or an unknown `along`.
    """

    def __init__(
        self,
        labels: np.ndarray,
        placement: Sequence[float] | np.ndarray,
        *,
        along: str = "y",
        num_threads: int | None = None,
    ) -> None:
        if along not in ("x", "y"):
            raise ValueError(f'along must be "x" (laterals) or "y" (frontal films), got {along!r}')
        labels = _checked(labels)
        affine = voxel_to_world(placement, labels.shape)
        direction = affine["xy".index(along), :3] / np.linalg.norm(affine[:3, :3], axis=0)
        self._build(labels, affine, int(np.argmax(np.abs(direction))), num_threads)

    @classmethod
    def for_plan(cls, labels: np.ndarray, plan: RayPlan, num_threads: int | None = None) -> "LabelRuns":
        """Runs for the slab axis of a given plan."""
        runs = cls.__new__(cls)
        runs._build(labels, plan.affine, plan.slab, num_threads)
        return runs

    def _build(self, labels: np.ndarray, affine: np.ndarray, slab: int, num_threads: int | None) -> None:
        self.shape, self.affine, self.slab = labels.shape, affine, slab
        order = {0: (0, 2, 1), 1: (0, 1, 2), 2: (1, 0, 2)}[slab]
        flat = np.ascontiguousarray(labels.transpose(order)).reshape(-1)
        slices, slabs, width = (labels.shape[i] for i in order)
        shift = 3 if labels.itemsize == 1 else 2
        words = flat[: len(flat) >> shift << shift].view(np.uint64)
        pattern = np.uint64(0x0101010101010101 if labels.itemsize == 1 else 0x0001000100010001)
        head = (flat, words, shift, pattern, slabs, width)
        chunks = slice_chunks(slices)
        # A guess of the runs per row saves counting them first; chunks with more are done again.
        parts = [_run_buffers(8 * slabs * (stop - start)) for start, stop in chunks]
        run_tasks(label_kernels.find_runs, [(*head, *c, *part) for c, part in zip(chunks, parts)], num_threads)
        for i, (runs, _, found) in enumerate(parts):
            if found[0] > len(runs):
                parts[i] = _run_buffers(int(found[0]))
                label_kernels.find_runs(*head, *chunks[i], *parts[i])
        kept = [(runs[: found[0]], values[: found[0]]) for runs, values, found in parts]
        counts = np.bincount(np.concatenate([values for _, values in kept]), minlength=1)
        self.pointers = np.concatenate([[0], np.cumsum(counts)])
        self.runs = np.empty((int(self.pointers[-1]), 4), np.int16)
        place = self.pointers[:-1].copy()
        for runs, values in kept:
            label_kernels.sort_runs(runs, values, place, self.runs)
        count = len(counts)
        self.extent = np.zeros((count, 6), np.int64)
        tasks = [(self.runs, self.pointers, *part, self.extent) for part in self._parts(np.diff(self.pointers))]
        run_tasks(label_kernels.run_extents, tasks, num_threads)

    @staticmethod
    def _parts(work: np.ndarray, count: int = 12) -> list[tuple[int, int]]:
        """Ranges of labels of about equal work."""
        done = np.cumsum(work)
        edges = np.searchsorted(done, done[-1] * np.arange(1, count) / count, side="right")
        edges = np.unique(np.concatenate([[0], edges, [len(work)]]))
        return list(pairwise(edges.tolist()))

    def project(self, geometry: Geometry, *, num_threads: int | None = None) -> LabelProjection:
        """Projects every label.

        In an upright film each count equals that of a march that takes the voxel nearest to the ray in every slab.
        Other poses count on a plane of the volume, at half the pixels' pitch, and each pixel of the film takes the
        nearest count there: footprints agree with the march to within a pixel.

        Raises:
            ValueError: if the beam runs along another axis than the runs were built for.
        """
        plan = plan_rays(self.shape, self.affine, geometry, samples_per_pixel=2)
        if plan.slab != self.slab:
            raise ValueError("this beam runs along another axis than the runs; build a second set with `along`")
        height, width = plan.grid_shape
        rays = plan.positions(np.arange(plan.shape[2 - plan.slab]))
        window = np.zeros((len(self.extent), 4), np.int64)
        label_kernels.window_of_extent(self.extent, *rays, height, width, window)
        sizes = (window[:, 1] - window[:, 0]) * (window[:, 3] - window[:, 2])
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        flat = np.empty(int(offsets[-1]), np.int16)
        inside = np.zeros((len(self.extent), 2), np.int64)
        work = np.diff(self.pointers) + sizes // 4
        tasks = [
            (self.runs, self.pointers, *rays, height, width, window, offsets, *part, flat, inside)
            for part in self._parts(work)
        ]
        run_tasks(label_kernels.project_runs, tasks, num_threads)
        present = np.flatnonzero(np.diff(self.pointers))
        windows = {}
        for label in present.tolist():
            top, bottom, left, right = window[label].tolist()
            patch = flat[offsets[label] : offsets[label + 1]].reshape(bottom - top, right - left)
            windows[label] = (top, left, patch) if plan.homography is None else _to_film(top, left, patch, plan)
        return LabelProjection(
            labels=tuple(present.tolist()),
            shape=geometry.detector_shape,
            path_mm=plan.path_mm().astype(np.float32),
            inside={label: float(inside[label, 0] / max(inside[label, 1], 1)) for label in present.tolist()},
            windows=windows,
        )


def project_labels(
    labels: np.ndarray,
    placement: Sequence[float] | np.ndarray,
    geometry: Geometry,
    *,
    num_threads: int | None = None,
) -> LabelProjection:
    """Projects every structure of a label volume in the geometry of `project_volume`.

    Args:
        labels: uint8 or uint16 (Z, Y, X); 0 is background.
        placement, geometry, num_threads: as for `project_volume`.

    Returns:
        Per label: thickness in mm, footprint, box, and the share that falls on the film.

    Raises:
        ValueError: for another dtype or shape, or a pose whose rays run along the volume's slabs.

    Example:
        >>> cube = np.zeros((20, 20, 20), np.uint8)
        >>> cube[5:15, 5:15, 12:18] = 7
        >>> film = project_labels(cube, (2, 2, 2), Geometry.pa(detector_shape=(430, 430)))
        >>> film.box(7)
        (219, 204, 233, 226)
    """
    labels = _checked(labels)
    plan = plan_rays(labels.shape, voxel_to_world(placement, labels.shape), geometry)
    return LabelRuns.for_plan(labels, plan, num_threads).project(geometry, num_threads=num_threads)


def _checked(labels: np.ndarray) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.ndim != 3 or labels.dtype not in (np.uint8, np.uint16) or min(labels.shape, default=0) < 1:
        raise ValueError(f"labels must be uint8 or uint16 (Z, Y, X), got {labels.dtype} {labels.shape}")
    return labels


def _run_buffers(room: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Runs, their labels, and their number."""
    return np.empty((room, 4), np.int16), np.empty(room, np.uint16), np.zeros(1, np.int64)


def _to_film(top: int, left: int, patch: np.ndarray, plan: RayPlan) -> tuple[int, int, np.ndarray]:
    """Takes one label's patch of the gathering grid to its patch of the film."""
    rows, columns = plan.geometry.detector_shape
    bottom, right = top + patch.shape[0], left + patch.shape[1]
    corners = np.array([[left - 1, right, left - 1, right], [top - 1, top - 1, bottom, bottom], [1, 1, 1, 1]])
    corners = np.linalg.inv(plan.homography) @ corners
    corners = corners[:2] / corners[2]
    low = np.clip(np.floor(corners.min(axis=1)).astype(int), 0, (columns, rows))
    high = np.clip(np.ceil(corners.max(axis=1)).astype(int) + 1, low, (columns, rows))
    image = np.zeros((high[1] - low[1], high[0] - low[0]), np.int16)
    label_kernels.warp_counts(patch, top, left, plan.homography, int(low[1]), int(low[0]), image)
    return int(low[1]), int(low[0]), image
