"""Radiographs from CT volumes: reading, labels by name and version, films with the 29 regions."""

from anatomy_vlm.synthesis.ct.chexanatomy import chexanatomy_masks, write_chexanatomy, write_chexanatomy_film
from anatomy_vlm.synthesis.ct.dataset import CTCase, CTDataset, generate_ct_dataset
from anatomy_vlm.synthesis.ct.example import ct_example, film_example, study_examples
from anatomy_vlm.synthesis.ct.film import (
    CTFilm,
    expose_film,
    frame_film,
    random_geometry,
    standard_geometry,
    study_films,
)
from anatomy_vlm.synthesis.ct.names import label_names, label_schemes, structure_parts, vocabularies
from anatomy_vlm.synthesis.ct.study import CTStudy, read_ct, read_study
from anatomy_vlm.synthesis.ct.volume import CTReadError, CTVolume, LabelVolume


__all__ = [
    "CTCase",
    "CTDataset",
    "CTFilm",
    "CTReadError",
    "CTStudy",
    "CTVolume",
    "LabelVolume",
    "chexanatomy_masks",
    "ct_example",
    "expose_film",
    "film_example",
    "frame_film",
    "generate_ct_dataset",
    "label_names",
    "label_schemes",
    "random_geometry",
    "read_ct",
    "read_study",
    "standard_geometry",
    "structure_parts",
    "study_examples",
    "study_films",
    "vocabularies",
    "write_chexanatomy",
    "write_chexanatomy_film",
]
