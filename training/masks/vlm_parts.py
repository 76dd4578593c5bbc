"""The parts of a vision-language model, found by their names: what sees, what writes, and what is between."""

import re
from dataclasses import dataclass

from torch import nn


# As Transformers calls them, in PaliGemma, Florence-2, Idefics 3 (SmolVLM), Qwen2-VL and most others.
TEXT = ("language_model", "text_model")
VISION = ("vision_tower", "vision_model", "visual", "vision_encoder")
PROJECTOR = ("multi_modal_projector", "connector", "merger", "aligner", "mm_projector")


@dataclass(frozen=True)
class VLMParts:
    """
    Names of modules.

    Args:
        text: What writes, such as "model.language_model".
        vision: What sees.
        projector: What is between; None if the model has none of a known name.
    """

    text: str
    vision: str
    projector: str | None


def find_parts(model: nn.Module) -> VLMParts:
    """
    The parts of a model.

    Raises:
        ValueError: for a model whose parts have other names.
    """
    names = [name for name, _ in model.named_modules()]
    text, vision, projector = (
        min((name for name in names if name.split(".")[-1] in known), key=len, default=None)
        for known in (TEXT, VISION, PROJECTOR)
    )
    if text is None or vision is None:
        missing = f"text model ({', '.join(TEXT)})" if text is None else f"vision model ({', '.join(VISION)})"
        raise ValueError(f"{type(model).__name__}: no {missing} is in it; this kind of model cannot be trained here")
    return VLMParts(text, vision, projector)


def linear_targets(model: nn.Module, part: str, without: str | None = None) -> str:
    r"""
    A regular expression for the linear layers of a part, such as `.*language_model.*\.(q_proj|v_proj)`.

    Names of layers alone ("q_proj") would also match those of the vision model.

    Args:
        part: Full name of the part.
        without: Full name of another part inside it whose layers are left out.
    """
    leaves = sorted(
        {
            name.split(".")[-1]
            for name, module in model.named_modules()
            if isinstance(module, nn.Linear) and name.startswith(f"{part}.") and not _inside(name, without)
        }
    )
    if not leaves:
        raise ValueError(f"{type(model).__name__}: {part} has no linear layers that could be adapted")
    last = re.escape(part.split(".")[-1])
    other = rf"(?!.*\b{re.escape(without.split('.')[-1])}\b)" if without and _inside(without, part) else ""
    return rf"{other}.*{last}.*\.({'|'.join(leaves)})"


def _inside(name: str, part: str | None) -> bool:
    return part is not None and (name == part or name.startswith(f"{part}."))
