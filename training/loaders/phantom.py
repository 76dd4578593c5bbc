"""Synthetic chests of `anatomy_vlm.synthesis`, drawn once and kept on disk."""

from pathlib import Path

import datasets

from anatomy_vlm.training.loaders.saved import check_splits


def load_phantom(
    num_patients: int,
    out: str,
    seed: int = 0,
    image_size: int = 224,
    studies_per_patient: int = 1,
    splits: dict[str, float] | None = None,
    domain: str = "mixed",
    num_workers: int = 2,
    label_noise: float = 0.0,
    reader_style: str = "narrative",
) -> datasets.DatasetDict:
    """
    Args:
        num_patients: How many bodies to draw.
        out: Folder that keeps the films; an interrupted synthesis goes on there.
        seed: Seed of everything.
        image_size: Side of the square films in pixels.
        studies_per_patient: Films of each body, with other findings and poses.
        splits: Fraction of the patients in each split; 70, 10 and 20 % by default.
        domain: Look of the films: a name of `anatomy_vlm.synthesis.phantom.DOMAINS`, or "mixed".
        num_workers: Processes that draw.
        label_noise: Chance that the reader misses a finding, and that he states one that is not there, 0 to 1.
        reader_style: How reports are written: "narrative", "structured", "terse" or "mixed".
    """
    from anatomy_vlm.synthesis import generate_dataset

    splits = splits or {"train": 0.7, "validation": 0.1, "test": 0.2}
    dataset = generate_dataset(
        num_patients,
        seed=seed,
        image_size=image_size,
        num_studies=studies_per_patient,
        splits=splits,
        domain=domain,
        out=Path(out),
        num_workers=num_workers,
        label_noise=label_noise,
        reader_style=reader_style,
    )
    return check_splits(dataset, out)
