"""Splits by patient: names, shares, and that no patient is in two."""

import hashlib
from collections.abc import Iterable, Mapping

from anatomy_vlm.training.loaders.errors import DatasetError


SPLIT_NAMES = ("train", "validation", "test")
DEFAULT_SPLITS = {"train": 0.7, "validation": 0.1, "test": 0.2}
# Share of the training patients that validate where a dataset comes with training and test only.
VALIDATION_SHARE = 0.1
_SPELLINGS = {"valid": "validation", "validate": "validation", "val": "validation", "dev": "validation"}


def split_name(text: str, where: str) -> str:
    """The split of a dataset's own word for it ("val", "valid"). Raises `DatasetError` for another word."""
    name = _SPELLINGS.get(text.strip().lower(), text.strip().lower())
    if name not in SPLIT_NAMES:
        raise DatasetError(f"{where}: unknown split '{text}'; expected one of {', '.join(SPLIT_NAMES)}")
    return name


def drawn_split(patient: str, splits: Mapping[str, float]) -> str:
    """The split of a patient: by a hash of the name, so that it stays when patients are added."""
    draw = int.from_bytes(hashlib.sha256(patient.encode()).digest()[:8], "big") / 2**64 * sum(splits.values())
    for name, share in splits.items():
        draw -= share
        if draw < 0:
            return name
    return next(reversed(list(splits)))


def with_validation(official: str, patient: str) -> str:
    """The split of a patient in a dataset without a validation split: a tenth of the training patients validate."""
    shares = {"train": 1 - VALIDATION_SHARE, "validation": VALIDATION_SHARE}
    return drawn_split(patient, shares) if official == "train" else official


def check_shares(splits: Mapping[str, float]) -> dict[str, float]:
    """`splits`, if every share is above 0. Raises `DatasetError`."""
    if not splits or min(splits.values()) <= 0:
        raise DatasetError(f"splits: {dict(splits)} must give each split a share above 0, such as train: 0.8")
    return dict(splits)


def leaking_patients(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """The splits of each patient that is in several, of pairs of patient and split."""
    where: dict[str, set[str]] = {}
    for patient, split in pairs:
        where.setdefault(patient, set()).add(split)
    return {patient: sorted(splits) for patient, splits in where.items() if len(splits) > 1}


def check_patients(pairs: Iterable[tuple[str, str]], where: str) -> None:
    """Raises `DatasetError` if a patient is in two splits."""
    leaks = leaking_patients(pairs)
    if leaks:
        patient, splits = next(iter(leaks.items()))
        raise DatasetError(
            f"{where}: patient '{patient}' is in the splits '{splits[0]}' and '{splits[1]}' ({len(leaks)} patients "
            "are in several); give shares as splits, such as {train: 0.7, validation: 0.1, test: 0.2}, to draw them "
            "by patient"
        )
