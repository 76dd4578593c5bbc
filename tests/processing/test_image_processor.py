"""Image processors: letter-boxing, depths and kinds of input, and the agreement of the backends."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.utils import is_torchvision_available

from anatomy_vlm.processing.image_processing_pil_anatomy_vlm import AnatomyVLMImageProcessorPil
from anatomy_vlm.processing.letterbox_anatomy_vlm import fit_letterbox


BACKENDS = [AnatomyVLMImageProcessorPil]
if is_torchvision_available():
    from anatomy_vlm.processing.image_processing_anatomy_vlm import AnatomyVLMImageProcessor

    BACKENDS.append(AnatomyVLMImageProcessor)

backends = pytest.mark.parametrize("backend", BACKENDS)
SIZE = {"height": 64, "width": 64}
ONE_LEVEL = 2 / 255 + 1e-4


def film(height: int = 120, width: int = 90, seed: int = 0) -> np.ndarray:
    """A smooth random film of 8 bits."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 5), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def run(backend, image, **options) -> torch.Tensor:
    return backend(size=SIZE)(image, return_tensors="pt", **options)["pixel_values"]


@backends
def test_letterbox_pads_with_black_and_keeps_the_aspect(backend):
    pixels = run(backend, np.full((120, 60), 255, dtype=np.uint8))
    assert pixels.shape == (1, 3, 64, 64) and pixels.dtype == torch.float32
    assert torch.all(pixels[..., :16] == -1) and torch.all(pixels[..., 48:] == -1)
    assert torch.all(pixels[..., 16:48] == 1)


@backends
def test_without_padding_the_film_is_stretched(backend):
    assert torch.all(run(backend, np.full((120, 60), 255, dtype=np.uint8), do_pad=False) == 1)


@backends
def test_a_mark_lands_where_the_geometry_says_on_its_own_side(backend):
    pixels = np.zeros((240, 120), dtype=np.uint8)
    pixels[60:120, 6:42] = 255  # in the patient's right lung: the image's left
    canvas = run(backend, pixels)[0, 0]
    columns = torch.nonzero(canvas > 0)[:, 1]
    place = fit_letterbox(pixels.shape, (64, 64))
    expected = [6 * place.scale_x + place.left, 42 * place.scale_x + place.left]
    assert abs(columns.min() - expected[0]) <= 1 and abs(columns.max() + 1 - expected[1]) <= 1
    assert columns.max() < 32


@backends
def test_every_kind_of_input_gives_the_same_numbers(backend):
    gray = film()
    rgb = np.repeat(gray[..., None], 3, axis=2)
    same = [
        gray,
        rgb,
        gray.astype(np.int64),
        gray.astype(np.float32) / 255,
        rgb.transpose(2, 0, 1),
        Image.fromarray(gray),
        Image.fromarray(rgb),
        torch.from_numpy(gray.copy()),
        torch.from_numpy(rgb.transpose(2, 0, 1).copy()),
    ]
    expected = run(backend, same[0])
    for image in same[1:]:
        assert torch.equal(run(backend, image), expected)
    assert torch.equal(run(backend, same), expected.expand(len(same), -1, -1, -1))


@backends
@pytest.mark.parametrize("bits", [12, 16])
def test_deep_films_are_windowed_and_not_saturated(backend, bits):
    ramp = np.linspace(0, 2**bits - 1, 64 * 64).astype(np.uint16).reshape(64, 64)
    images = [ramp, Image.fromarray(ramp), torch.from_numpy(ramp.astype(np.int32))]
    for image in images:
        pixels = run(backend, image)[0, 0].flatten()
        assert torch.allclose(pixels, torch.linspace(-1, 1, 64 * 64), atol=0.03)


@backends
def test_floats_already_scaled_stay_as_they_are(backend):
    image = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)
    pixels = run(backend, image, do_rescale=False)[0, 0].flatten()
    assert torch.allclose(pixels, torch.linspace(-1, 1, 64 * 64), atol=0.01)


@backends
def test_constant_film_gives_finite_numbers(backend):
    assert torch.isfinite(run(backend, np.full((50, 50), 4000, dtype=np.uint16))).all()


@backends
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": {"shortest_edge": 64}}, "height"),
        ({"do_center_crop": True, "crop_size": {"height": 32, "width": 32}}, "do_center_crop"),
        ({"window_percentiles": (99.0, 1.0)}, "window_percentiles"),
    ],
)
def test_options_that_would_break_the_boxes_are_refused(backend, options, message):
    with pytest.raises(ValueError, match=message):
        backend()(film(), **options)


@backends
def test_nan_is_refused(backend):
    with pytest.raises(ValueError, match="NaN"):
        run(backend, np.full((40, 40), np.nan, dtype=np.float32))


@backends
def test_options_survive_saving(backend, tmp_path):
    backend(size=SIZE, window_percentiles=(2.0, 98.0), do_pad=False).save_pretrained(tmp_path)
    loaded = backend.from_pretrained(tmp_path)
    assert dict(loaded.size) == SIZE and tuple(loaded.window_percentiles) == (2.0, 98.0) and loaded.do_pad is False


@pytest.mark.skipif(len(BACKENDS) < 2, reason="torchvision is not installed")
@pytest.mark.parametrize("shape", [(120, 90), (90, 121), (64, 64), (700, 513), (33, 20), (300, 50)])
@pytest.mark.parametrize("do_pad", [True, False])
def test_backends_agree_to_one_gray_level(shape, do_pad):
    for image in (film(*shape), film(*shape).astype(np.uint16) * 200):
        pil, torchvision = (run(backend, image, do_pad=do_pad) for backend in BACKENDS)
        assert (pil - torchvision).abs().max() <= ONE_LEVEL
