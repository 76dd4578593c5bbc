"""What both image processors of Anatomy-VLM share: their options, and the checks of those."""

from typing import Any

from transformers.image_processing_utils import BaseImageProcessor
from transformers.image_utils import IMAGENET_STANDARD_MEAN, IMAGENET_STANDARD_STD, PILImageResampling, SizeDict
from transformers.processing_utils import ImagesKwargs

from .intensity_anatomy_vlm import DEFAULT_PERCENTILES


class AnatomyVLMImageProcessorKwargs(ImagesKwargs, total=False):
    """
    Options of the image processors, beyond those of every image processor of Transformers.

    Args:
        window_percentiles (`tuple[float, float]`, *optional*, defaults to `(0.5, 99.5)`):
            Levels of a film of more than 8 bits that become black and white, as percentiles of its pixels.
        do_window (`bool`, *optional*, defaults to `False`):
            Window films of 8 bits too. Dark, bright and flat films then look alike to the model.
    """

    window_percentiles: list[float] | tuple[float, ...] | None
    do_window: bool | None


class AnatomyVLMImageOptionsMixin(BaseImageProcessor):
    """
    Defaults and checks of both backends.

    `do_pad=True` letter-boxes: the image keeps its aspect, is scaled until it touches the canvas of `size`, centred,
    and padded with black. `do_pad=False` stretches it over the canvas.
    """

    valid_kwargs = AnatomyVLMImageProcessorKwargs

    resample = PILImageResampling.BICUBIC
    image_mean = IMAGENET_STANDARD_MEAN
    image_std = IMAGENET_STANDARD_STD
    size: Any = {"height": 224, "width": 224}
    do_resize = True
    do_pad: bool | None = True
    do_rescale = True
    do_normalize = True
    do_convert_rgb = True
    window_percentiles = DEFAULT_PERCENTILES
    do_window: bool | None = False

    def _standardize_kwargs(self, window_percentiles: Any = None, **kwargs: Any) -> dict:  # type: ignore[override]
        kwargs = super()._standardize_kwargs(**kwargs)
        kwargs["window_percentiles"] = None if window_percentiles is None else tuple(window_percentiles)
        return kwargs

    def _validate_preprocess_kwargs(  # type: ignore[override]
        self,
        size: SizeDict | None = None,
        do_center_crop: bool | None = None,
        pad_size: SizeDict | None = None,
        window_percentiles: tuple[float, float] | None = None,
        **kwargs: Any,
    ) -> None:
        super()._validate_preprocess_kwargs(size=size, do_center_crop=do_center_crop, **kwargs)
        if kwargs.get("do_resize"):
            canvas_size(size)
        if do_center_crop or pad_size is not None:
            raise ValueError(
                "`do_center_crop` and `pad_size` are not available: boxes are mapped back from the canvas of `size`"
            )
        low, high = window_percentiles or DEFAULT_PERCENTILES
        if not 0 <= low < high <= 100:
            raise ValueError(f"`window_percentiles` needs 0 <= low < high <= 100; got {window_percentiles}")

    def _prepare_images_structure(self, images: Any, expected_ndims: int = 3) -> Any:
        """Takes bare `(height, width)` arrays too, the natural shape of a radiograph."""
        if isinstance(images, (list, tuple)):
            images = [_with_channel(image) for image in images]
        return super()._prepare_images_structure(_with_channel(images), expected_ndims=expected_ndims)


def canvas_size(size: SizeDict | None) -> tuple[int, int]:
    """Height and width of the canvas. Raises `ValueError` for a `size` that names other things."""
    if size is None or not size.height or not size.width:
        raise ValueError(f"`size` needs 'height' and 'width', the canvas of the model; got {size}")
    return int(size.height), int(size.width)


def _with_channel(image: Any) -> Any:
    return image[None] if getattr(image, "ndim", None) == 2 else image


__all__ = ["AnatomyVLMImageOptionsMixin", "AnatomyVLMImageProcessorKwargs", "canvas_size"]
