import numpy as np
import pytest
import torch

from anatomy_vlm.synthesis.projection import (
    Geometry,
    LabelRuns,
    box_of_mask,
    project_labels,
    project_labels_torch,
    project_volume,
    project_volume_torch,
    voxel_to_world,
)
from anatomy_vlm.synthesis.projection.reference import march_labels


SHAPE = (120, 112)
UPRIGHT = {
    "pa": Geometry.pa(detector_shape=SHAPE),
    "ap": Geometry.ap(detector_shape=SHAPE, isocenter_mm=(13, 5, -9)),
    "lateral": Geometry.lateral(detector_shape=SHAPE),
}
TURNED = {
    "7 degrees": Geometry.pa(detector_shape=SHAPE, rotation_deg=7, tilt_deg=-4, roll_deg=3),
    "oblique": Geometry.oblique(-40, detector_shape=SHAPE),
}
SPACING = (3.1, 2.3, 2.7)


@pytest.fixture(scope="module", params=[np.uint8, np.uint16], ids=["uint8", "uint16"])
def labels(request):
    """Ragged blocks of 40 structures with holes, an odd width, and values a byte cannot hold in the 16-bit case."""
    rng = np.random.default_rng(3)
    blocks = rng.integers(0, 40, (16, 15, 13))
    blocks[rng.random(blocks.shape) < 0.5] = 0
    grown = np.kron(blocks, np.ones((5, 5, 7), int))
    grown[rng.random(grown.shape) < 0.02] = 0
    factor = 1 if request.param is np.uint8 else 300
    return (grown * factor).astype(request.param)


@pytest.mark.parametrize("name", UPRIGHT)
def test_upright_films_equal_a_march_over_the_nearest_voxels(labels, name):
    film = project_labels(labels, SPACING, UPRIGHT[name])
    marched = march_labels(labels, SPACING, UPRIGHT[name])
    assert film.labels == tuple(np.unique(labels)[1:])
    for label in film.labels:
        assert np.array_equal(film.slabs(label), marched[label])
        assert film.box(label) == box_of_mask(marched[label] > 0)


def _ellipsoid_box(geometry, center, axes):
    """Closed-form outline of an ellipsoid: where the ray's discriminant is positive, on 20 rays per pixel."""
    fine = geometry.replace(detector_shape=tuple(20 * n for n in geometry.detector_shape))
    way = (fine.pixels_mm() - fine.source_mm) / axes
    origin = (fine.source_mm - center) / axes
    hit = (way @ origin) ** 2 - (way * way).sum(-1) * (origin @ origin - 1) > 0
    return np.array(box_of_mask(hit)) / 20


@pytest.mark.parametrize("name", [*UPRIGHT, *TURNED])
def test_boxes_of_ellipsoids_are_within_a_pixel_of_closed_form(name):
    geometry = {**UPRIGHT, **TURNED}[name]
    shape, spacing = (160, 140, 170), (1.4, 1.4, 1.4)
    affine = voxel_to_world(spacing, shape)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1)[..., ::-1]
    points = index @ affine[:3, :3].T + affine[:3, 3]
    labels = np.zeros(shape, np.uint8)
    bodies = (((30, -20, 40), (40, 30, 25)), ((-60, 25, -30), (20, 45, 50)), ((70, 40, -70), (11, 9, 14)))
    for value, (center, axes) in enumerate(bodies, start=1):
        labels[(((points - center) / axes) ** 2).sum(-1) <= 1] = value
    film = project_labels(labels, spacing, geometry)
    for value, (center, axes) in enumerate(bodies, start=1):
        expected = _ellipsoid_box(geometry, np.array(center, float), np.array(axes, float))
        np.testing.assert_allclose(film.box(value), expected, atol=1.0)


@pytest.mark.parametrize("name", TURNED)
def test_turned_films_agree_with_the_march(labels, name):
    film = project_labels(labels, SPACING, TURNED[name])
    marched = march_labels(labels, SPACING, TURNED[name])
    for label in film.labels:
        ours, theirs = film.slabs(label) > 0, marched[label] > 0
        assert (ours & theirs).sum() / (ours | theirs).sum() > 0.85
        assert np.abs(np.subtract(film.box(label), box_of_mask(theirs))).max() <= 1


def test_thickness_is_millimetres_along_the_ray():
    slab = np.zeros((60, 30, 60), np.uint8)
    slab[:, 10:20] = 5
    film = project_labels(slab, (8, 2, 8), UPRIGHT["pa"])
    middle = film.thickness_mm(5)[SHAPE[0] // 2, SHAPE[1] // 2]
    corner = film.thickness_mm(5)[0, 0]
    assert middle == pytest.approx(20, rel=1e-3)
    assert corner == pytest.approx(20 * np.hypot(1800, np.hypot(213.2, 213.1)) / 1800, rel=1e-3)
    assert film.mask(5, minimum_mm=20.2)[0, 0]
    assert not film.mask(5, minimum_mm=20.2)[SHAPE[0] // 2, SHAPE[1] // 2]


def test_unions_add_up_and_unknown_labels_are_empty(labels):
    film = project_labels(labels, SPACING, UPRIGHT["pa"])
    a, b = film.labels[3], film.labels[9]
    np.testing.assert_allclose(film.thickness_mm([a, b]), film.thickness_mm(a) + film.thickness_mm(b), rtol=1e-6)
    assert film.box(max(film.labels) + 1) is None
    assert not film.mask([]).any()


def test_the_share_on_the_film_is_known():
    cube = np.zeros((40, 40, 40), np.uint8)
    cube[10:30, 10:30, 10:30] = 1
    whole = Geometry.pa(detector_shape=(400, 400))
    half = whole.crop(0, 400, 0, 200)
    assert project_labels(cube, (4, 4, 4), whole).inside[1] == 1.0
    assert project_labels(cube, (4, 4, 4), half).inside[1] == pytest.approx(0.5, abs=0.02)


def test_a_mirrored_label_volume_gives_mirrored_masks(labels):
    film = project_labels(labels, SPACING, UPRIGHT["pa"])
    mirrored = project_labels(np.ascontiguousarray(labels[:, :, ::-1]), SPACING, UPRIGHT["pa"])
    for label in film.labels:
        assert np.array_equal(mirrored.slabs(label), film.slabs(label)[:, ::-1])


def test_the_affine_decides_where_labels_lie(labels):
    affine = voxel_to_world(SPACING, labels.shape)
    moved = affine.copy()
    moved[:3, 3] += affine[:3, 0] * (labels.shape[2] - 1)
    moved[:3, 0] *= -1
    for geometry in (UPRIGHT["pa"], UPRIGHT["lateral"]):
        film = project_labels(labels, affine, geometry)
        flipped = project_labels(np.ascontiguousarray(labels[:, :, ::-1]), moved, geometry)
        for label in film.labels:
            assert (film.slabs(label) != flipped.slabs(label)).mean() < 1e-3


def test_runs_serve_many_films_and_refuse_another_axis(labels):
    runs = LabelRuns(labels, SPACING, along="y", num_threads=2)
    for geometry in (UPRIGHT["pa"], UPRIGHT["ap"], TURNED["7 degrees"]):
        once, again = project_labels(labels, SPACING, geometry), runs.project(geometry)
        assert all(np.array_equal(once.slabs(n), again.slabs(n)) for n in once.labels)
    with pytest.raises(ValueError, match="another axis"):
        runs.project(UPRIGHT["lateral"])


def test_an_empty_label_volume_projects_to_nothing():
    film = project_labels(np.zeros((8, 9, 10), np.uint8), (5, 5, 5), UPRIGHT["pa"])
    assert film.labels == ()
    assert not film.mask(1).any()


@pytest.mark.parametrize("bad", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.int32)])
def test_bad_labels_are_refused(bad):
    with pytest.raises(ValueError, match="labels must be"):
        LabelRuns(bad, (1, 1, 1))
    with pytest.raises(ValueError, match="labels must be"):
        project_labels(bad, np.eye(4), UPRIGHT["pa"])


@pytest.mark.parametrize("name", [*UPRIGHT, *TURNED])
def test_torch_gives_the_same_films(labels, chest, name):
    geometry = {**UPRIGHT, **TURNED}[name]
    volume, spacing = chest
    film = project_volume_torch(torch.from_numpy(volume), spacing, geometry)
    np.testing.assert_allclose(film.numpy(), project_volume(volume, spacing, geometry), atol=5e-5)
    counted = project_labels(labels, SPACING, geometry)
    wanted = counted.labels[:6]
    thickness = project_labels_torch(torch.from_numpy(labels.astype(np.int32)), SPACING, geometry, wanted)
    for value, found in zip(wanted, thickness.numpy()):
        assert (np.abs(found - counted.thickness_mm(value)) > 1e-3).mean() < 1e-3


def test_torch_batches_and_has_gradients(chest):
    volume, spacing = chest
    poses = [UPRIGHT["pa"], TURNED["7 degrees"]]
    one = torch.from_numpy(volume).requires_grad_()
    films = project_volume_torch(one, spacing, poses)
    pair = project_volume_torch(torch.stack([torch.from_numpy(volume)] * 2), spacing, poses)
    assert films.shape == (2, *SHAPE)
    torch.testing.assert_close(films.detach(), pair)
    films.sum().backward()
    assert one.grad.abs().sum() > 0
    with pytest.raises(ValueError, match="as many geometries"):
        project_volume_torch(torch.zeros(3, 8, 8, 8), (1, 1, 1), poses)
    with pytest.raises(ValueError, match="floating point"):
        project_volume_torch(torch.zeros(8, 8, 8, dtype=torch.int16), (1, 1, 1), poses)
