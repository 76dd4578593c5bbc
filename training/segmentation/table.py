"""The table of a study: scores by structure, network and number of training films, with intervals by patient."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from anatomy_vlm.training.evaluation.arrays import FloatArray, weighted_mean
from anatomy_vlm.training.evaluation.bootstrap import PatientBootstrap, percentile_interval
from anatomy_vlm.training.evaluation.paired_tests import holm, paired_bootstrap_test
from anatomy_vlm.training.segmentation.networks import METHODS
from anatomy_vlm.training.segmentation.scores import METRICS


TITLES = {"dice": "Dice", "miou": "mIoU, two classes", "hd95": "HD95, % of the longer side"}


def summarise(
    results: Sequence[Mapping[str, Any]],
    structures: Sequence[str],
    *,
    num_resamples: int = 10_000,
    seed: int = 0,
    baseline: str = "unet",
) -> dict[str, Any]:
    """
    Means over the test films of all folds, with percentile intervals from a bootstrap over patients, and the paired
    differences of Dice to the plain U-Net, with p values by Holm over all of them.

    Args:
        results: Runs of `run_study`.
        structures: In the order of the table.
        num_resamples, seed: Of the bootstrap.
        baseline: The network that the others are compared with, where it is there.

    Returns:
        `scores`: list of {structure, method, films, metric, value, low, high, count}; `differences`: list of
        {structure, method, films, difference, low, high, p, p_holm}; undefined numbers are None.
    """
    cells: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    sizes: dict[str, list[int]] = {}
    for result in results:
        size = "all" if result["all_films"] else str(result["train_films"])
        cells.setdefault((result["method"], size), []).extend(result["films"])
        sizes.setdefault(size, []).append(result["train_films"])
    scores, differences = [], []
    for structure in structures:
        for (method, size), rows in cells.items():
            bootstrap = PatientBootstrap.draw([row["patient"] for row in rows], num_resamples=num_resamples, seed=seed)
            for metric in METRICS:
                values = _values(rows, structure, metric)
                interval = percentile_interval(bootstrap.resample(lambda w, v=values: weighted_mean(v, w)))  # type: ignore[misc]
                scores.append(
                    {
                        "structure": structure,
                        "method": method,
                        "films": size,
                        "metric": metric,
                        "value": _number(float(weighted_mean(values))),
                        "low": _number(float(interval[0])),
                        "high": _number(float(interval[1])),
                        "count": int((~np.isnan(values)).sum()),
                    }
                )
            if method != baseline and (baseline, size) in cells:
                differences.append(_difference(rows, cells[baseline, size], structure, method, size, bootstrap))
    for row, adjusted in zip(differences, holm([_nan(row["p"]) for row in differences]) if differences else ()):
        row["p_holm"] = _number(float(adjusted))
    return {
        "structures": list(structures),
        "train_films": {size: sorted(set(counts)) for size, counts in sizes.items()},
        "test_films": max(len(rows) for rows in cells.values()),
        "learning_rates": [
            {key: result[key] for key in ("method", "fold", "learning_rate", "validation_dice_by_learning_rate")}
            for result in results
            if result["all_films"] or len(sizes) == 1
        ],
        "scores": scores,
        "differences": differences,
    }


def to_markdown(summary: Mapping[str, Any]) -> str:
    """One table per metric, and one of the differences."""
    sizes = list(summary["train_films"])
    parts = []
    for metric in METRICS:
        header = ["structure", "network", *(f"{_films(size, summary)}" for size in sizes)]
        rows = [
            [structure, _title(method), *(_cell(summary, structure, method, size, metric) for size in sizes)]
            for structure in summary["structures"]
            for method in _methods(summary)
        ]
        parts.append(f"**{TITLES[metric]}** (mean, 95 % interval by patient)\n\n{_table(header, rows)}")
    if summary["differences"]:
        header = ["structure", "network", *(f"{_films(size, summary)}" for size in sizes)]
        rows = [
            [structure, _title(method), *(_gain(summary, structure, method, size) for size in sizes)]
            for structure in summary["structures"]
            for method in _methods(summary)
            if any(row["method"] == method for row in summary["differences"])
        ]
        parts.append(
            "**Dice minus that of the plain U-Net** (paired, 95 % interval by patient; * below 0.05 after Holm)\n\n"
            + _table(header, rows)
        )
    return "\n\n".join(parts) + "\n"


def to_latex(summary: Mapping[str, Any]) -> str:
    """The same numbers as one `tabular` per metric."""
    sizes = list(summary["train_films"])
    parts = []
    for metric in METRICS:
        lines = [
            f"% {TITLES[metric]}",
            rf"\begin{{tabular}}{{ll{'r' * len(sizes)}}}",
            r"\hline",
            " & ".join(["structure", "network", *(_films(size, summary) for size in sizes)]) + r" \\",
            r"\hline",
        ]
        for structure in summary["structures"]:
            for method in _methods(summary):
                cells = (_cell(summary, structure, method, size, metric).replace(" to ", "--") for size in sizes)
                name = re.sub(r"([&%$#_{}])", r"\\\1", structure)
                lines.append(" & ".join([name, _title(method), *cells]) + r" \\")
            lines.append(r"\hline")
        parts.append("\n".join([*lines, r"\end{tabular}"]))
    return "\n\n".join(parts) + "\n"


def _values(rows: Sequence[Mapping[str, Any]], structure: str, metric: str) -> FloatArray:
    return np.array([_nan(row[structure][metric]) for row in rows])


def _difference(rows, baseline, structure, method, size, bootstrap) -> dict[str, Any]:
    other = {row["film"]: row for row in baseline}
    first = _values(rows, structure, "dice")
    second = _values([other[row["film"]] for row in rows], structure, "dice")
    # A film counts where both have a value.
    known = ~np.isnan(first - second)
    first, second = np.where(known, first, np.nan), np.where(known, second, np.nan)
    test = paired_bootstrap_test(lambda w: weighted_mean(first, w), lambda w: weighted_mean(second, w), bootstrap)
    return {
        "structure": structure,
        "method": method,
        "films": size,
        "difference": _number(test.difference),
        "low": _number(test.low),
        "high": _number(test.high),
        "p": _number(test.p_value),
    }


def _title(method: str) -> str:
    return METHODS.get(method, method)


def _methods(summary: Mapping[str, Any]) -> list[str]:
    there = list(dict.fromkeys(row["method"] for row in summary["scores"]))
    known = [method for method in METHODS if method in there]
    return known + [method for method in there if method not in METHODS]


def _films(size: str, summary: Mapping[str, Any]) -> str:
    counts = summary["train_films"][size]
    number = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"all ({number}) films" if size == "all" else f"{number} films"


def _cell(summary: Mapping[str, Any], structure: str, method: str, size: str, metric: str) -> str:
    wanted = (structure, method, size, metric)
    for row in summary["scores"]:
        if (row["structure"], row["method"], row["films"], row["metric"]) == wanted and row["value"] is not None:
            digits = 1 if metric == "hd95" else 3
            interval = "" if row["low"] is None else f" ({row['low']:.{digits}f} to {row['high']:.{digits}f})"
            return f"{row['value']:.{digits}f}{interval}"
    return "-"


def _gain(summary: Mapping[str, Any], structure: str, method: str, size: str) -> str:
    for row in summary["differences"]:
        if (row["structure"], row["method"], row["films"]) == (structure, method, size) and row["low"] is not None:
            star = "*" if row["p_holm"] is not None and row["p_holm"] < 0.05 else ""
            return f"{row['difference']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f}){star}"
    return "-"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _nan(value: float | None) -> float:
    return math.nan if value is None else value
