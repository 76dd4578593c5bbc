"""Mask codecs from files, and the grammar of what they write."""

from pathlib import Path

from safetensors import safe_open

from anatomy_vlm.modeling import mask_codecs_anatomy_vlm
from anatomy_vlm.modeling.mask_codec_anatomy_vlm import RasterCodec
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
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file; name the weights of a mask codec")
    # Only the vector quantiser has a codebook.
    paligemma = path.suffix == ".npz" or "codebook" in _names(path)
    codec = mask_codecs_anatomy_vlm.load_codec("paligemma" if paligemma else "anatomy", path)
    assert isinstance(codec, RasterCodec)
    return codec


def _names(path: Path) -> list[str]:
    try:
        with safe_open(path, framework="pt") as file:
            return list(file.keys())
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path}: not the weights of a mask codec ({reason}); name vae-oid.npz or ours") from error


def grammar_of(codec: RasterCodec) -> MaskGrammar:
    """
    What a well-formed object of this codec looks like.

    Example:
        >>> from anatomy_vlm.modeling.mask_vq_anatomy_vlm import PaliGemmaMaskCodec
        >>> grammar_of(PaliGemmaMaskCodec((4, 4, 4, 4), 8, 4)).num_shape_codes
        16
    """
    return MaskGrammar(codec.code_sizes[0], codec.code_sizes[4], codec.num_codes - 4)
