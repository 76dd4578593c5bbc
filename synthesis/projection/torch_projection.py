"""The same projections in plain torch: for GPUs, batches, and machines without numba.

Key planes, two-tap resampling and the homography as in `project_volume`; gradients flow to the volume.
"""

from collections.abc import Sequence

import numpy as np
import torch

from anatomy_vlm.synthesis.projection.geometry import Geometry
from anatomy_vlm.synthesis.projection.placement import voxel_to_world
from anatomy_vlm.synthesis.projection.rays import RayPlan, key_slabs, plan_rays


def project_volume_torch(
    volume: torch.Tensor,
    placement: Sequence[float] | np.ndarray,
    geometries: Geometry | Sequence[Geometry],
    *,
    slabs_per_plane: int | None = None,
) -> torch.Tensor:
    """Line integrals of one volume or a batch of volumes, on the volume's device.

    Args:
        volume: (Z, Y, X) or (B, Z, Y, X), floating point, attenuations in 1/mm.
        placement: as for `project_volume`; one for the batch.
        geometries: one, or a sequence: of B for a batch, of any length for a single volume. Same detector shape.
        slabs_per_plane: as for `project_volume`.

    Returns:
        (rows, columns) for one geometry and one volume, else (B, rows, columns), in the volume's dtype.

    Raises:
        ValueError: for shapes that do not fit together, or a pose whose rays run along the volume's slabs.
    """
    single = isinstance(geometries, Geometry) and volume.ndim == 3
    poses = [geometries] if isinstance(geometries, Geometry) else list(geometries)
    volumes = _paired(volume, poses)
    affine = voxel_to_world(placement, volume.shape[-3:])
    films, gathered = [], {}
    for item, pose in zip(volumes, poses):
        plan = plan_rays(tuple(item.shape), affine, pose)
        group = slabs_per_plane or plan.slabs_per_plane()
        # One volume in many poses is gathered once.
        key = (item.data_ptr(), plan.slab, group)
        if key not in gathered:
            gathered = {key: _gather(item, plan, group)}
        films.append(_film(*gathered[key], plan))
    return films[0] if single else torch.stack(films)


def project_labels_torch(
    labels: torch.Tensor,
    placement: Sequence[float] | np.ndarray,
    geometry: Geometry,
    values: Sequence[int],
) -> torch.Tensor:
    """Thickness in mm of labels along each ray, as `project_labels` gives it, on the labels' device.

    Args:
        labels: integer (Z, Y, X).
        values: the labels wanted.

    Returns:
        float32 (len(values), rows, columns).
    """
    shape = tuple(labels.shape)
    plan = plan_rays(shape, voxel_to_world(placement, shape), geometry, samples_per_pixel=2)
    stack = _stack(labels, plan)
    depth, slabs, width = stack.shape
    across, down = _positions(plan, np.arange(slabs), labels.device)
    columns, rows = (torch.floor(p + 0.5).long() for p in (across, down))
    on_grid = ((columns >= 0) & (columns < width))[None] & ((rows >= 0) & (rows < depth)).T[:, :, None]
    picked = stack.gather(2, columns.clamp(0, width - 1)[None].expand(depth, -1, -1))
    picked = picked.gather(0, rows.clamp(0, depth - 1).T[:, :, None].expand(-1, -1, picked.shape[2]))
    picked = torch.where(on_grid, picked, 0)
    counts = torch.stack([(picked == value).sum(dim=1) for value in values]).float()
    if plan.homography is not None:
        x, y = _grid_points(plan, labels.device)
        i, j = torch.floor(x + 0.5).long(), torch.floor(y + 0.5).long()
        inside = (i >= 0) & (j >= 0) & (i < counts.shape[2]) & (j < counts.shape[1])
        counts = counts[:, j.clamp(0, counts.shape[1] - 1), i.clamp(0, counts.shape[2] - 1)] * inside
    return counts * torch.from_numpy(plan.path_mm().astype(np.float32)).to(labels.device)


def _paired(volume: torch.Tensor, poses: list[Geometry]) -> list[torch.Tensor]:
    if volume.ndim not in (3, 4) or not volume.is_floating_point():
        raise ValueError(
            f"volume must be floating point (Z, Y, X) or (B, Z, Y, X), got {volume.dtype} {tuple(volume.shape)}"
        )
    if volume.ndim == 3:
        return [volume] * len(poses)
    if len(poses) == 1:
        poses *= len(volume)
    if len(poses) != len(volume):
        raise ValueError(f"a batch of {len(volume)} volumes needs as many geometries, got {len(poses)}")
    return list(volume)


def _stack(volume: torch.Tensor, plan: RayPlan) -> torch.Tensor:
    """Axes in the order (down, slab, across)."""
    return volume.permute({0: (0, 2, 1), 1: (0, 1, 2), 2: (1, 0, 2)}[plan.slab])


def _gather(volume: torch.Tensor, plan: RayPlan, group: int) -> tuple[torch.Tensor, np.ndarray]:
    """Key planes (down, planes, across) and their slab coordinates."""
    first, weight, slabs = key_slabs(plan.shape[2 - plan.slab], group)
    stack = _stack(volume, plan)
    if group == 1:
        return stack, slabs
    hats = np.zeros((len(slabs), len(first)), np.float32)
    hats[first, np.arange(len(first))] += weight
    hats[first + 1, np.arange(len(first))] += 1 - weight
    return torch.matmul(torch.from_numpy(hats).to(volume), stack), slabs


def _positions(plan: RayPlan, slabs: np.ndarray, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Voxel positions of the grid's columns and rows in each slab: (slabs, columns) and (slabs, rows)."""
    scale_u, shift_u, scale_v, shift_v = plan.positions(slabs)
    height, width = plan.grid_shape
    u = np.arange(width) - (width - 1) / 2
    v = np.arange(height) - (height - 1) / 2
    across, down = shift_u[:, None] + scale_u[:, None] * u, shift_v[:, None] + scale_v[:, None] * v
    # In double precision until here: a voxel index in float16 or bfloat16 would be off by whole voxels.
    return torch.from_numpy(across.astype(np.float32)).to(device), torch.from_numpy(down.astype(np.float32)).to(device)


def _taps(position: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Both neighbours of each position and their weights, zero outside."""
    low = torch.floor(position)
    share = position - low
    low = low.long()
    near = torch.where((low >= 0) & (low < size), 1 - share, 0.0)
    far = torch.where((low >= -1) & (low < size - 1), share, 0.0)
    return low.clamp(0, size - 1), (low + 1).clamp(0, size - 1), near, far


def _film(planes: torch.Tensor, slabs: np.ndarray, plan: RayPlan) -> torch.Tensor:
    depth, _, width = planes.shape
    across, down = _positions(plan, slabs, planes.device)
    i0, i1, w0, w1 = _taps(across, width)
    shape = (depth, -1, -1)
    sampled = planes.gather(2, i0[None].expand(shape)) * w0.to(planes) + planes.gather(
        2, i1[None].expand(shape)
    ) * w1.to(planes)
    j0, j1, w0, w1 = (t.T[:, :, None] for t in _taps(down, depth))
    shape = (-1, -1, sampled.shape[2])
    grid = (sampled.gather(0, j0.expand(shape)) * w0.to(planes)).sum(dim=1)
    grid = grid + (sampled.gather(0, j1.expand(shape)) * w1.to(planes)).sum(dim=1)
    film = grid if plan.homography is None else _warp(grid, plan)
    return film * torch.from_numpy(plan.path_mm()).to(planes)


def _grid_points(plan: RayPlan, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Grid position (x, y) of each pixel of the film."""
    rows, columns = plan.geometry.detector_shape
    c, r = np.meshgrid(np.arange(columns), np.arange(rows))
    x, y, w = np.tensordot(plan.homography, np.stack([c, r, np.ones_like(c)]), axes=1)
    return torch.from_numpy(x / w).float().to(device), torch.from_numpy(y / w).float().to(device)


def _warp(grid: torch.Tensor, plan: RayPlan) -> torch.Tensor:
    """Bicubic samples (Keys 1981, a = -0.5; `grid_sample` has -0.75), zero outside."""
    height, width = grid.shape
    x, y = _grid_points(plan, grid.device)
    i, j = torch.floor(x), torch.floor(y)
    inside = (i >= 1) & (j >= 1) & (i <= width - 3) & (j <= height - 3)
    columns, rows = _cubic((x - i).to(grid)), _cubic((y - j).to(grid))
    i, j = i.long().clamp(1, max(width - 3, 1)), j.long().clamp(1, max(height - 3, 1))
    film = torch.zeros_like(x, dtype=grid.dtype)
    for b, row in enumerate(rows):
        for a, column in enumerate(columns):
            film = film + row * column * grid[j + (b - 1), i + (a - 1)]
    return film * inside


def _cubic(f: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    return (
        0.5 * f * (f * (2 - f) - 1),
        0.5 * (f * f * (3 * f - 5) + 2),
        0.5 * f * (f * (4 - 3 * f) + 1),
        0.5 * f * f * (f - 1),
    )
