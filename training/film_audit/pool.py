"""Films to train and to try the auditor on: drawn chests and side views, and pictures of other things."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from anatomy_vlm.processing.atomic_files import replacing
from anatomy_vlm.processing.vocabulary import REGION_NAMES
from anatomy_vlm.training.film_audit.batches import FilmPool
from anatomy_vlm.training.film_audit.other_pictures import other_picture
from anatomy_vlm.training.film_audit.side_views import side_view, turned_patient


LUNGS = [REGION_NAMES.index(name) for name in ("right lung", "left lung")]
SPLITS = {"train": 0.85, "validation": 0.15}
_IMAGE_SIZE = 160
_OTHERS_PER_CHEST, _LATERALS_PER_CHEST, _TURNED_PER_CHEST = 1.5, 0.25, 0.15


def draw_pools(folder: Path, num_patients: int, seed: int) -> dict[str, FilmPool]:
    """Pools of the splits of `SPLITS`, different patients; the chests are kept in `folder` and drawn once."""
    chests, unusual = draw_chests(folder, num_patients, seed)
    return {
        split: _pool(chests[split], unusual, folder / f"turned-{split}.npy", seed + index)
        for index, split in enumerate(SPLITS)
    }


def draw_chests(folder: Path, num_patients: int, seed: int) -> tuple[Any, frozenset[str]]:
    """The drawn chests of all splits, and the names of the films of patients whose heart lies on the other side."""
    from anatomy_vlm.synthesis.phantom import generate_dataset

    chests = generate_dataset(
        num_patients,
        seed=seed,
        image_size=_IMAGE_SIZE,
        domain="mixed",
        splits=SPLITS,
        out=folder / "chests",
        num_workers=1,
    )
    return chests, _unusual(folder / "chests")


def _unusual(folder: Path) -> frozenset[str]:
    notes = (json.loads(line) for file in folder.rglob("shard-*.jsonl") for line in file.read_text().splitlines())
    bodies = ((note["image_id"], note["parameters"]["body"]) for note in notes)
    return frozenset(name for name, body in bodies if body["situs_inversus"] or body["dextrocardia"])


def _pool(split: Any, unusual: frozenset[str], turned: Path, seed: int) -> FilmPool:
    films = np.stack([np.asarray(image.convert("L")) for image in split["image"]])
    pairs = np.asarray(split["boxes"], dtype=np.float32)[:, LUNGS]
    lungs = np.concatenate([pairs[..., :2].min(1), pairs[..., 2:].max(1)], axis=1)
    rng = np.random.default_rng(seed)
    if not turned.exists():
        patients = range(10_000_000 * seed, 10_000_000 * seed + max(int(_TURNED_PER_CHEST * len(films)), 1))
        with replacing(turned) as beside:
            np.save(beside, np.stack([turned_patient(patient) for patient in tqdm(patients, desc="side views")]))
    crude = _drawn(side_view, int(_LATERALS_PER_CHEST * len(films)), rng)
    return FilmPool(
        chests=torch.from_numpy(films).float() / 255,
        lungs=torch.from_numpy(lungs),
        usual=torch.tensor([name not in unusual for name in split["image_id"]]),
        laterals=torch.cat((torch.from_numpy(np.load(turned)), crude)),
        others=_drawn(other_picture, int(_OTHERS_PER_CHEST * len(films)), rng),
    )


def _drawn(draw: Callable[[np.random.Generator], np.ndarray], count: int, rng: np.random.Generator) -> torch.Tensor:
    return torch.from_numpy(np.stack([draw(rng) for _ in range(max(count, 1))]))
