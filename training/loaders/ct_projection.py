"""Radiographs projected from CT volumes with label volumes: boxes of the regions, no findings."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

from anatomy_vlm.processing.radiograph import ImageReadError, RadiographImage
from anatomy_vlm.processing.schema import validate_example
from anatomy_vlm.training.loaders.errors import DatasetError
from anatomy_vlm.training.loaders.record import Entry, Record
from anatomy_vlm.training.loaders.source import Sample, Source


VIEWS = ("PA", "AP", "LATERAL")
_SUFFIXES = (".nii.gz", ".nii")
_DEFAULT_SIDE = 512
# CT-RATE names its volumes split_patient_study_reconstruction: train_12_a_2.
_CT_RATE = re.compile(r"^((?:train|valid)_\d+)_[a-z]+_\d+$")


class CTProjection(Source):
    """
    CT volumes (NIfTI) with TotalSegmentator's labels, each as one film per view; made when they are asked for.

    The labels of `NAME.nii.gz` are `NAME_labels.nii.gz`, `NAME_seg.nii.gz`, `labels/NAME.nii.gz`, the folder
    `NAME_segmentations` or, for a volume alone in its folder, the folder `segmentations`; of `ct_X` also `labels_X`.
    CT-RATE's names tell its patients; otherwise every volume counts as its own.

    Args:
        root: Folder with the volumes.
        scheme: What the values of a label map mean: a name of `anatomy_vlm.synthesis.ct.label_schemes`, or a table.
        views: Of "PA", "AP" and "LATERAL".
        seed: Draw pose and look of every film from this seed; the standard ones by default.
        splits: Shares of the splits drawn by patient; 70, 10 and 20 % by default.
    """

    name = "ct_projection"

    def __init__(
        self,
        root: str,
        scheme: str | None = None,
        views: tuple[str, ...] | list[str] = ("PA",),
        seed: int | None = None,
        splits: dict[str, float] | None = None,
    ):
        unknown = [view for view in views if view not in VIEWS]
        if unknown or not views:
            raise DatasetError(f"ct_projection: views {list(views)}; choose from {', '.join(VIEWS)}")
        self.notes, self.left_out = Counter[str](), Counter[str]()
        self.scheme, self.seed = scheme, seed
        folder = Path(root)
        if not folder.is_dir():
            raise DatasetError(f"{folder}: no such folder")
        volumes = [path for path in sorted(folder.rglob("*.nii*")) if path.name.endswith(_SUFFIXES)]
        labels = {volume: labels_of(volume) for volume in volumes}
        used = {path for path in labels.values() if path is not None}
        entries = []
        for volume in volumes:
            if volume in used or any(parent in used for parent in volume.parents):
                continue
            label, case = labels[volume], case_name(volume, folder)
            if label is None:
                self.notes["volume without labels, so without boxes"] += 1
            patient = patient_name(case)
            entries += [
                Entry(f"{case}_{view.lower()}", patient, "", str(volume), (case, str(label or ""), view))
                for view in dict.fromkeys(views)
            ]
        if not entries:
            raise DatasetError(f"{folder}: no .nii or .nii.gz volumes")
        self.set_entries(entries, f"ct_projection in {root}", splits)
        self._study: tuple[tuple[str, str], Any] | None = None

    def record(self, entry: Entry) -> Record:
        return Record(study_id=entry.row[0], view=entry.row[2])

    def sample(self, entry: Entry, longer_side: int | None = None) -> Sample:
        from anatomy_vlm.synthesis.ct import CTReadError, study_examples

        case, labels, view = entry.row
        try:
            study = self._read(entry.path, labels)
            seed = None if self.seed is None else self.seed * 1_000_003 + sum(case.encode())
            [example] = study_examples(study, views=(view,), image_size=longer_side or _DEFAULT_SIDE, seed=seed)
        except CTReadError as error:
            raise ImageReadError(entry.path, str(error)) from error
        example |= {
            "patient_id": entry.patient_id, "study_id": case, "image_id": entry.image_id, "view": view,
            "source": self.name,
        }  # fmt: skip
        validate_example(example)
        image = example["image"]
        return Sample(example, RadiographImage(_pixels(image), view), image.size)

    def _read(self, volume: str, labels: str) -> Any:
        """The study; the films of one volume come one after another, so the last is kept."""
        from anatomy_vlm.synthesis.ct import read_study

        if self._study is None or self._study[0] != (volume, labels):
            self._study = ((volume, labels), read_study(volume, labels or None, self.scheme))
        return self._study[1]

    def without_entries(self) -> "Source":
        bare = super().without_entries()
        bare._study = None  # type: ignore[attr-defined]
        return bare


def _pixels(image: Any) -> Any:
    import numpy as np

    return np.asarray(image)


def _stem(path: Path) -> str:
    return next(path.name[: -len(suffix)] for suffix in _SUFFIXES if path.name.endswith(suffix))


def case_name(volume: Path, root: Path) -> str:
    """The name of a volume: its own, or that of its folder where the file is only called "ct"."""
    stem = _stem(volume)
    return volume.parent.name if stem in ("ct", "image", "volume") and volume.parent != root else stem


def patient_name(case: str) -> str:
    """Whose a case is: told by CT-RATE's names, else its own."""
    return matched.group(1) if (matched := _CT_RATE.match(case)) else case


def labels_of(volume: Path) -> Path | None:
    """The labels that belong to a volume: a label map, a folder of masks, or None."""
    stem, folder = _stem(volume), volume.parent
    names = [f"{stem}_labels", f"{stem}_seg", f"labels/{stem}"]
    if stem.startswith("ct_"):
        names.append(f"labels_{stem.removeprefix('ct_')}")
    maps = [folder / f"{name}{suffix}" for name in names for suffix in _SUFFIXES]
    candidates = [*maps, folder / f"{stem}_segmentations"]
    siblings = [path for path in folder.iterdir() if path.name.endswith(_SUFFIXES)]
    if siblings == [volume]:
        candidates.append(folder / "segmentations")
    return next((path for path in candidates if path.exists() and path != volume), None)
