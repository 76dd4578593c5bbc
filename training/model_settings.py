"""What the settings of a model folder may not ask for: sizes that no model has, other weights, code."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from anatomy_vlm.processing.data_files import DataFileError, one_line, read_json_file


# Far above any model of these kinds: a file of a few kilobytes may not ask for a terabyte.
_LARGEST = {
    "num_hidden_layers": 256, "num_attention_heads": 1024, "hidden_size": 32_768, "intermediate_size": 131_072,
    "projection_dim": 65_536, "num_anatomy_queries": 10_000, "num_registers": 10_000, "vocab_size": 4_000_000,
    "max_position_embeddings": 1_000_000, "image_size": 16_384, "patch_size": 4096, "num_channels": 64,
    "type_vocab_size": 10_000, "glimpse_size": 16_384, "projection_size": 65_536, "height": 16_384, "width": 16_384,
    "text_length": 100_000,
}  # fmt: skip
_FILES = ("config.json", "processor_config.json", "preprocessor_config.json", "tokenizer_config.json")
_CODE = ("kernel_config", "use_kernels", "quantization_config")


class ModelSettingsError(ValueError):
    """Settings that are not those of a model of ours; one line that names the file and the key."""


def check_model_settings(folder: Path) -> None:
    """
    Look through the settings of a folder before Transformers acts on them.

    Raises:
        ModelSettingsError: not JSON; adapters, whose file names another model to load; a size beyond `_LARGEST`; or
            kernels and quantisation, which are code that is fetched.
    """
    if (folder / "adapter_config.json").exists():
        raise ModelSettingsError(f"{folder}: holds adapters, which name another model; merge them and export it")
    for path in (folder / name for name in _FILES):
        if not path.is_file():
            continue
        try:
            settings = read_json_file(path)
        except (OSError, DataFileError) as error:
            raise ModelSettingsError(f"{path}: {error}; copy the checkpoint again") from None
        for key, value in _pairs(settings):
            most = _LARGEST.get(key)
            if most is not None and isinstance(value, int | float) and not value <= most:
                raise ModelSettingsError(f"{path}: {key} of {one_line(value, 40)} is more than {most:,}")
            kernel = key.endswith("_implementation") and "/" in str(value)
            if kernel or (key in _CODE and value):
                raise ModelSettingsError(f"{path}: {key} asks for code that is not ours; take it out")


def _pairs(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, at any depth; what was read is not deep."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from _pairs(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _pairs(inner)
