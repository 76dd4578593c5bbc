"""Which CT scans and labels a user means by files, folders and a pattern."""

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from anatomy_vlm.input_files import InputFilesError, looks_like_image


if TYPE_CHECKING:
    from anatomy_vlm.synthesis.ct import CTCase

NIFTI = (".nii", ".nii.gz")


def find_scans(inputs: Sequence[str | Path], labels: str | None = None) -> "list[CTCase]":
    """CT scans with their labels.

    Args:
        inputs: NIfTI files, folders with one DICOM series, or folders that hold either at any depth.
        labels: Where the labels of a scan are: a path or glob pattern in which `{case}` stands for the scan's name and
            `{folder}` for the folder it lies in; or a folder with one file or folder per scan, named as the scan. None
            takes the names that the loader `ct_projection` knows, such as `NAME_labels.nii.gz` or `labels/NAME.nii.gz`
            beside the scan. Several matches are several label maps of one scan.

    Raises:
        InputFilesError: an input that does not exist or holds no scan, or two scans of one name.
    """
    from anatomy_vlm.synthesis.ct import CTCase
    from anatomy_vlm.training.loaders.ct_projection import patient_name

    found = {scan: name for item in inputs for scan, name in _expand(Path(item))}
    matched = {scan: _labels_of(scan, name, labels, alone=len(found) == 1) for scan, name in found.items()}
    used = {path for paths in matched.values() for path in paths}
    cases: dict[str, CTCase] = {}
    for scan, name in found.items():
        if used.intersection([scan, *scan.parents]):
            continue
        if name in cases:
            raise InputFilesError(f"{scan} and {cases[name].scan} are both called '{name}'; rename one of them")
        cases[name] = CTCase(name, patient_name(name), str(scan), tuple(map(str, matched[scan])))
    if not cases:
        raise InputFilesError("no CT scans given; name NIfTI files, folders of DICOM series, or a folder of either")
    return list(cases.values())


def _expand(path: Path) -> list[tuple[Path, str]]:
    """Scans and their names."""
    from anatomy_vlm.training.loaders.ct_projection import case_name

    if path.is_file():
        if not path.name.endswith(NIFTI):
            raise InputFilesError(f"{path}: not a NIfTI file (.nii, .nii.gz); of a DICOM series name the folder")
        return [(path, case_name(path, path.parent))]
    if not path.is_dir():
        raise InputFilesError(f"{path}: no such file or folder")
    volumes = [file for file in sorted(path.rglob("*.nii*")) if file.name.endswith(NIFTI)]
    if volumes:
        return [(volume, case_name(volume, path)) for volume in volumes]
    folders = [path, *sorted(folder for folder in path.rglob("*") if folder.is_dir())]
    series = [folder for folder in folders if any(_is_slice(file) for file in folder.iterdir())]
    if not series:
        raise InputFilesError(f"{path}: no .nii or .nii.gz volumes and no DICOM series in this folder")
    return [(folder, "_".join(folder.relative_to(path).parts) or path.resolve().name) for folder in series]


def _is_slice(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in ("", ".dcm", ".dicom", ".ima") and looks_like_image(path)


def _labels_of(scan: Path, name: str, pattern: str | None, *, alone: bool) -> list[Path]:
    from anatomy_vlm.training.loaders.ct_projection import labels_of

    if pattern is None:
        # Beside the folder of a series lies what would lie beside a volume of its name.
        labels = labels_of(scan.with_name(f"{scan.name}.nii.gz") if scan.is_dir() else scan)
        return [labels] if labels is not None else []
    if "{case}" in pattern or "{folder}" in pattern:
        folder = glob.escape(str(scan.parent))
        text = pattern.replace("{case}", glob.escape(name)).replace("{folder}", folder)
        return [Path(match) for match in sorted(glob.glob(text)) if Path(match) != scan]
    place = Path(pattern)
    if place.is_dir():
        candidates = [place / f"{name}{suffix}" for suffix in (*NIFTI, "")]
        return [path for path in candidates if path.exists() and path != scan][:1] or ([place] if alone else [])
    if not place.exists():
        raise InputFilesError(f"--labels {pattern}: no such file or folder; name a pattern with {{case}} in it")
    if not alone:
        raise InputFilesError(f"--labels {pattern}: one file for several scans; put {{case}} where their names go")
    return [place]
