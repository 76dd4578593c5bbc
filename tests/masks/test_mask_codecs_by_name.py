"""Codecs by name: the shipped weights bring shapes back on their side, others load, and the search pays."""

import numpy as np
import pytest
import torch

from anatomy_vlm.modeling.mask_codecs_anatomy_vlm import CODEC_NAMES, load_codec
from anatomy_vlm.modeling.mask_fsq_anatomy_vlm import AnatomyMaskCodec
from anatomy_vlm.modeling.mask_vq_anatomy_vlm import PaliGemmaMaskCodec
from anatomy_vlm.training.masks.codec_training import save_codec


def organs(size: int = 200) -> torch.Tensor:
    """Something like a lung, a heart and a rib, all on one side."""
    y, x = torch.meshgrid(*[(torch.arange(size) + 0.5) / size] * 2, indexing="ij")
    lung = ((x - 0.27) / 0.15) ** 2 + ((y - 0.45) / 0.32) ** 2 < 1
    heart = ((x - 0.4) / 0.14 + (y - 0.6)) ** 2 + ((y - 0.6) / 0.12 - (x - 0.4) * 2) ** 2 < 1
    around = ((x - 0.45) / 0.35) ** 2 + ((y - 0.5) / 0.22) ** 2
    rib = (around < 1) & (around > 0.72) & (x < 0.5) & (y < 0.6)
    return torch.stack((lung, heart, rib))


def dice(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return 2 * (a & b).sum((1, 2)) / (a.sum((1, 2)) + b.sum((1, 2)))


@pytest.mark.parametrize("name", CODEC_NAMES)
def test_what_comes_with_the_package_brings_shapes_back_on_their_side(name):
    codec, masks = load_codec(name), organs()
    for some in (masks, masks.flip(2)):
        found = codec.decode(codec.encode(some), (200, 200))
        values = dice(found, some)
        assert (values > 0.9).all() and values.mean() > 0.94, values
        assert (dice(found, some.flip(2)) < 0.3).all()


def test_the_search_for_better_digits_never_loses():
    codec, masks = load_codec("anatomy"), organs()
    assert isinstance(codec, AnatomyMaskCodec) and codec.refine_sweeps == 0
    plain = codec.encode(masks)
    before = dice(codec.decode(plain, (200, 200)), masks)
    codec.refine_sweeps = 1
    better = codec.encode(masks)
    # Half the precision is enough to decode.
    halved = load_codec("anatomy").bfloat16().decode(plain, (200, 200))  # type: ignore[attr-defined]
    assert (dice(halved, codec.decode(plain, (200, 200))) > 0.99).all()
    after = dice(codec.decode(better, (200, 200)), masks)
    assert better != plain and [one[:4] for one in better] == [one[:4] for one in plain]
    assert after.mean() > before.mean() and (after > before - 0.005).all()


def test_other_weights(tmp_path):
    torch.manual_seed(0)
    small = PaliGemmaMaskCodec((4, 8, 8, 8), 16, 8)
    save_codec(small, tmp_path / "small.safetensors")
    arrays = {name: tensor.numpy() for name, tensor in small.state_dict().items()}
    arrays["_vq_vae._embedding"] = arrays.pop("codebook")
    np.savez(tmp_path / "vae-oid.npz", **arrays)
    codes = [
        load_codec("paligemma", tmp_path / name).encode(organs()) for name in ("small.safetensors", "vae-oid.npz")
    ]
    assert codes[1] == small.eval().encode(organs())
    # Half precision may move a code or two.
    assert np.mean(np.array(codes[0]) == np.array(codes[1])) > 0.8


def test_names_and_files_that_are_none(tmp_path):
    with pytest.raises(ValueError, match="no mask codec 'fourier'; choose anatomy"):
        load_codec("fourier")
    with pytest.raises(ValueError, match=r"missing\.safetensors: no weights of the codec 'anatomy'"):
        load_codec("anatomy", tmp_path / "missing.safetensors")
    save_codec(PaliGemmaMaskCodec((4, 8, 8, 8), 16, 8), tmp_path / "vq.safetensors")
    (tmp_path / "text.safetensors").write_text("no weights")
    (tmp_path / "text.npz").write_text("no weights")
    for name, file in (("anatomy", "vq.safetensors"), ("anatomy", "text.safetensors"), ("paligemma", "text.npz")):
        with pytest.raises(ValueError, match=f"{file}: not the weights of the codec '{name}'") as caught:
            load_codec(name, tmp_path / file)
        assert "\n" not in str(caught.value)
