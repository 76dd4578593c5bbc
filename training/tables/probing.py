"""What embeddings know across sets: linear probes on the film and on groups of regions, trained here, tested there."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from anatomy_vlm.processing.vocabulary import FINDING_NAMES, REGION_NAMES
from anatomy_vlm.training.evaluation.arrays import FloatArray, nan_mean
from anatomy_vlm.training.evaluation.bootstrap import PatientBootstrap, percentile_interval
from anatomy_vlm.training.evaluation.ranking import roc_auc
from anatomy_vlm.training.receipts.tasks import Outcome, TaskInputs
from anatomy_vlm.training.tables.options import notes, set_title, test_sets
from anatomy_vlm.training.tables.table import Cell, Row, Table


# Groups of regions by words of their names; all that hold one of the words.
SUBSETS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "lungs and their zones": ("lung", "apical", "hilar"),
        "pleural angles and diaphragm": ("costophrenic", "hemidiaphragm"),
        "mediastinum and heart": (
            "mediastinum",
            "cardiac",
            "aortic",
            "svc",
            "atrium",
            "cavoatrial",
            "carina",
            "trachea",
        ),
        "bones and abdomen": ("clavicle", "spine", "abdomen"),
    }
)


def region_subset(words: tuple[str, ...]) -> list[int]:
    """Slots of the regions whose names hold one of the words."""
    return [index for index, name in enumerate(REGION_NAMES) if any(word in name for word in words)]


@torch.inference_mode()
def embeddings(
    model: Any, processor: Any, split: Any, batch_size: int, progress: bool
) -> tuple[FloatArray, FloatArray]:
    """Image embeddings (n, d) and region embeddings (n, regions, d) of a split."""
    images, regions = [], []
    for start in tqdm(range(0, len(split), batch_size), desc="embedding", disable=not progress, leave=False):
        pixels = processor.image_processor(images=split[start : start + batch_size]["image"], return_tensors="pt")
        outputs = model(pixel_values=pixels["pixel_values"].to(model.device))
        images.append(outputs.image_embeds.double().cpu().numpy())
        regions.append(outputs.region_embeds.double().cpu().numpy())
    return np.concatenate(images), np.concatenate(regions)


def image_labels(split: Any) -> FloatArray:
    """(n, findings), 1, 0 or NaN."""
    rows = split.select_columns(["labels"]).with_format(None)["labels"]
    return np.asarray([[np.nan if x is None else x for x in row] for row in rows], dtype=np.float64)


def probing_table(inputs: TaskInputs) -> Outcome:
    """
    Macro AUC of a logistic regression per finding on frozen, averaged embeddings of a group of regions; trained on
    "train", tested on every other split.
    """
    model, processor = inputs.checkpoint
    model = model.to(inputs.device or "cpu").eval()
    size, least = int(inputs.settings["batch_size"]), int(inputs.settings["min_events"])
    train = inputs.split("train")
    of_train = embeddings(model, processor, train, size, inputs.progress)
    labels = image_labels(train)
    findings = [i for i in range(len(FINDING_NAMES)) if _enough(labels[:, i], 2 * least)]
    wanted = [i for i in findings if FINDING_NAMES[i] in processor.finding_prompts]
    groups = {"the film ([CLS])": None, "all regions": list(range(len(REGION_NAMES)))}
    groups |= {name: region_subset(words) for name, words in SUBSETS.items()}
    cells: dict[str, list[Cell]] = {name: [] for name in groups}
    probes = {name: _fit(_features(of_train, slots), labels, wanted) for name, slots in groups.items()}
    for test in test_sets(inputs):
        split = inputs.split(test)
        of_test, truth = embeddings(model, processor, split, size, inputs.progress), image_labels(split)
        bootstrap = PatientBootstrap.draw(
            split["patient_id"], num_resamples=int(inputs.settings["bootstrap"]), seed=int(inputs.settings["seed"])
        )
        tested = [i for i in wanted if _enough(truth[:, i], least)]
        for name, slots in groups.items():
            scores = {i: probes[name][i].decision_function(_features(of_test, slots)) for i in tested}
            cells[name].append(_macro(scores, truth, bootstrap))
    rows = [Row(name, found) for name, found in cells.items()]
    head = ["probe of", *(f"AUC, {set_title(inputs, test)}" for test in test_sets(inputs))]
    about = (
        f"Trained on {len(train)} films of the usual look; logistic regression (C = 1) on standardised "
        f"embeddings, of a group their mean. Findings: {', '.join(FINDING_NAMES[i] for i in wanted)}; in a set those "
        f"that at least {least} films have and {least} have not. Chance: 0.5."
    )
    table = Table("Linear probes across sets, by group of regions", head, rows, notes(inputs, about))
    return Outcome(table.numbers, table)


def _enough(labels: FloatArray, least: int) -> bool:
    return min((labels == 1).sum(), (labels == 0).sum()) >= least


def _features(embedded: tuple[FloatArray, FloatArray], slots: list[int] | None) -> FloatArray:
    images, regions = embedded
    return images if slots is None else regions[:, slots].mean(1)


def _fit(features: FloatArray, labels: FloatArray, findings: list[int]) -> dict[int, Any]:
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise ImportError('probing needs scikit-learn: pip install "anatomy-vlm[bench]"') from error
    probes = {}
    for index in findings:
        known = ~np.isnan(labels[:, index])
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        probes[index] = probe.fit(features[known], labels[known, index])
    return probes


def _macro(scores: dict[int, FloatArray], truth: FloatArray, bootstrap: PatientBootstrap) -> Cell:
    if not scores:
        return Cell(float("nan"))
    value = float(nan_mean([roc_auc(truth[:, i], found) for i, found in scores.items()]))
    resampled = np.stack(
        [bootstrap.resample(lambda w, i=i, s=s: roc_auc(truth[:, i], s, w)) for i, s in scores.items()], axis=1
    )
    low, high = percentile_interval(nan_mean(resampled))
    return Cell(value, float(low), float(high))
