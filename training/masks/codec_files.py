"""Mask codecs from files, and the grammar of what they write."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from anatomy_vlm.modeling.mask_codec_anatomy_vlm import RasterCodec
from anatomy_vlm.modeling.mask_fsq_anatomy_vlm import AnatomyMaskCodec
from anatomy_vlm.modeling.mask_vq_anatomy_vlm import PaliGemmaMaskCodec
from anatomy_vlm.processing.mask_text_anatomy_vlm import MaskGrammar


def load_codec(path: str | Path) -> RasterCodec:
    """
    The codec of a file, ready to encode.

    Args:
        path: big_vision's `vae-oid.npz` (the code of PaliGemma and CheXanatomy), or a safetensors file of
            `anatomy_vlm.training.masks.codec_training`, of either kind.

    Raises:
        ValueError: for a file that is none of these.
    """
    path = Path(path)
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return PaliGemmaMaskCodec.load_published({name: torch.from_numpy(file[name]) for name in file}).eval()
        weights = {name: tensor.float() for name, tensor in load_file(path).items()}
        if "codebook" in weights:
            weights["_vq_vae._embedding"] = weights.pop("codebook")
            return PaliGemmaMaskCodec.load_published(weights).eval()
        codec = AnatomyMaskCodec()
        codec.load_state_dict(weights)
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file; name the weights of a mask codec") from None
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path}: not the weights of a mask codec ({reason}); name vae-oid.npz or ours") from error
    return codec.eval()


def grammar_of(codec: RasterCodec) -> MaskGrammar:
    """
    What a well-formed object of this codec looks like.

    Example:
        >>> grammar_of(PaliGemmaMaskCodec((4, 4, 4, 4), 8, 4)).num_shape_codes
        16
    """
    return MaskGrammar(codec.code_sizes[0], codec.code_sizes[4], codec.num_codes - 4)
