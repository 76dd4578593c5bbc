"""Label volumes from a label map or from a folder of masks."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from anatomy_vlm.synthesis.ct.names import label_names
from anatomy_vlm.synthesis.ct.nifti import case_name, read_nifti_labels
from anatomy_vlm.synthesis.ct.volume import CTReadError, LabelVolume


def read_labels(path: str | Path, scheme: str | Path | Mapping[int, str] | None = None) -> list[LabelVolume]:
    """Reads the structures of one segmentation.

    Args:
        path: a label map (.nii, .nii.gz), or a folder with one mask per structure named after it, as TotalSegmentator
            writes without `--ml`. Masks that overlap are kept apart in several volumes.
        scheme: what the values of a label map mean (`label_names`); None takes the names that its header carries.

    Raises:
        CTReadError: for files that cannot be read, a label map without names, or values that the scheme lacks.
    """
    path = Path(path)
    if path.is_dir():
        return _read_masks(path)
    values, affine, names = read_nifti_labels(path)
    if scheme is not None:
        names = label_names(scheme)
    if not names:
        raise CTReadError(
            f'{path}: the header names no structures; say what the values mean, e.g. "totalsegmentator_v2_total"'
        )
    present = np.flatnonzero(np.bincount(values.reshape(-1), minlength=1)).tolist()
    unknown = [value for value in present if value and value not in names]
    if unknown:
        raise CTReadError(f"{path}: value {unknown[0]} has no name in the label scheme; give the scheme of this file")
    return [LabelVolume(values=values, affine=affine, names={v: n for v, n in names.items() if v in present})]


def _read_masks(folder: Path) -> list[LabelVolume]:
    files = sorted(p for p in folder.iterdir() if p.name.endswith((".nii", ".nii.gz")))
    if not files:
        raise CTReadError(f"{folder}: no .nii or .nii.gz masks")
    layers: list[LabelVolume] = []
    for file in files:
        mask, affine, _ = read_nifti_labels(file)
        mask = mask > 0
        if not mask.any():
            continue
        for i, layer in enumerate(layers):
            same_grid = layer.values.shape == mask.shape and np.allclose(layer.affine, affine, atol=1e-3)
            if same_grid and len(layer.names) < 255 and not layer.values[mask].any():
                layer.values[mask] = len(layer.names) + 1
                layers[i] = LabelVolume(layer.values, affine, {**layer.names, len(layer.names) + 1: case_name(file)})
                break
        else:
            layers.append(LabelVolume(mask.astype(np.uint8), affine, {1: case_name(file)}))
    return layers
