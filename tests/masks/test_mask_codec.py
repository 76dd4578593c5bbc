"""Codecs of masks as tokens: absent structures, ranges, the published layout, and training that brings shapes back."""

import pytest
import torch

from anatomy_vlm.modeling.mask_fsq_anatomy_vlm import AnatomyMaskCodec
from anatomy_vlm.modeling.mask_vq_anatomy_vlm import PaliGemmaMaskCodec
from anatomy_vlm.processing.mask_text_anatomy_vlm import MaskGrammar
from anatomy_vlm.training.masks.codec_training import save_codec, train_codec
from anatomy_vlm.training.masks.shapes import Shapes, batches, family


SMALL_FSQ = {"hidden_size": 32, "num_layers": 1, "encoder_sizes": (8, 16, 24), "decoder_sizes": (16, 12, 8)}


@pytest.fixture(params=["paligemma", "anatomy"])
def codec(request):
    torch.manual_seed(0)
    if request.param == "paligemma":
        return PaliGemmaMaskCodec((8, 8, 16, 16), 32, 16).eval()
    return AnatomyMaskCodec(**SMALL_FSQ).eval()


def test_what_is_absent_has_an_answer_and_the_whole_image_has_one(codec):
    masks = torch.zeros(3, 20, 30, dtype=torch.bool)
    masks[1] = True
    masks[2, 4:9, 2:3] = True
    codes = codec.encode(masks)
    assert codes[0] == [] and len(codes[1]) == len(codes[2]) == codec.num_codes
    assert codes[1][:4] == [0, 0, 1023, 1023]
    decoded = codec.decode(codes, (20, 30))
    assert decoded.shape == (3, 20, 30) and not decoded[0].any()
    # Whatever the shape tokens say, nothing is drawn outside of the box.
    outside = torch.ones(20, 30, dtype=torch.bool)
    outside[3:10, 1:4] = False
    assert not (decoded[2] & outside).any()


def test_codes_out_of_range_are_refused(codec):
    whole = [0] * codec.num_codes
    with pytest.raises(ValueError, match=f"a mask has {codec.num_codes} codes"):
        codec.decode([whole[:-1]], (8, 8))
    with pytest.raises(ValueError, match="code 4 is 99999, but must be from 0 to"):
        codec.decode([[*whole[:4], 99999, *whole[5:]]], (8, 8))


def test_tokens_are_those_of_the_text_protocol(codec):
    grammar = MaskGrammar(1024, codec.code_sizes[-1], codec.num_codes - 4)
    codes = [1, 2, 3, 4] + [5] * (codec.num_codes - 4)
    assert codec.tokens(codes) == grammar.write(codes)
    vocabulary = codec.vocabulary()
    assert len(vocabulary) == len(set(vocabulary)) == 1024 + codec.code_sizes[-1]
    assert grammar.write(codes)[-8 if codec.code_sizes[-1] <= 1000 else -9 :] in vocabulary


def test_numbers_and_digits_are_one_to_one():
    codec = AnatomyMaskCodec(levels=(3, 2, 4), **SMALL_FSQ)
    codes = torch.arange(24)
    digits = codec.digits(codes)
    assert len({tuple(row) for row in digits.tolist()}) == 24
    assert (digits.amax(0) == torch.tensor([2, 1, 3])).all()


def test_the_published_arrays_load_by_their_names():
    torch.manual_seed(0)
    codec = PaliGemmaMaskCodec()
    arrays = {
        "_vq_vae._embedding" if name == "codebook" else name: tensor.numpy()
        for name, tensor in codec.state_dict().items()
    }
    # The layout that PaliGemma's evaluator reads: 128 codes of 512 numbers, four transposed convolutions.
    assert arrays["_vq_vae._embedding"].shape == (128, 512)
    assert arrays["decoder.0.weight"].shape == (128, 512, 1, 1)
    assert arrays["decoder.2.net.4.weight"].shape == (128, 128, 1, 1)
    assert arrays["decoder.12.weight"].shape == (1, 16, 1, 1)
    loaded = PaliGemmaMaskCodec.load_published(arrays).eval()
    mask = torch.zeros(1, 64, 64, dtype=torch.bool)
    mask[0, 10:50, 20:40] = True
    assert loaded.encode(mask) == codec.eval().encode(mask)
    for missing in ("_vq_vae._embedding", "decoder.4.weight", "encoder.2.weight"):
        with pytest.raises(ValueError, match=r"not the arrays of vae-oid\.npz"):
            PaliGemmaMaskCodec.load_published({name: a for name, a in arrays.items() if name != missing})


def discs() -> Shapes:
    y, x = torch.meshgrid(torch.linspace(-1, 1, 112), torch.linspace(-1, 1, 112), indexing="ij")
    rasters = [((x**2 + (y / height) ** 2) < 1).byte() * 255 for height in (0.5, 0.8, 1.0)]
    return Shapes(torch.stack(rasters), ("disc", "disc", "disc"))


def test_shapes_are_tight_and_drawn_from_the_seed():
    first, second = next(batches(discs(), 8, seed=1)), next(batches(discs(), 8, seed=1))
    assert torch.equal(first, second) and not torch.equal(first, next(batches(discs(), 8, seed=2)))
    assert first.min() >= 0 and first.max() <= 1
    for edge in (first[:, :2].amax((1, 2)), first[:, -2:].amax((1, 2)), first[:, :, :2].amax((1, 2))):
        assert (edge > 0.3).all(), "a box is not tight"
    assert [family(name) for name in ("rib_left_4", "left lung", "heart")] == ["rib", "lung", "heart"]


@pytest.mark.parametrize("name", ["paligemma", "anatomy"])
def test_training_brings_shapes_back(name, tmp_path):
    torch.manual_seed(0)
    if name == "paligemma":
        codec = PaliGemmaMaskCodec((8, 16, 32, 32), 32, 16)
    else:
        codec = AnatomyMaskCodec(**SMALL_FSQ)
    mask = torch.zeros(1, 128, 128, dtype=torch.bool)
    y, x = torch.meshgrid(torch.arange(128), torch.arange(128), indexing="ij")
    mask[0] = ((x - 70) / 40) ** 2 + ((y - 60) / 25) ** 2 < 1

    def dice() -> float:
        found = codec.decode(codec.eval().encode(mask), (128, 128))
        return (2 * (found & mask).sum() / (found.sum() + mask.sum())).item()

    assert dice() < 0.85
    train_codec(codec, discs(), steps=150, batch_size=8, learning_rate=6e-3, progress=False)
    assert dice() > 0.9
    save_codec(codec, tmp_path / "codec.safetensors")
    assert (tmp_path / "codec.safetensors").is_file() and len(list(tmp_path.iterdir())) == 1
