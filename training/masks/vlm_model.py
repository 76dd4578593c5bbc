"""Vision-language models that write masks, as folders: the model or its adapter, the processor and the mask codec."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from safetensors.torch import save_file
from transformers import AutoModelForImageTextToText
from transformers.utils import cached_file

from anatomy_vlm.modeling.mask_codec_anatomy_vlm import RasterCodec
from anatomy_vlm.processing.atomic_files import replacing, write_json
from anatomy_vlm.training.masks.codec_files import load_codec
from anatomy_vlm.training.masks.vlm_adapters import load_adapter
from anatomy_vlm.training.masks.vlm_processors import load_processor
from anatomy_vlm.training.masks.vlm_tokens import add_mask_tokens


CODEC_FILE, OPTIONS_FILE = "mask_codec.safetensors", "mask_options.json"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass
class MaskVLM:
    """
    A vision-language model with what it needs to write masks.

    Args:
        model: Of Transformers, or in peft's adapters.
        processor: Its processor, whose tokenizer has the codec's tokens.
        codec: What its shape tokens mean.
        new_ids: Tokens that were added to the vocabulary by this call.
        image_options: Further arguments of the image processor.
    """

    model: Any
    processor: Any
    codec: RasterCodec
    new_ids: list[int] = field(default_factory=list)
    image_options: dict[str, Any] = field(default_factory=dict)

    @property
    def encoder_decoder(self) -> bool:
        """Whether answers are written by a decoder of their own, as in Florence-2."""
        return bool(self.model.config.is_encoder_decoder)

    def save(self, folder: str | Path) -> None:
        """Save model (or adapter), processor and codec, so that `load_vlm` finds all."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if hasattr(self.model, "peft_config"):
            # Embeddings are in the adapter where they are new; else they are those of the base model.
            self.model.save_pretrained(folder, save_embedding_layers=False)
        else:
            self.model.save_pretrained(folder)
        self.processor.save_pretrained(folder)
        weights = {name: tensor.detach().contiguous() for name, tensor in self.codec.state_dict().items()}
        with replacing(folder / CODEC_FILE) as beside:
            save_file(weights, beside)
        write_json(folder / OPTIONS_FILE, {"image_options": self.image_options})

    def merged(self) -> "MaskVLM":
        """The same with the adapter merged into the model's own weights; this one is used up."""
        model = self.model.merge_and_unload() if hasattr(self.model, "peft_config") else self.model
        return MaskVLM(model, self.processor, self.codec, [], self.image_options)


def load_vlm(
    source: str | Path,
    codec: str | Path | None = None,
    *,
    base: str | None = None,
    dtype: str = "float32",
    image_options: Mapping[str, Any] | None = None,
) -> MaskVLM:
    """
    A model, a merged model or an adapter with its model, from a folder or by a Hub id.

    Args:
        source: Any image-text-to-text model of Transformers, what `MaskVLM.save` wrote, or an adapter of peft such as
            the published ones of CheXanatomy.
        codec: Weights of the mask codec (`load_codec`); None takes those that were saved with the model.
        base: Model of an adapter; None takes what the adapter names.
        dtype: Of the weights: "float32", "bfloat16" or "float16".
        image_options: Further arguments of the image processor; None takes what was saved with the model.

    Raises:
        ValueError: for a source that cannot be had or is no such model, or without a codec.
    """
    source = str(source)
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}")
    saved = _saved(source, CODEC_FILE)
    if codec is None and saved is None:
        raise ValueError(f"{source}: no {CODEC_FILE} is in it; name the weights of a mask codec")
    masks = load_codec(codec if codec is not None else str(saved))
    options_file = _saved(source, OPTIONS_FILE)
    options = json.loads(Path(options_file).read_text(encoding="utf-8")) if options_file else {}
    adapter = _saved(source, "adapter_config.json")
    if adapter is not None:
        named = json.loads(Path(adapter).read_text(encoding="utf-8")).get("base_model_name_or_path")
        base = base or named
        if not base:
            raise ValueError(f"{source}: the adapter does not name its model; name it (base)")
    model = _load_model(base if adapter is not None and base else source, dtype)
    words = source if adapter is None or _saved(source, "tokenizer_config.json") else str(base)
    processor = load_processor(words)
    if adapter is None:
        new_ids = add_mask_tokens(model, processor.tokenizer, masks.vocabulary())
    else:
        # What was new when the adapter was trained is in its tokenizer, but its base model has no rows for it.
        add_mask_tokens(model, processor.tokenizer, masks.vocabulary())
        last = max(processor.tokenizer.convert_tokens_to_ids(masks.vocabulary()))
        if last >= len(model.get_input_embeddings().weight):
            model.resize_token_embeddings(last + 1)
        model, new_ids = load_adapter(model, source), []
    image_options = options.get("image_options", {}) if image_options is None else dict(image_options)
    return MaskVLM(model.eval(), processor, masks, new_ids, dict(image_options))


def _load_model(source: str, dtype: str) -> Any:
    try:
        return AutoModelForImageTextToText.from_pretrained(source, dtype=DTYPES[dtype])
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{source}: no image-text-to-text model of Transformers can be had: {reason}") from error


def _saved(source: str, name: str) -> str | None:
    """A file of a folder or Hub id, None if it is not there."""
    if Path(source).is_dir():
        path = Path(source) / name
        return str(path) if path.is_file() else None
    try:
        validate_repo_id(source)
    except HFValidationError:
        raise ValueError(f"{source}: there is no such folder, and it is no id of the Hub") from None
    try:
        found: str | None = cached_file(
            source, name, _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False
        )
    except (OSError, ValueError) as error:
        raise ValueError(f"{source}: is no folder, and cannot be had: {' '.join(str(error).split())}") from error
    return found
