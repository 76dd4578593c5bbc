"""Configurations of `accelerate launch`, by name.

accelerate launch --config_file "$(python -m anatomy_vlm.training.accelerate_configs ddp)" training/run.py ...
"""

from importlib.resources import files
from pathlib import Path


def config_names() -> list[str]:
    """Names of the configurations that the package ships."""
    return sorted(
        entry.name.removesuffix(".yaml") for entry in files(__name__).iterdir() if entry.name[-5:] == ".yaml"
    )


def config_path(name: str) -> Path:
    """
    The file of a configuration.

    Raises:
        ValueError: if there is none of that name.
    """
    if name not in config_names():
        raise ValueError(f"{name}: no such configuration of accelerate; there are {', '.join(config_names())}")
    return Path(str(files(__name__).joinpath(f"{name}.yaml")))
