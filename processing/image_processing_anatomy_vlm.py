"""Image processor class for Anatomy-VLM, torchvision backend."""

from typing import Any

import torch
from transformers.image_processing_backends import TorchvisionBackend
from transformers.image_processing_utils import BatchFeature
from transformers.image_transforms import group_images_by_shape, reorder_images
from transformers.image_utils import ChannelDimension, SizeDict
from transformers.utils import TensorType, is_torchvision_available

from .image_options_anatomy_vlm import AnatomyVLMImageOptionsMixin, AnatomyVLMImageProcessorKwargs, canvas_size
from .intensity_anatomy_vlm import DEFAULT_PERCENTILES, channels_first
from .letterbox_anatomy_vlm import fit_letterbox
from .post_processing_anatomy_vlm import AnatomyVLMPostProcessMixin


if is_torchvision_available():
    from torchvision.transforms.v2 import functional as tvF


class AnatomyVLMImageProcessor(AnatomyVLMPostProcessMixin, AnatomyVLMImageOptionsMixin, TorchvisionBackend):
    """
    Turns radiographs into `pixel_values` of shape `(batch, 3, height, width)` with torchvision, in batches.

    Films of 12 to 16 bits and float arrays are windowed to 8 bits, letter-boxed to `size`, rescaled and normalised.
    Gives the numbers of [`AnatomyVLMImageProcessorPil`] to one gray level.
    """

    valid_kwargs = AnatomyVLMImageProcessorKwargs

    def process_image(
        self,
        image: Any,
        do_convert_rgb: bool | None = None,
        input_data_format: str | ChannelDimension | None = None,
        device: "torch.device | str | None" = None,
        do_rescale: bool | None = None,
        window_percentiles: tuple[float, float] | None = None,
        do_window: bool | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """One image of any kind to 8-bit levels `(channels, height, width)`; one channel where it is gray."""
        if device is None and isinstance(image, torch.Tensor):
            device = image.device
        pixels = channels_first(
            image,
            input_data_format=input_data_format,
            convert_rgb=bool(do_convert_rgb),
            keep_floats=not do_rescale,
            percentiles=window_percentiles or DEFAULT_PERCENTILES,
            always_window=bool(do_window),
        )
        # `from_numpy` shares memory and refuses read-only arrays and negative strides, which PIL and numpy both give.
        return torch.from_numpy(pixels.copy()).to(device)

    def _preprocess(  # type: ignore[override]
        self,
        images: list[torch.Tensor],
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
        disable_grouping: bool | None,
        return_tensors: str | TensorType | None,
        **kwargs: Any,
    ) -> BatchFeature:
        grouped, index = group_images_by_shape(images, disable_grouping=disable_grouping)
        processed = {}
        for shape, stacked in grouped.items():
            if do_resize:
                place = fit_letterbox(stacked.shape[-2:], canvas_size(size), keep_aspect=bool(do_pad))
                stacked = self.resize(stacked, SizeDict(height=place.height, width=place.width), resample=resample)
                stacked = tvF.pad(stacked, [place.left, place.top, place.right, place.bottom])
            if do_convert_rgb and stacked.shape[1] == 1:
                stacked = stacked.expand(-1, 3, -1, -1)
            processed[shape] = self.rescale_and_normalize(
                stacked, do_rescale, rescale_factor, do_normalize, image_mean, image_std
            )
        pixel_values = reorder_images(processed, index)
        return BatchFeature(data={"pixel_values": pixel_values}, tensor_type=return_tensors)


__all__ = ["AnatomyVLMImageProcessor"]
