"""Image processor class for Anatomy-VLM, PIL backend."""

from typing import Any

import numpy as np
from transformers.image_processing_backends import PilBackend
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import ChannelDimension, SizeDict
from transformers.utils import TensorType

from .image_options_anatomy_vlm import AnatomyVLMImageOptionsMixin, AnatomyVLMImageProcessorKwargs, canvas_size
from .intensity_anatomy_vlm import DEFAULT_PERCENTILES, channels_first
from .letterbox_anatomy_vlm import fit_letterbox
from .post_processing_anatomy_vlm import AnatomyVLMPostProcessMixin


class AnatomyVLMImageProcessorPil(AnatomyVLMPostProcessMixin, AnatomyVLMImageOptionsMixin, PilBackend):
    """
    Turns radiographs into `pixel_values` of shape `(batch, 3, height, width)` with Pillow.

    Films of 12 to 16 bits and float arrays are windowed to 8 bits, letter-boxed to `size`, rescaled and normalised.
    Gives the numbers of [`AnatomyVLMImageProcessor`] to one gray level.
    """

    valid_kwargs = AnatomyVLMImageProcessorKwargs

    def process_image(
        self,
        image: Any,
        do_convert_rgb: bool | None = None,
        input_data_format: str | ChannelDimension | None = None,
        do_rescale: bool | None = None,
        window_percentiles: tuple[float, float] | None = None,
        do_window: bool | None = None,
        **kwargs: Any,
    ) -> np.ndarray:
        """One image of any kind to 8-bit levels `(channels, height, width)`; one channel where it is gray."""
        return channels_first(
            image,
            input_data_format=input_data_format,
            convert_rgb=bool(do_convert_rgb),
            keep_floats=not do_rescale,
            percentiles=window_percentiles or DEFAULT_PERCENTILES,
            always_window=bool(do_window),
        )

    def _preprocess(  # type: ignore[override]
        self,
        images: list[np.ndarray],
        do_resize: bool,
        size: SizeDict,
        resample: Any,
        do_rescale: bool,
        rescale_factor: float,
        do_normalize: bool,
        image_mean: float | list[float],
        image_std: float | list[float],
        do_pad: bool | None,
        do_convert_rgb: bool | None,
        return_tensors: str | TensorType | None,
        **kwargs: Any,
    ) -> BatchFeature:
        processed = []
        for image in images:
            if do_resize:
                place = fit_letterbox(image.shape[-2:], canvas_size(size), keep_aspect=bool(do_pad))
                # Width before height, as torchvision does: Pillow takes the cheaper order, and they round otherwise.
                image = self.resize(image, SizeDict(height=image.shape[-2], width=place.width), resample=resample)
                image = self.resize(image, SizeDict(height=place.height, width=place.width), resample=resample)
                image = np.pad(image, ((0, 0), (place.top, place.bottom), (place.left, place.right)))
            if do_convert_rgb and image.shape[0] == 1:
                image = np.repeat(image, 3, axis=0)
            if do_rescale:
                image = self.rescale(image, rescale_factor)
            if do_normalize:
                image = self.normalize(image, image_mean, image_std)
            processed.append(image)
        return BatchFeature(data={"pixel_values": processed}, tensor_type=return_tensors)


__all__ = ["AnatomyVLMImageProcessorPil"]
