import numpy as np
import pytest

from anatomy_vlm.synthesis.projection import voxel_to_world


# Centre and semi-axes in LPS mm, value per mm. Nothing is symmetric.
ELLIPSOIDS = (
    ((5.0, -8.0, 3.0), (120.0, 80.0, 130.0), 0.02),
    ((-50.0, 5.0, 20.0), (40.0, 55.0, 70.0), -0.015),
    ((60.0, 0.0, 10.0), (35.0, 50.0, 80.0), -0.015),
    ((20.0, -30.0, -30.0), (40.0, 30.0, 45.0), 0.012),
    ((0.0, 60.0, 0.0), (12.0, 14.0, 100.0), 0.02),
)


class EllipsoidPhantom:
    """A sum of ellipsoids with closed-form projections."""

    def __init__(self, ellipsoids=ELLIPSOIDS):
        self.ellipsoids = ellipsoids

    def volume(self, shape, placement, fine=3):
        affine = voxel_to_world(placement, shape)
        total = np.zeros(shape)
        offsets = (np.arange(fine) + 0.5) / fine - 0.5
        index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1)[..., ::-1].astype(float)
        for dz in offsets:
            for dy in offsets:
                for dx in offsets:
                    points = (index + (dx, dy, dz)) @ affine[:3, :3].T + affine[:3, 3]
                    for center, axes, value in self.ellipsoids:
                        total += value * ((((points - center) / axes) ** 2).sum(-1) <= 1)
        return (total / fine**3).astype(np.float32)

    def integrals(self, geometry):
        source = geometry.source_mm
        way = geometry.pixels_mm() - source
        total = np.zeros(geometry.detector_shape)
        for center, axes, value in self.ellipsoids:
            d, o = way / axes, (source - center) / np.array(axes)
            a, b, c = (d * d).sum(-1), d @ o, o @ o - 1
            total += value * 2 * np.sqrt(np.maximum(b * b - a * c, 0)) / a * np.linalg.norm(way, axis=-1)
        return total


@pytest.fixture(scope="session")
def phantom():
    return EllipsoidPhantom()


@pytest.fixture(scope="session")
def make_phantom():
    return EllipsoidPhantom


@pytest.fixture(scope="session")
def chest(phantom):
    """(volume, spacing) of the ellipsoids on an anisotropic grid."""
    shape, spacing = (96, 80, 104), (3.0, 2.5, 2.6)
    return phantom.volume(shape, spacing), spacing
