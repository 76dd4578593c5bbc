# Copyright 2026 The Anatomy-VLM authors. Licensed under the Apache License, Version 2.0.
"""Public text encoders: their weights, and how they were trained to make a sentence of their tokens."""

import json
import re
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertModel,
    PreTrainedConfig,
    PreTrainedModel,
    Siglip2TextModel,
    SiglipTextModel,
)
from transformers.utils import cached_file


# Text towers that `AutoModel` does not know by their own.
TOWERS: dict[str, Any] = {"siglip_text_model": SiglipTextModel, "siglip2_text_model": Siglip2TextModel}
# Where the sentence is: CLIP (arXiv 2103.00020) takes the state of its end token, SigLIP (2303.15343) a layer over the
# last token of a text padded to its full length; both are the `pooler_output` of their classes.
POOLED = ("clip_text_model", *TOWERS)
FULL_LENGTH = tuple(TOWERS)
# Pooling files of sentence-transformers: name of the mode, or flag that is set -> ours.
_MODES = {"cls": "cls", "cls_token": "cls", "mean": "mean", "mean_tokens": "mean"}
_POOLER = re.compile(r"(?:.*\.)?(?:pooler|head)\..*")
_ENCODER = re.compile(r"(?:\w+\.)*?(?:encoder|layers?|embeddings)\..*")
_OTHER = re.compile(r"(?:vision_model|decoder|cls|lm_head|head|text_projection|visual_projection)\..*|.*position_ids")


def build_text_model(config: PreTrainedConfig) -> PreTrainedModel:
    """The text tower of a configuration, with random weights."""
    tower = TOWERS.get(config.model_type)
    # Never code of the checkpoint's, and no question on the terminal whether to run it.
    return AutoModel.from_config(config, trust_remote_code=False) if tower is None else tower._from_config(config)


def load_text_model(name: str, revision: str = "main") -> PreTrainedModel:
    """
    The text encoder `name`, a Hub id or folder, in float32 and eval mode, without remote code.

    Of dual encoders it is the text tower; of CXR-BERT (model type "cxr-bert", code of its own) the BERT below its
    projection.

    Raises:
        ValueError: if there is none, it needs code of its own, or weights are missing or left over.
    """
    settings = read_json(name, "config.json", revision)
    if settings is None and read_json(name, "open_clip_config.json", revision) is not None:
        raise ValueError(f"{name}: holds an OpenCLIP model; convert its text tower to Transformers' BertModel first")
    options: dict[str, Any] = {"revision": revision, "dtype": torch.float32, "output_loading_info": True}
    loader: Any
    config: PreTrainedConfig
    try:
        if settings is not None and settings.get("model_type") == "cxr-bert":
            known = {key: value for key, value in settings.items() if key not in ("model_type", "auto_map")}
            loader, config = BertModel, BertConfig(**known)
        else:
            config = AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=False)
            config = getattr(config, "text_config", config)
            loader = TOWERS.get(config.model_type, AutoModel)
        trust = {"trust_remote_code": False} if loader is AutoModel else {}
        model, info = loader.from_pretrained(name, config=config, **options, **trust)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{name}: cannot be loaded as a text encoder of Transformers: {reason}") from error
    missing = sorted(key for key in info["missing_keys"] if not _POOLER.fullmatch(key))
    if trained_pooling(model.config, name, revision) == "pooler":
        missing = sorted(info["missing_keys"])
    if missing:
        raise ValueError(f"{name}: the checkpoint lacks weights of the text encoder: {', '.join(missing[:5])}")
    unexpected = [k for k in info["unexpected_keys"] if _ENCODER.fullmatch(k) and not _OTHER.fullmatch(k)]
    if unexpected:
        raise ValueError(
            f"{name}: the checkpoint holds weights for which its configuration has no place: "
            f"{', '.join(sorted(unexpected)[:5])}"
        )
    model = find_text_model(model)
    if model.config.model_type in FULL_LENGTH:
        # The configurations of SigLIP 2 name SigLIP's padding, its tokenizer has Gemma's.
        try:
            padding = AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=False).pad_token_id
        except (OSError, ValueError, ImportError, KeyError):
            padding = None
        model.config.pad_token_id = model.config.pad_token_id if padding is None else padding
    return model.eval()


def find_text_model(model: PreTrainedModel) -> PreTrainedModel:
    """The encoder in a loaded model: the text tower of a dual encoder, or what lies below a head."""
    inner = getattr(model, "text_model", None)
    found: Any = model.base_model if inner is None or isinstance(model, tuple(TOWERS.values())) else inner
    if not hasattr(found.config, "hidden_size"):
        raise ValueError(f"{type(model).__name__} is no text encoder: its configuration has no hidden_size")
    return found


def trained_pooling(config: PreTrainedConfig, name: str | None = None, revision: str = "main") -> str:
    """
    The pooling that an encoder was trained for, as in `AnatomyVLMConfig.text_pooling`.

    The pooling file of sentence-transformers decides where there is one; then the architecture: the end token of CLIP
    and the head of SigLIP, the `classifier_pooling` of ModernBERT's own configuration, and for all others [CLS], of
    which BERT's kind makes its sentences (BiomedBERT, Bio_ClinicalBERT, CXR-BERT).

    Raises:
        ValueError: if the file asks for a pooling that is not ours.
    """
    own = None if name is None else read_json(name, "1_Pooling/config.json", revision)
    if own is not None:
        modes = [key.removeprefix("pooling_mode_") for key, on in own.items() if "pooling_mode_" in key and on is True]
        modes = modes or [str(own.get("pooling_mode"))]
        if len(modes) != 1 or modes[0] not in _MODES:
            raise ValueError(f"{name}: pools its tokens by {', '.join(modes)}; we have cls and mean")
        return _MODES[modes[0]]
    if config.model_type in POOLED:
        return "pooler"
    return {"mean": "mean"}.get(getattr(config, "classifier_pooling", "cls"), "cls")


def trained_length(config: PreTrainedConfig, pooling: str) -> int | None:
    """To how many tokens texts have to be padded, as in `AnatomyVLMConfig.text_length`."""
    full = pooling == "pooler" and config.model_type in FULL_LENGTH
    return config.max_position_embeddings if full else None


def feature_size(config: PreTrainedConfig, pooling: str) -> int:
    """Width of the sentence features of an encoder."""
    projected = pooling == "pooler" and config.model_type in FULL_LENGTH
    return int((config.projection_size if projected else None) or config.hidden_size)


def read_json(name: str, file: str, revision: str = "main") -> dict[str, Any] | None:
    """A JSON file of a Hub id or folder; None where there is none."""
    try:
        path = cached_file(
            name,
            file,
            revision=revision,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
            _raise_exceptions_for_gated_repo=False,
        )
    except OSError:
        return None
    if path is None:
        return None
    with open(path, encoding="utf-8") as stream:
        values = json.load(stream)
    return values if isinstance(values, dict) else None


def portable_config(config: PreTrainedConfig) -> dict[str, Any]:
    """A configuration as a dictionary that does not tell where its model lay."""
    values = config.to_dict()
    values.pop("_name_or_path", None)
    return values


__all__ = [
    "build_text_model",
    "feature_size",
    "find_text_model",
    "load_text_model",
    "trained_length",
    "trained_pooling",
]
