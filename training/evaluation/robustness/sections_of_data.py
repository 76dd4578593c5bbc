"""Sections about data: groups and domains, held-out combinations, the prior, distance between datasets."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from anatomy_vlm.processing.vocabulary import FINDING_NAMES
from anatomy_vlm.training.evaluation.arrays import BoolArray, FloatArray, nan_mean
from anatomy_vlm.training.evaluation.bootstrap import percentile_interval
from anatomy_vlm.training.evaluation.finding_scores import Pairs, region_pairs
from anatomy_vlm.training.evaluation.ranking import roc_auc
from anatomy_vlm.training.evaluation.reader import Reader
from anatomy_vlm.training.evaluation.robustness.combinations import Combination, held_out, stated_combinations
from anatomy_vlm.training.evaluation.robustness.frechet import frechet_distance, split_half_distance
from anatomy_vlm.training.evaluation.robustness.groups import group_gaps
from anatomy_vlm.training.evaluation.robustness.material import Material
from anatomy_vlm.training.evaluation.robustness.report import Row, Section
from anatomy_vlm.training.evaluation.targets import Targets, collect_targets, fit_prior


def groups(material: Material, columns: Sequence[str]) -> Section:
    """Macro AUC of the findings by the values of columns of the dataset."""
    labels, judged = material.targets.image_labels, list(material.judged)

    def macro(labels_: FloatArray, scores: FloatArray, weights: FloatArray) -> FloatArray:
        aucs = [roc_auc(labels[:, c], material.image_margins[:, c], weights) for c in judged]
        return nan_mean(np.stack(aucs, axis=-1)) if aucs else np.full(len(weights), np.nan)

    rows: list[Row] = []
    # Whether a group has events enough is asked of films with any finding; each finding may still lack some.
    anything = np.where((labels == 1).any(axis=1), 1.0, 0.0)
    for column in columns:
        values = [str(value) or "(none)" for value in material.dataset[column]]
        if len(set(values)) < 2:
            continue
        found = group_gaps(
            macro, anything, anything, values, material.bootstrap,
            min_events=material.min_events, confidence=material.confidence,
        )  # fmt: skip
        rows += [
            {
                "column": column, "group": gap.group, "films": values.count(gap.group), "macro_auc": gap.value,
                "low": gap.low, "high": gap.high, "gap_to_rest": gap.gap, "gap_low": gap.gap_low,
                "gap_high": gap.gap_high,
            }
            for gap in found
        ]  # fmt: skip
    about = (
        "Macro AUC of the findings in each group (a scanner domain, a view, ...), and the group minus all others with "
        "the interval of that gap: where it leaves out 0 the groups differ. Many groups make some differ by chance."
    )
    return Section("groups", "Groups and domains", about, tuple(rows))


def prior(material: Material, train: Targets) -> Section:
    """Findings in regions beside the rate at which training states them there."""
    pairs = region_pairs(material.targets, material.region_margins, fit_prior(train))
    rows: list[Row] = []
    for index, name in enumerate(["pooled", *material.findings]):
        chosen = np.ones(len(pairs.labels), bool) if index == 0 else pairs.finding == index - 1
        labels = pairs.labels[chosen]
        patients = material.bootstrap.patient_of_row[pairs.image[chosen]]
        if min((len(np.unique(patients[labels == label])) for label in (0, 1)), default=0) < material.min_events:
            continue
        rows.append(_beside_prior(material, pairs, chosen, name))
    about = (
        "Statements about regions: AUC of the model beside that of the rate at which the training data states the "
        "finding there, which needs no image, and the gain with its paired interval."
    )
    return Section("prior", "Prior without the image", about, tuple(rows))


def _beside_prior(material: Material, pairs: Pairs, chosen: np.ndarray, name: str) -> Row:
    labels, scores, rates = pairs.labels[chosen], pairs.scores[chosen], pairs.prior_scores[chosen]
    resamples = material.bootstrap.resample(
        lambda weights: roc_auc(labels, scores, weights) - roc_auc(labels, rates, weights), pairs.image[chosen]
    )
    low, high = percentile_interval(resamples, material.confidence)
    auc, prior_auc = float(roc_auc(labels, scores)), float(roc_auc(labels, rates))
    return {
        "finding": name, "cases": int(chosen.sum()), "auc": auc, "prior_auc": prior_auc, "gain": auc - prior_auc,
        "low": float(low), "high": float(high),
    }  # fmt: skip


def combinations(material: Material, names: Iterable[Combination], train: Targets | None) -> Section:
    """AUC of statements about combinations that training has seen, and about those that it has not."""
    regions, findings = material.reader.regions, material.findings
    seen = None if train is None else stated_combinations(train, len(regions), len(findings))
    unseen = held_out(names, regions, findings, seen)
    pairs = region_pairs(material.targets, material.region_margins, None)
    is_unseen = unseen[pairs.region, pairs.finding]
    rows = tuple(
        _combination_row(material, pairs, chosen, name)
        for name, chosen in (("seen", ~is_unseen), ("held out", is_unseen))
    )
    about = (
        "Statements about a finding in a region, macro AUC over findings, for combinations of the two that the "
        "training data states to be present anywhere and for those that it never does (or that are named as held out)."
    )
    return Section("combinations", "Held-out combinations of region and finding", about, rows)


def _combination_row(material: Material, pairs: Pairs, chosen: BoolArray, name: str) -> Row:
    findings = [
        finding
        for finding in range(len(material.findings))
        if len(np.unique(pairs.labels[chosen & (pairs.finding == finding)])) == 2
    ]

    def macro(weights: FloatArray) -> FloatArray:
        aucs = [
            roc_auc(pairs.labels[rows], pairs.scores[rows], weights[..., rows])
            for rows in (chosen & (pairs.finding == finding) for finding in findings)
        ]
        return nan_mean(np.stack(aucs, axis=-1)) if aucs else np.full(weights.shape[:-1], np.nan)

    low, high = percentile_interval(material.bootstrap.resample(macro, pairs.image), material.confidence)
    return {
        "combinations": name,
        "findings": len(findings),
        "present": int((pairs.labels[chosen] == 1).sum()),
        "absent": int((pairs.labels[chosen] == 0).sum()),
        "macro_auc": float(macro(np.ones((1, len(pairs.labels))))[0]),
        "low": float(low),
        "high": float(high),
    }


def distances(material: Material, reference: Any, batch_size: int) -> Section:
    """Fréchet distance of region features to those of a reference split, by region."""
    here = embed(material.reader, material.dataset, batch_size)
    there = embed(material.reader, reference, batch_size)
    found = [
        (name, frechet_distance(here[:, slot], there[:, slot]), split_half_distance(there[:, slot]))
        for slot, name in enumerate(material.reader.regions)
    ]
    means = np.array([[distance, own] for _, distance, own in found]).mean(axis=0)
    rows: list[Row] = [
        {"region": name, "distance": distance, "within_reference": own}
        for name, distance, own in [("mean", float(means[0]), float(means[1])), *found]
    ]
    about = (
        f"Squared Fréchet distance between the region embeddings of this dataset ({len(here)} films) and of the "
        f"reference ({len(there)} films); within the reference: between two random halves of it. Few films make both "
        "too large."
    )
    return Section("distance", "Distance between datasets", about, tuple(rows))


def embed(reader: Reader, dataset: Any, batch_size: int) -> FloatArray:
    """(n, R, D), region embeddings of a dataset."""
    images: list[Image.Image] = list(dataset["image"])
    return np.concatenate(
        [reader.embed(images[start : start + batch_size]) for start in range(0, len(images), batch_size)]
    )


def targets_of(material: Material, split: Any) -> Targets:
    """Ground truth of another split for the same findings."""
    return collect_targets(
        split, findings=material.findings, all_findings=FINDING_NAMES, regions=material.reader.regions
    )
