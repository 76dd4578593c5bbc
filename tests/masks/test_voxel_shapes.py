"""Shadows of voxels: every kind of solid throws one, steps stay on rows and columns, training runs on them."""

import numpy as np
import pytest
import torch

from anatomy_vlm.modeling.mask_codecs_anatomy_vlm import load_codec
from anatomy_vlm.training.masks import voxel_shapes
from anatomy_vlm.training.masks.codec_training import main
from anatomy_vlm.training.masks.shapes import Shapes, save_shapes
from anatomy_vlm.training.masks.solids import SOLIDS, draw_solid
from anatomy_vlm.training.masks.voxel_shapes import (
    MOST_EDGES,
    draw_voxel_shapes,
    mixed_batches,
    outline_edges,
    silhouette,
)


@pytest.mark.parametrize("kind", SOLIDS)
def test_every_kind_of_solid_has_voxels_and_a_shadow(kind):
    rng = np.random.default_rng(2)
    solid, voxel = draw_solid(rng, kind)
    assert solid.dtype == bool and 0.0005 < solid.mean() < 0.9 and (voxel > 0.6).all()
    # Nothing is cut by the box that it is drawn in, but for what a plane was meant to cut.
    assert not solid[:, 0].any() and not solid[:, -1].any() and not solid[:, :, 0].any() and not solid[:, :, -1].any()
    shadow = silhouette(rng, solid, voxel)
    assert shadow[0].any() and shadow[-1].any() and shadow[:, 0].any() and shadow[:, -1].any()


class Straight:
    """A generator of poses: from the back, on the central ray, neither leaning nor turned."""

    def choice(self, number, p):
        return 0

    def uniform(self, low, high, size=None):
        return np.zeros(size) if size else (low + high) / 2

    def normal(self, mean, deviation):
        return 0.0

    def random(self):
        return 0.9


def test_a_shadow_is_that_of_its_voxels():
    solid = np.zeros((3, 4, 5), bool)
    solid[1, 1, 1] = solid[1, 2, 3] = True
    shadow = silhouette(Straight(), solid, np.array([3.0, 12.0, 6.0]))
    # Two voxels twice as tall as wide, one column apart, the lower one to the right.
    tall, wide = (round(shadow.shape[0] / 2), round(shadow.shape[1] / 3))
    assert tall / wide == pytest.approx(2, rel=0.1)
    assert shadow[: tall - 1, : wide - 1].all() and shadow[tall + 1 :, 2 * wide + 1 :].all()
    assert not shadow[: tall - 1, wide + 1 :].any() and not shadow[tall + 1 :, : 2 * wide - 1].any()


def test_nearer_slices_are_smaller_on_the_film():
    # Two equal plates of one voxel, 300 mm apart along the rays: their shadows differ by 300 in 1800.
    solid = np.zeros((101, 40, 40), bool)
    solid[0, 10:30, 10:30] = True
    alone = silhouette(Straight(), solid, np.full(3, 3.0)).shape[0]
    solid[100, 10:30, 10:30] = True
    assert silhouette(Straight(), solid, np.full(3, 3.0)).shape[0] / alone == pytest.approx(1 + 150 / 1800, rel=0.03)


def test_shapes_are_those_of_their_seed_and_no_outline_is_too_long():
    shapes = draw_voxel_shapes(52, seed=4, num_workers=0, progress=False)
    again = voxel_shapes._shapes_of(4, 50)
    assert shapes.rasters.shape == (52, 64, 64) and shapes.rasters.dtype == torch.uint8
    assert torch.equal(shapes.rasters[:50], again[0]) and shapes.families[:50] == tuple(again[1])
    assert set(shapes.families) <= set(SOLIDS) and len(set(shapes.families)) >= 5
    assert outline_edges(shapes.rasters).max() <= MOST_EDGES
    for edge in (shapes.rasters[:, :2], shapes.rasters[:, -2:], shapes.rasters[:, :, :2], shapes.rasters[:, :, -2:]):
        assert (edge.flatten(1).amax(1) > 60).all(), "a box is not tight"


def corner() -> Shapes:
    raster = torch.zeros(1, 64, 64, dtype=torch.uint8)
    raster[0, :, :8] = raster[0, :24] = 255
    return Shapes(raster, ("corner",))


def disc() -> Shapes:
    y, x = torch.meshgrid(torch.linspace(-1, 1, 112), torch.linspace(-1, 1, 112), indexing="ij")
    return Shapes(((x**2 + y**2) < 1).byte()[None] * 255, ("disc",))


def test_voxels_are_mirrored_and_transposed_but_never_bent():
    batch = next(mixed_batches(disc(), corner(), 100, seed=1))
    assert torch.equal(batch, next(mixed_batches(disc(), corner(), 100, seed=1))) and len(batch) > 90
    seen = {tuple(raster.flatten().int().tolist()) for raster in batch[:60]}
    assert len(seen) == 8 and batch.min() >= 0 and batch.max() <= 1
    edges = outline_edges((batch * 255).byte())
    assert (edges[:60] == edges[0]).all() and not (edges[60:] == edges[0]).all()


def test_the_command_trains_on_from_weights_and_keeps_what_it_drew(tmp_path):
    save_shapes(disc(), tmp_path / "bent.safetensors")
    kept = [f"--shapes={tmp_path / 'bent.safetensors'}", f"--voxel-shapes={tmp_path / 'voxels.safetensors'}"]
    options = [*kept, "--voxels=9", "--workers=0", "--steps=2", "--batch-size=8", "--learning-rate=1e-5"]
    assert main(["anatomy", "--out", str(tmp_path / "first.safetensors"), *options]) == 0
    drawn = (tmp_path / "voxels.safetensors").read_bytes()
    init = tmp_path / "first.safetensors"
    assert main(["anatomy", "--out", str(tmp_path / "second.safetensors"), "--init", str(init), *options]) == 0
    assert (tmp_path / "voxels.safetensors").read_bytes() == drawn
    first, second = (load_codec("anatomy", tmp_path / f"{name}.safetensors") for name in ("first", "second"))
    moved = max((a - b).abs().max() for a, b in zip(first.state_dict().values(), second.state_dict().values()))
    assert 0 < moved < 1e-2


def test_mistakes_of_the_command_are_told_before_it_works(tmp_path, capsys):
    save_shapes(disc(), tmp_path / "bent.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"no shapes")
    bent, broken = f"--shapes={tmp_path / 'bent.safetensors'}", tmp_path / "broken.safetensors"
    for options, message in (
        ([f"--init={tmp_path / 'absent.safetensors'}"], "absent.safetensors: no weights of the codec 'anatomy'"),
        ([f"--shapes={broken}"], "broken.safetensors: no file of shapes"),
        ([bent, f"--voxel-shapes={tmp_path / 'bent.safetensors'}"], "shapes of 112 cells a side where 64 are needed"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(["anatomy", f"--out={tmp_path / 'new' / 'codec.safetensors'}", *options])
        assert message in capsys.readouterr().err
