"""Sections about texts and sides: negation, paraphrases, laterality."""

import numpy as np

from anatomy_vlm.training.evaluation.arrays import FloatArray, nan_mean
from anatomy_vlm.training.evaluation.bootstrap import percentile_interval
from anatomy_vlm.training.evaluation.ranking import roc_auc
from anatomy_vlm.training.evaluation.robustness.laterality import (
    SidedPairs,
    flip_consistency,
    laterality_margins,
    right_side_share,
    sided_pairs,
)
from anatomy_vlm.training.evaluation.robustness.material import Material
from anatomy_vlm.training.evaluation.robustness.negation import negation_ledger
from anatomy_vlm.training.evaluation.robustness.prompt_sensitivity import prompt_sensitivity
from anatomy_vlm.training.evaluation.robustness.report import Row, Section


def negation(material: Material) -> Section:
    """The negation ledger by finding and its macro mean, on the logits of single texts for the whole film."""
    rows: list[Row] = []
    resampled: list[FloatArray] = []
    for column, name in enumerate(material.findings):
        if not material.reader.processor.finding_prompts[name]["negative"] or not material.enough(column):
            continue
        labels = material.targets.image_labels[:, column]
        states = material.prompt_logits(name, "positive").mean(axis=1)
        denies = material.prompt_logits(name, "negative").mean(axis=1)
        ledger = negation_ledger(labels, states, denies)
        resamples = material.bootstrap.resample(lambda weights, y=1 - labels, s=denies: roc_auc(y, s, weights))
        resampled.append(resamples)
        low, high = percentile_interval(resamples, material.confidence)
        rows.append(
            {
                "finding": name,
                "positive_auc": float(ledger.positive_auc),
                "negated_auc": float(ledger.negated_auc),
                "low": float(low),
                "high": float(high),
                "paired_auc": float(ledger.paired_auc),
                "swap_consistency": float(ledger.swap_consistency),
            }
        )
    if rows:
        low, high = percentile_interval(nan_mean(np.stack(resampled, axis=1)), material.confidence)
        means = {
            key: float(nan_mean([float(row[key]) for row in rows]))
            for key in ("positive_auc", "negated_auc", "paired_auc", "swap_consistency")
        }
        macro: Row = {
            "finding": "macro", "positive_auc": means["positive_auc"], "negated_auc": means["negated_auc"],
            "low": float(low), "high": float(high), "paired_auc": means["paired_auc"],
            "swap_consistency": means["swap_consistency"],
        }  # fmt: skip
        rows = [macro, *rows]
    about = (
        "Logits of single texts for the film, mean over wordings. Negated AUC: of the texts that deny the finding, "
        "against its absence, with its interval; below 0.5 the word is read and the 'no' is not. Paired AUC: of the "
        "difference of both. Swap consistency: pairs of films that both prompts order rightly; 0.25 is chance."
    )
    return Section("negation", "Negation ledger", about, tuple(rows))


def paraphrases(material: Material) -> Section:
    """Sensitivity to the wording, of positive and negative prompts."""
    rows: list[Row] = []
    for column in material.judged:
        name = material.findings[column]
        labels = material.targets.image_labels[:, column]
        for side, truth in (("positive", labels), ("negative", 1 - labels)):
            if len(material.reader.processor.finding_prompts[name][side]) < 2:
                continue
            found = prompt_sensitivity(truth, material.prompt_logits(name, side))
            rows.append(
                {
                    "finding": name,
                    "prompts": side,
                    "wordings": len(found.auc),
                    "lowest_auc": min(found.auc),
                    "highest_auc": max(found.auc),
                    "ensemble_auc": found.ensemble_auc,
                    "agreement": found.agreement,
                    "flips": found.flips,
                }
            )
    about = (
        "AUC of each wording of one statement on its own. Agreement: mean rank correlation of a wording with the "
        "others. Flips: films that some wordings, but not all, rank among the positives."
    )
    return Section("paraphrases", "Prompt sensitivity", about, tuple(rows))


def laterality(material: Material) -> Section:
    """Margin of the true side by finding, and consistency under a flip."""
    rows: list[Row] = []
    pairs = sided_pairs(material.targets, material.mirror)
    margins = laterality_margins(material.region_margins, pairs)
    names = ["all findings", *material.findings]
    for index, name in enumerate(names):
        chosen = np.ones(len(margins), bool) if index == 0 else pairs.finding == index - 1
        patients = np.unique(material.bootstrap.patient_of_row[pairs.image[chosen]])
        if len(patients) == 0:
            continue
        low = high = np.nan
        if len(patients) >= material.min_events:
            resamples = material.bootstrap.resample(
                lambda weights, values=margins[chosen]: right_side_share(values, weights), pairs.image[chosen]
            )
            low, high = percentile_interval(resamples, material.confidence)
        rows.append(
            {
                "finding": name,
                "pairs": int(chosen.sum()),
                "mean_margin": float(margins[chosen].mean()),
                "right_side": float(right_side_share(margins[chosen])),
                "low": float(low),
                "high": float(high),
            }
        )
    about = (
        "Findings present in a region of one side and stated to be absent in its mirror image: score (margin) of the "
        "true side minus that of the other. Right side: share of such pairs with the true side ahead; 0.5 is chance."
    )
    return Section("laterality", "Laterality margin", about, tuple(rows))


def flips(material: Material) -> Section:
    """Films mirrored left to right: answers have to change sides with them."""
    mirrored = material.read([np.ascontiguousarray(film[:, ::-1]) for film in material.films])
    scores = material.readings.region_scores[:, :, material.columns]
    found = flip_consistency(scores, mirrored.region_scores[:, :, material.columns], material.mirror)
    changed = np.abs(material.readings.image_scores - mirrored.image_scores)[:, material.columns]
    pairs = sided_pairs(material.targets, material.mirror)
    # In the mirrored film the finding lies in the mirrored region.
    exchanged = SidedPairs(pairs.image, pairs.finding, pairs.mirrored, pairs.region)
    mirrored_margins = mirrored.region_margins[:, :, material.columns]
    row: Row = {
        "one_sided": len(pairs.image),
        "right_side": float(right_side_share(laterality_margins(material.region_margins, pairs))),
        "right_side_mirrored": float(right_side_share(laterality_margins(mirrored_margins, exchanged))),
        "side_preference": found.side_preference,
        "difference_in_regions": found.score_difference,
        "difference_in_film": float(changed.mean()),
    }
    about = (
        "The film mirrored against the film. Right side: one-sided findings with the true side ahead, in the film and "
        "in the mirrored film, where it is the other one. Side preference: how often the preferred one of any two "
        "paired regions changes with the film, findings or not; 1 at best, 0.5 where a fixed preference decides. "
        "Differences: mean absolute change of a score between a region and its mirror image, and of the film's own. A "
        "mirrored chest is no usual chest (the heart is on the wrong side), so some difference is expected."
    )
    return Section("flips", "Flip consistency", about, (row,))
