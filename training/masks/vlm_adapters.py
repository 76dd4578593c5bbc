"""Low-rank adapters of vision-language models: put in by peft, and read from files whatever modules were called."""

import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load_file
from transformers.utils import cached_file

from anatomy_vlm.training.masks.vlm_parts import find_parts, linear_targets


HOW_VISION = ("frozen", "lora", "full")
# Parts of names that come and go between versions of Transformers, and say nothing.
_SILENT = {"base_model", "model", "language_model", "default", "modules_to_save"}


@dataclass(frozen=True, kw_only=True)
class AdapterOptions:
    """
    What is trained. The defaults are CheXanatomy's, whose alpha is peft's default.

    Args:
        rank: Of the adapters in the text model's linear layers; 0 trains the text model itself.
        alpha: The adapters' output is scaled by `alpha / rank`.
        dropout: Of the adapters' input.
        vision: The vision model is "frozen", gets adapters ("lora"), or is trained itself ("full").
        projector: Train what is between the two.
    """

    rank: int = 16
    alpha: float = 8
    dropout: float = 0.0
    vision: str = "frozen"
    projector: bool = True

    def __post_init__(self) -> None:
        if self.vision not in HOW_VISION:
            raise ValueError(f"vision must be one of {', '.join(HOW_VISION)}, not {self.vision!r}")
        if self.rank < 0 or not 0 <= self.dropout < 1:
            raise ValueError(f"rank {self.rank} must be at least 0 and dropout {self.dropout} within [0, 1)")
        if not self.rank and self.vision == "lora":
            raise ValueError("vision: lora needs a rank of at least 1")


def adapt(model: Any, options: AdapterOptions, new_ids: Iterable[int] = ()) -> Any:
    """
    The model with what is to be trained trainable, in adapters if `options` has a rank.

    Args:
        model: An image-text-to-text model of Transformers.
        options: What is trained.
        new_ids: Tokens whose embeddings are new, and are always trained.

    Raises:
        ValueError: without peft, or for a model whose parts have unknown names.
    """
    parts = find_parts(model)
    if not options.rank:
        model.requires_grad_(True)
        model.get_submodule(parts.vision).requires_grad_(options.vision == "full")
        if parts.projector is not None:
            model.get_submodule(parts.projector).requires_grad_(options.projector)
        return model
    peft = import_peft()
    targets = linear_targets(model, parts.text)
    if options.vision == "lora":
        targets = f"{targets}|{linear_targets(model, parts.vision, parts.projector)}"
    whole = [parts.vision] if options.vision == "full" else []
    inside = parts.projector is not None and parts.projector.startswith(f"{parts.vision}.")
    if options.projector and parts.projector is not None and not (whole and inside):
        whole.append(parts.projector)
    ids = sorted(new_ids)
    config = peft.LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=targets,
        modules_to_save=whole or None,
        trainable_token_indices=_token_layers(model, ids) if ids else None,
    )
    return with_adapter(model, config)


def with_adapter(model: Any, config: Any) -> Any:
    """`peft.get_peft_model`, quiet about what peft asks of Transformers by an old name."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        return import_peft().get_peft_model(model, config)


def _token_layers(model: Any, ids: list[int]) -> dict[str, list[int]]:
    """The embeddings, and the last layer where it is no other name for them."""
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    names = {id(module): name for name, module in model.named_modules()}
    layers = {names[id(embeddings)]: ids}
    if head is not None and head.weight.data_ptr() != embeddings.weight.data_ptr():
        layers[names[id(head)]] = ids
    return layers


def import_peft() -> Any:
    """Raises `ValueError` that names the extra if peft is not installed."""
    try:
        import peft
    except ImportError as error:
        raise ValueError('adapters need peft: pip install "anatomy-vlm[peft]"') from error
    return peft


def plain_name(name: str) -> str:
    """
    A parameter's name without what differs between versions of Transformers and peft.

    Example:
        >>> plain_name("base_model.model.language_model.model.layers.0.self_attn.q_proj.lora_A.weight")
        'layers.0.self_attn.q_proj.lora_A.weight'
        >>> plain_name("base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_A.weight")
        'layers.0.self_attn.q_proj.lora_A.weight'
        >>> plain_name("vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight")
        'vision_tower.encoder.layers.0.mlp.fc1.weight'
    """
    kept: list[str] = []
    for part in name.split("."):
        if part in _SILENT or (part == "vision_model" and kept == ["vision_tower"]):
            continue
        kept.append(part)
    return ".".join(kept)


def load_adapter(model: Any, source: str) -> Any:
    """
    The model with the adapter of a folder or Hub id, whose modules may have had other names when it was saved.

    Args:
        model: The base model, with as many embeddings as the adapter was trained with.
        source: Folder or id with `adapter_config.json` and `adapter_model.safetensors`, as peft saves them and as
            CheXanatomy's adapters are published.

    Raises:
        ValueError: for an adapter of another architecture, or one without all its weights.
    """
    peft = import_peft()
    config = peft.PeftConfig.from_pretrained(source)
    config.inference_mode = False
    weights = _read_weights(source)
    targets = _lora_modules(weights)
    if targets:
        # The modules that the file has weights for, by the names of this version.
        config.target_modules = list(_match(targets, (name for name, _ in model.named_modules()), source).values())
    config.modules_to_save = _present(model, config.modules_to_save)
    if isinstance(config.trainable_token_indices, dict):
        layers = config.trainable_token_indices
        known = _match(layers, (name for name, _ in model.named_modules()), source)
        config.trainable_token_indices = {known[name]: ids for name, ids in layers.items()}
    adapted = with_adapter(model, config)
    expected = peft.get_peft_model_state_dict(adapted, save_embedding_layers=False)
    renamed = {new: weights[old] for old, new in _match(weights, expected, source).items()}
    missing = sorted(set(expected) - set(renamed))
    if missing:
        raise ValueError(f"{source}: the adapter has no weights for {_few(missing)}; it is incomplete")
    for name, tensor in renamed.items():
        if tensor.shape != expected[name].shape:
            here, there = tuple(tensor.shape), tuple(expected[name].shape)
            raise ValueError(
                f"{source}: {name} has the shape {here} in the adapter, but {there} in the model; it was made for "
                "another model, or another number of tokens"
            )
    peft.set_peft_model_state_dict(adapted, renamed)
    return adapted


def _read_weights(source: str) -> dict[str, torch.Tensor]:
    for name in ("adapter_model.safetensors", "adapter_model.bin"):
        path = cached_file(source, name, _raise_exceptions_for_missing_entries=False)
        if path is not None:
            return load_file(path) if name.endswith("safetensors") else torch.load(path, weights_only=True)
    raise ValueError(f"{source}: there is no adapter_model.safetensors")


def _lora_modules(weights: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(match[1] for name in weights if (match := re.match(r"(.+)\.lora_[AB]\b", name))))


def _present(model: Any, names: Iterable[str] | None) -> list[str] | None:
    """Names of modules as this version has them; those that it does not know stay, and peft complains."""
    known = {plain_name(name): name for name, _ in model.named_modules()}
    return [known.get(plain_name(name), name) for name in names] if names else None


def _match(old: Iterable[str] | Mapping[str, Any], new: Iterable[str], source: str) -> dict[str, str]:
    """Old name -> new name."""
    found: dict[str, str] = {}
    for name in new:
        other = found.setdefault(plain_name(name), name)
        # A wrapper and what it wraps; the outer one is what is meant.
        if other != name and not name.startswith(other) and plain_name(name):
            found[plain_name(name)] = ""
    matched = {name: found.get(plain_name(name), "") for name in old}
    unknown = [name for name, other in matched.items() if not other]
    if unknown:
        raise ValueError(
            f"{source}: the model has no place for {_few(unknown)}; the adapter was made for another architecture"
        )
    return matched


def _few(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
