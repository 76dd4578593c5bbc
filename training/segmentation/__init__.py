"""Segmentation transfer: films with masks, one training run, its scores, and the study that compares networks."""

from importlib import import_module
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from anatomy_vlm.training.segmentation.films import DatasetFilms, FolderFilms, MaskedFilms
    from anatomy_vlm.training.segmentation.study import Study, StudySettings, run_study
    from anatomy_vlm.training.segmentation.training import SegmentationSettings, train_network

_HOMES = {
    "DatasetFilms": "films",
    "FolderFilms": "films",
    "MaskedFilms": "films",
    "SegmentationSettings": "training",
    "Study": "study",
    "StudySettings": "study",
    "run_study": "study",
    "train_network": "training",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


__all__ = [
    "DatasetFilms",
    "FolderFilms",
    "MaskedFilms",
    "SegmentationSettings",
    "Study",
    "StudySettings",
    "run_study",
    "train_network",
]
