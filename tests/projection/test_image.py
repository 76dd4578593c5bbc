import tracemalloc

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from anatomy_vlm.synthesis.projection import Attenuation, Geometry, KeyPlanes, project_volume, voxel_to_world
from anatomy_vlm.synthesis.projection.reference import siddon


SHAPE = (120, 112)
POSES = {
    "pa": Geometry.pa(detector_shape=SHAPE),
    "ap": Geometry.ap(detector_shape=SHAPE),
    "lateral": Geometry.lateral(detector_shape=SHAPE),
    "off centre": Geometry.pa(detector_shape=SHAPE, isocenter_mm=(15, -10, 20), detector_shift_mm=(-12, 9)),
    "6 degrees": Geometry.pa(detector_shape=SHAPE, rotation_deg=6, tilt_deg=-6),
    "rolled": Geometry.pa(detector_shape=SHAPE, roll_deg=30),
    "lordotic lateral": Geometry.lateral(detector_shape=SHAPE, tilt_deg=10, rotation_deg=-5),
    "oblique": Geometry.oblique(44, detector_shape=SHAPE),
    "right anterior oblique": Geometry.oblique(-60, detector_shape=SHAPE),
    "from the head": Geometry.pa(detector_shape=SHAPE, tilt_deg=70),
}


def rmse(image, truth):
    return float(np.sqrt(((image - truth) ** 2).mean()) / truth.max())


@pytest.mark.parametrize("name", POSES)
def test_closed_form_error_is_at_most_that_of_an_exact_siddon_march(phantom, chest, name):
    volume, spacing = chest
    truth = phantom.integrals(POSES[name])
    ours = rmse(project_volume(volume, spacing, POSES[name]), truth)
    allowed = 1.0 if name in ("pa", "ap", "lateral", "off centre", "6 degrees") else 1.1
    assert ours <= allowed * rmse(siddon(volume, spacing, POSES[name]), truth)
    assert ours < 0.01


@pytest.mark.parametrize("name", ["pa", "ap", "6 degrees"])
def test_largest_error_is_at_most_that_of_siddon(phantom, chest, name):
    volume, spacing = chest
    truth = phantom.integrals(POSES[name])
    ours = np.abs(project_volume(volume, spacing, POSES[name]) - truth).max()
    assert ours <= np.abs(siddon(volume, spacing, POSES[name]) - truth).max()


def test_smooth_volumes_have_half_of_siddons_error():
    spacing, shape = (2.0, 2.0, 2.0), (64, 64, 64)
    axis = (np.arange(64) - 31.5) * 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    volume, sigma, geometry = np.zeros(shape), 10.0, Geometry.pa(detector_shape=SHAPE, detector_size_mm=(160, 150))
    truth = np.zeros(SHAPE)
    way = geometry.pixels_mm() - geometry.source_mm
    way /= np.linalg.norm(way, axis=-1, keepdims=True)
    for center in ((10.0, 5.0, -20.0), (-15.0, 10.0, 12.0), (20.0, -14.0, 25.0)):
        volume += np.exp(-((x - center[0]) ** 2 + (y - center[1]) ** 2 + (z - center[2]) ** 2) / (2 * sigma**2))
        offset = np.array(center) - geometry.source_mm
        beside = offset @ offset - (way @ offset) ** 2
        truth += sigma * np.sqrt(2 * np.pi) * np.exp(-beside / (2 * sigma**2))
    ours = rmse(project_volume(volume, spacing, geometry), truth)
    assert ours <= 0.5 * rmse(siddon(volume, spacing, geometry), truth)


@pytest.mark.parametrize("slices", [2, 25, 51, 96])
def test_one_slab_per_plane_is_josephs_method(chest, slices):
    volume, spacing = chest
    volume = volume[(len(volume) - slices) // 2 :][:slices]
    geometry = POSES["pa"]
    inverse = np.linalg.inv(voxel_to_world(spacing, volume.shape))
    source = inverse[:3, :3] @ geometry.source_mm + inverse[:3, 3]
    ends = geometry.pixels_mm() @ inverse[:3, :3].T + inverse[:3, 3]
    padded = np.pad(volume, ((1, 2), (0, 0), (1, 2)))
    expected = np.zeros(SHAPE)
    for k in range(volume.shape[1]):
        t = (k - source[1]) / (ends[..., 1] - source[1])
        x = np.clip(source[0] + (ends[..., 0] - source[0]) * t + 1, 0, volume.shape[2] + 1)
        z = np.clip(source[2] + (ends[..., 2] - source[2]) * t + 1, 0, volume.shape[0] + 1)
        i, j = np.floor(x).astype(int), np.floor(z).astype(int)
        f, g = x - i, z - j
        plane = padded[:, k]
        expected += (1 - g) * ((1 - f) * plane[j, i] + f * plane[j, i + 1])
        expected += g * ((1 - f) * plane[j + 1, i] + f * plane[j + 1, i + 1])
    way = geometry.pixels_mm() - geometry.source_mm
    expected *= spacing[1] * np.linalg.norm(way, axis=-1) / np.abs(way[..., 1])
    ours = project_volume(volume, spacing, geometry, slabs_per_plane=1)
    np.testing.assert_allclose(ours, expected, atol=2e-5 * expected.max())
    assert rmse(ours, expected) < 1e-6


@pytest.mark.parametrize(("name", "width"), [("pa", 104), ("ap", 104), ("pa", 97)])
def test_a_mirrored_volume_gives_the_mirrored_image_exactly(chest, name, width):
    volume, spacing = chest
    volume = volume[:, :, :width]
    film = project_volume(volume, spacing, POSES[name])
    mirrored = project_volume(volume[:, :, ::-1], spacing, POSES[name])
    assert np.array_equal(mirrored, film[:, ::-1])
    assert not np.allclose(film, film[:, ::-1], atol=0.1)


def test_what_lies_on_the_patients_left_shows_on_the_images_right():
    volume = np.zeros((40, 40, 40), np.float32)
    volume[30, 20, 32] = 1
    for name in ("pa", "ap", "6 degrees"):
        film = project_volume(volume, (4, 4, 4), POSES[name])
        row, column = np.unravel_index(film.argmax(), film.shape)
        assert column > SHAPE[1] / 2, name
        assert row < SHAPE[0] / 2, name


@pytest.mark.parametrize("name", ["pa", "lateral", "6 degrees"])
def test_the_affine_decides_not_the_order_of_the_voxels(chest, name):
    volume, spacing = chest
    affine = voxel_to_world(spacing, volume.shape)
    straight = project_volume(volume, affine, POSES[name])
    for axis in range(3):
        flipped, moved = np.flip(volume, 2 - axis), affine.copy()
        moved[:3, 3] += affine[:3, axis] * (volume.shape[2 - axis] - 1)
        moved[:3, axis] *= -1
        np.testing.assert_allclose(project_volume(flipped, moved, POSES[name]), straight, atol=2e-5)
    swapped, moved = volume.transpose(1, 0, 2), affine[:, [0, 2, 1, 3]]
    np.testing.assert_allclose(project_volume(swapped, moved, POSES[name]), straight, atol=0.03 * straight.max())


def test_an_oblique_affine_is_projected_where_it_lies(phantom):
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("zx", (9, -7), degrees=True).as_matrix()
    affine = turn @ voxel_to_world((2.5, 2.5, 2.5), (120, 100, 120))
    volume = phantom.volume((120, 100, 120), affine)
    truth = phantom.integrals(POSES["pa"])
    ours = rmse(project_volume(volume, affine, POSES["pa"]), truth)
    assert ours <= 1.1 * rmse(siddon(volume, affine, POSES["pa"]), truth)


def test_hounsfield_units_are_converted_on_the_way(chest):
    volume, spacing = chest
    hu = np.rint(volume / 0.01929 * 1000 - 1000).astype(np.int16)
    curve = Attenuation(above=0.01, knee=30)
    converted = np.vectorize(curve, otypes=[np.float32])(hu)
    for name in ("pa", "lateral", "6 degrees"):
        np.testing.assert_allclose(
            project_volume(hu, spacing, POSES[name], attenuation=curve),
            project_volume(converted, spacing, POSES[name]),
            atol=2e-4,
        )
    np.testing.assert_allclose(
        project_volume(hu, spacing, POSES["pa"]), project_volume(volume, spacing, POSES["pa"]), atol=0.02
    )


def test_nothing_is_below_air():
    cold = np.full((8, 8, 8), -3000, np.int16)
    assert project_volume(cold, (10, 10, 10), POSES["pa"]).max() == 0


def test_metal_changes_only_its_own_shadow(chest):
    volume, spacing = chest
    metal = volume.copy()
    metal[60:64, 40:44, 30:34] = 5.0
    without, given = (project_volume(v, spacing, POSES["pa"]) for v in (volume, metal))
    changed = without != given
    assert 0 < changed.mean() < 0.02


@pytest.mark.parametrize("name", ["pa", "lateral", "6 degrees"])
def test_the_result_does_not_depend_on_the_number_of_threads(chest, name):
    volume, spacing = chest
    one, many = (project_volume(volume, spacing, POSES[name], num_threads=n) for n in (1, 3))
    assert np.array_equal(one, many)


@pytest.mark.parametrize(
    ("name", "along", "slabs"), [("pa", "y", 2), ("pa", "y", 3), ("6 degrees", "y", 1), ("lateral", "x", 3)]
)
def test_stored_key_planes_give_the_same_film(chest, name, along, slabs):
    volume, spacing = chest
    keys = KeyPlanes(volume, spacing, along=along, slabs_per_plane=slabs)
    expected = project_volume(volume, spacing, POSES[name], slabs_per_plane=slabs)
    np.testing.assert_allclose(keys.project(POSES[name]), expected, atol=1e-5)
    half = KeyPlanes(volume, spacing, along=along, slabs_per_plane=slabs, half=True)
    assert half.planes.nbytes * 2 == keys.planes.nbytes
    np.testing.assert_allclose(half.project(POSES[name]), expected, atol=2e-3 * expected.max())


def test_key_planes_refuse_poses_they_are_too_coarse_for(chest):
    keys = KeyPlanes(*chest, slabs_per_plane=4)
    with pytest.raises(ValueError, match="slabs_per_plane=1"):
        keys.project(Geometry.oblique(30))
    with pytest.raises(ValueError, match="another axis"):
        keys.project(Geometry.lateral())


def test_memory_beyond_inputs_and_outputs_is_small():
    volume = np.ones((64, 256, 256), np.float32)
    geometry = Geometry.pa(detector_shape=(512, 512))
    project_volume(volume, (4, 1, 1), geometry)
    tracemalloc.start()
    project_volume(volume, (4, 1, 1), geometry)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16e6


@pytest.mark.parametrize(
    ("volume", "placement", "geometry", "said"),
    [
        (np.zeros((4, 4)), (1, 1, 1), Geometry.pa(), "volume must be"),
        (np.zeros((4, 4, 4), complex), (1, 1, 1), Geometry.pa(), "volume must be"),
        (np.zeros((400, 400, 400), np.int16), (9, 9, 9), Geometry.pa(), "source lies inside"),
        (np.zeros((9, 9, 9), np.int16), (1, 1, 1), Geometry.pa(detector_size_mm=(9000, 9000), rotation_deg=44), "run"),
    ],
)
def test_bad_input_is_refused(volume, placement, geometry, said):
    with pytest.raises(ValueError, match=said):
        project_volume(volume, placement, geometry)
