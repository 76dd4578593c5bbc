"""Small synthetic copies of the datasets' layouts: made-up films and rows in the files that the real ones have.

For tests, benchmarks, and for a first try of a loader without the data; no real row is in them.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from anatomy_vlm.training.recipe import RecipeError, suggestion


# Name of a layout -> module of this folder and function in it.
LAYOUTS = {
    "chest_imagenome": ("mimic", "write_chest_imagenome"),
    "chexmask": ("masks", "write_chexmask"),
    "ct_projection": ("own", "write_ct"),
    "folder": ("own", "write_folder"),
    "folder-coco": ("own", "write_coco"),
    "folder-csv": ("own", "write_folder_csv"),
    "iu_xray": ("openi", "write_openi_xml"),
    "iu_xray-kaggle": ("openi", "write_kaggle"),
    "iu_xray-r2gen": ("openi", "write_r2gen"),
    "mimic_cxr": ("mimic", "write_mimic_cxr"),
    "ms_cxr": ("mimic", "write_ms_cxr"),
    "nih_chestxray14": ("boxes", "write_nih"),
    "padchest": ("openi", "write_padchest"),
    "rsna_pneumonia": ("boxes", "write_rsna"),
    "siim_acr": ("masks", "write_siim_acr"),
    "vindr_cxr": ("boxes", "write_vindr"),
    "vindr_cxr-kaggle": ("boxes", "write_vindr_kaggle"),
}


def write_layout(name: str, root: str | Path, *, num_patients: int = 16, seed: int = 0) -> dict[str, Any]:
    """
    Write the layout of a dataset into a folder and return the arguments with which its loader reads it.

    Args:
        name: One of `LAYOUTS`; what stands before "-" is the loader.
        root: Folder to write to.
        num_patients: At least 4.
        seed: Seed of everything.

    Raises:
        RecipeError: unknown layout, or too few patients.
    """
    if name not in LAYOUTS:
        raise RecipeError(f"unknown layout '{name}'; {suggestion(name, tuple(LAYOUTS))}")
    if num_patients < 4:
        raise RecipeError(f"num_patients: {num_patients} is too few for three splits; at least 4")
    module, function = LAYOUTS[name]
    write: Callable[..., dict[str, Any]] = getattr(import_module(f"{__name__}.{module}"), function)
    folder = Path(root)
    folder.mkdir(parents=True, exist_ok=True)
    return write(folder, num_patients, seed)


__all__ = ["LAYOUTS", "write_layout"]
