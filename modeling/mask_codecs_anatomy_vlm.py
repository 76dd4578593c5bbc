# Copyright 2026 The Anatomy-VLM authors. Licensed under the Apache License, Version 2.0.
"""The mask codecs by name, with the weights that come with the package."""

import re
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from .mask_codec_anatomy_vlm import MaskCodec, RasterCodec
from .mask_fsq_anatomy_vlm import AnatomyMaskCodec
from .mask_polygon_anatomy_vlm import PolygonMaskCodec
from .mask_vq_anatomy_vlm import PaliGemmaMaskCodec


CODEC_NAMES = ("anatomy", "paligemma", "polygon-24")


def load_codec(name: str, weights: str | Path | None = None) -> MaskCodec:
    """
    A mask codec, ready to encode and decode.

    Args:
        name: "anatomy" (ours, 4 places and 20 shape tokens), "paligemma" (4 and 16) or "polygon-N" of N vertices.
        weights: A `.safetensors` file to use instead of the package's weights, trained on synthetic chests; for
            "paligemma" also big_vision's `vae-oid.npz`, whose codes are those that published models write.

    Raises:
        ValueError: for another name, or weights that are missing or of another codec.

    Example:
        >>> load_codec("polygon-12").num_codes
        24
    """
    polygon = re.fullmatch(r"polygon-([0-9]{1,4})", name)
    if polygon and weights is None:
        return PolygonMaskCodec(int(polygon[1]))
    if name not in ("anatomy", "paligemma"):
        more = " without weights" if polygon else ""
        raise ValueError(
            f"there is no mask codec '{name}'{more}; choose anatomy, paligemma or polygon-N, as polygon-24"
        )
    path = Path(weights) if weights else Path(__file__).with_name(f"mask_codec_{name}.safetensors")
    if not path.is_file():
        raise ValueError(f"{path}: no weights of the codec '{name}'; install anatomy-vlm or pass `weights`")
    try:
        state = _read(path)
        codec: RasterCodec
        if name == "anatomy":
            codec = AnatomyMaskCodec()
            codec.load_state_dict(state)
        else:
            # Our smaller one has the published layout, under the same names but for the codebook.
            codec = PaliGemmaMaskCodec.load_published(state)
    except (RuntimeError, ValueError, OSError, SafetensorError) as error:
        raise ValueError(f"{path}: not the weights of the codec '{name}' ({' '.join(str(error).split())})") from error
    return codec.eval().requires_grad_(False)


def _read(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(arrays[name]).float() for name in arrays.files}
    state = {name: tensor.float() for name, tensor in load_file(path).items()}
    if "codebook" in state:
        state["_vq_vae._embedding"] = state.pop("codebook")
    return state


__all__ = ["CODEC_NAMES", "load_codec"]
