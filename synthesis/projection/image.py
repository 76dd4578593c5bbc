"""Line integrals through a volume: one film, or many films of one volume."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from anatomy_vlm.synthesis.projection import kernels
from anatomy_vlm.synthesis.projection.attenuation import Attenuation
from anatomy_vlm.synthesis.projection.geometry import Geometry
from anatomy_vlm.synthesis.projection.placement import voxel_to_world
from anatomy_vlm.synthesis.projection.rays import RayPlan, key_slabs, plan_rays
from anatomy_vlm.synthesis.projection.threads import run_tasks


def project_volume(
    volume: np.ndarray,
    placement: Sequence[float] | np.ndarray,
    geometry: Geometry,
    *,
    attenuation: Attenuation | None = None,
    slabs_per_plane: int | None = None,
    num_threads: int | None = None,
) -> np.ndarray:
    """Line integrals of a volume along the rays of a film.

    Voxels are points of a grid with linear interpolation between them across the beam, one sample per slab along it
    (Joseph 1982); outside the volume there is nothing. Slabs that drift less than half a voxel against each other
    share a key plane, with hat weights.

    Args:
        volume: (Z, Y, X), float32 or int16 without a copy, other real types as float32 copies. Axes and handedness are
            what `placement` says; with bare spacings x runs to the patient's left, y to the back, z to the head.
        placement: spacings (z, y, x) in mm, or a 4 x 4 affine from voxel (x, y, z) to LPS mm (`voxel_to_world`).
        geometry: tube, detector and pose.
        attenuation: curve over Hounsfield units, applied on the fly. None means a float volume holds attenuations in
            1/mm already, and an integer one Hounsfield units for the default curve.
        slabs_per_plane: slabs that share a key plane; None picks it from the pose, 1 is Joseph's method itself.
        num_threads: None uses every processor the process may use. The result does not depend on it.

    Returns:
        float32 (rows, columns): integral of the value over mm.

    Raises:
        ValueError: for a volume that is not 3-D and real, or a pose whose rays run along the volume's slabs.

    Example:
        >>> slab = np.full((20, 20, 20), 0.02, np.float32)
        >>> film = project_volume(slab, (5, 5, 5), Geometry.pa(detector_shape=(65, 65)))
        >>> float(film[32, 32].round(4))
        2.0
    """
    volume, attenuation = _prepare(volume, attenuation)
    plan = plan_rays(volume.shape, voxel_to_world(placement, volume.shape), geometry)
    group = slabs_per_plane or plan.slabs_per_plane()
    stack = volume.transpose(1, 0, 2) if plan.slab == 2 else volume
    first, weight, slabs = key_slabs(plan.shape[2 - plan.slab], group)
    corners = None if attenuation is None else np.array(attenuation.corners(), np.float32)
    head = (stack, plan.slab != 0, first, weight, corners)
    return _run(kernels.project_slices, head, stack.shape[0], plan, slabs, num_threads)


class KeyPlanes:
    """A volume gathered onto its key planes, for many poses: a further film costs about half of the first.

    Args:
        volume, placement, attenuation, num_threads: as for `project_volume`.
        along: the world direction the beam will run along, "y" (frontal films) or "x" (laterals).
        slabs_per_plane: 4 suits upright films at 1.8 m, 2 poses up to about 6 degrees off, 1 any pose.
        half: store float16, about 20 MB for a CT of 512 x 512 x 300 at 4 slabs per plane.

    Raises:
        ValueError: as `project_volume`, and for an unknown `along`.
    """

    def __init__(
        self,
        volume: np.ndarray,
        placement: Sequence[float] | np.ndarray,
        *,
        along: str = "y",
        attenuation: Attenuation | None = None,
        slabs_per_plane: int = 2,
        half: bool = False,
        num_threads: int | None = None,
    ) -> None:
        if along not in ("x", "y"):
            raise ValueError(f'along must be "x" (laterals) or "y" (frontal films), got {along!r}')
        if slabs_per_plane < 1:
            raise ValueError(f"slabs_per_plane must be at least 1, got {slabs_per_plane}")
        volume, attenuation = _prepare(volume, attenuation)
        self.shape = volume.shape
        self.affine = voxel_to_world(placement, volume.shape)
        self.slabs_per_plane = slabs_per_plane
        direction = self.affine["xy".index(along), :3] / np.linalg.norm(self.affine[:3, :3], axis=0)
        self.slab = int(np.argmax(np.abs(direction)))
        stack = volume.transpose(1, 0, 2) if self.slab == 2 else volume
        first, weight, self._slabs = key_slabs(self.shape[2 - self.slab], slabs_per_plane)
        width = stack.shape[1] if self.slab == 0 else stack.shape[2]
        corners = None if attenuation is None else np.array(attenuation.corners(), np.float32)
        self.planes = np.empty((stack.shape[0], len(self._slabs), width + 3), np.float32)
        tasks = [
            (stack, self.slab != 0, first, weight, corners, start, stop, self.planes)
            for start, stop in slice_chunks(stack.shape[0])
        ]
        run_tasks(kernels.store_planes, tasks, num_threads)
        if half:
            self.planes = self.planes.astype(np.float16)

    def project(self, geometry: Geometry, *, num_threads: int | None = None) -> np.ndarray:
        """Line integrals of one film, float32 (rows, columns).

        Raises:
            ValueError: if the beam runs along another axis than the keys were built for, or the pose is too oblique
                for their `slabs_per_plane`.
        """
        plan = plan_rays(self.shape, self.affine, geometry)
        if plan.slab != self.slab:
            raise ValueError("this beam runs along another axis than the key planes; build a second set with `along`")
        if plan.slabs_per_plane() < self.slabs_per_plane:
            raise ValueError(
                f"this pose needs {plan.slabs_per_plane()} slabs per key plane, these hold {self.slabs_per_plane}; "
                f"build them with slabs_per_plane={plan.slabs_per_plane()}"
            )
        planes = self.planes if self.planes.dtype == np.float32 else self.planes.astype(np.float32)
        return _run(kernels.project_planes, (planes,), len(planes), plan, self._slabs, num_threads)


def _prepare(volume: np.ndarray, attenuation: Attenuation | None) -> tuple[np.ndarray, Attenuation | None]:
    volume = np.asarray(volume)
    if volume.ndim != 3 or volume.dtype.kind not in "fiu" or min(volume.shape) < 2:
        raise ValueError(
            f"volume must be a real (Z, Y, X) array with at least 2 voxels per axis, got {volume.dtype} {volume.shape}"
        )
    if attenuation is None and volume.dtype.kind in "iu":
        attenuation = Attenuation()
    if volume.dtype not in (np.float32, np.int16):
        volume = volume.astype(np.float32)
    return np.ascontiguousarray(volume), attenuation


def slice_chunks(slices: int) -> list[tuple[int, int]]:
    """A split that depends on the volume alone, so that sums round the same way on any number of processors."""
    count = max(1, min(16, slices // 24))
    edges = [slices * i // count for i in range(count + 1)]
    return list(pairwise(edges))


def _run(kernel, head: tuple, slices: int, plan: RayPlan, slabs: np.ndarray, num_threads: int | None) -> np.ndarray:
    height, width = plan.grid_shape
    scale_u, shift_u, scale_v, shift_v = plan.positions(slabs)
    index = np.empty((len(slabs), width), np.uint32)
    tap = np.empty((len(slabs), width), np.float32)
    kernels.column_table(scale_u, shift_u, width, plan.shape[2 - plan.across], index, tap)
    tasks, bands = [], []
    for start, stop in slice_chunks(slices):
        # Rows beyond the chunk's first and last slice get the share of these slices; the neighbour adds the rest.
        edges = (np.array([start - 1, stop])[:, None] - shift_v) / scale_v + (height - 1) / 2
        top = int(np.clip(np.floor(edges.min()), 0, height))
        bottom = int(np.clip(np.ceil(edges.max()) + 1, top, height))
        band = np.zeros((bottom - top, width), np.float32)
        bands.append((top, band))
        tasks.append((*head, index, tap, scale_v, shift_v, height, start, stop, top, band))
    run_tasks(kernel, tasks, num_threads)
    grid = np.zeros((height, width), np.float32)
    for top, band in bands:
        grid[top : top + len(band)] += band
    rows, columns = plan.geometry.detector_shape
    parts = slice_chunks(rows)
    if plan.homography is None:
        image = grid
    else:
        image = np.empty((rows, columns), np.float32)
        run_tasks(kernels.warp_bicubic, [(grid, plan.homography, image, *part) for part in parts], num_threads)
    run_tasks(kernels.scale_by_path, [(image, *plan.path_terms(), *part) for part in parts], num_threads)
    return image
