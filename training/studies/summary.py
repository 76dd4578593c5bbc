"""What a study says: means over seeds with t-intervals, and paired differences from the reference."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from anatomy_vlm.training.receipts.errors import ReceiptError
from anatomy_vlm.training.receipts.receipt import Receipt, load_receipt
from anatomy_vlm.training.studies.study import Study
from anatomy_vlm.training.tables.table import Cell, Row, Table


@dataclass(frozen=True)
class SeedScores:
    """
    Scores of the runs of a study.

    Args:
        values: By variant, seed and name of the score.
        receipts: The receipts that they are from.
    """

    values: Mapping[str, Mapping[int, Mapping[str, float]]]
    receipts: Sequence[Receipt]

    def of(self, variant: str, score: str) -> dict[int, float]:
        """Values of a score by seed; empty where the variant has none."""
        runs = self.values.get(variant, {})
        return {seed: run[score] for seed, run in runs.items() if score in run}


def collect_scores(receipts: Iterable[Receipt]) -> SeedScores:
    """
    The scores of receipts of the task "study-run".

    Raises:
        ReceiptError: another task, two receipts of one run, or runs on different test films.
    """
    found = list(receipts)
    values: dict[str, dict[int, dict[str, float]]] = {}
    for receipt in found:
        if receipt.task != "study-run":
            raise ReceiptError(f"a receipt of the task '{receipt.task}' is none of a run of a study")
        runs = values.setdefault(str(receipt.settings["variant"]), {})
        seed = int(receipt.settings["seed_of_training"])
        if seed in runs:
            raise ReceiptError(f"two receipts of {receipt.settings['variant']} with seed {seed}")
        runs[seed] = {item.name: item.value for item in receipt.numbers if item.value is not None}
    if len({receipt.data["test"]["ids"] for receipt in found}) > 1:
        raise ReceiptError("the receipts are from different test films; compare runs of one study")
    return SeedScores(values, found)


def receipts_in(folder: Path) -> list[Receipt]:
    """Receipts of a study's folder (`runs/*/receipt.json`) or of a folder of receipts. Raises `ReceiptError`."""
    paths = sorted(folder.glob("runs/*/receipt.json")) or sorted(folder.glob("*.json"))
    if not paths:
        raise ReceiptError(f"{folder}: no receipts of a study; `anatomy-vlm study ablation --out {folder}` makes them")
    return [load_receipt(path) for path in paths]


def t_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """
    Mean and Student's interval over seeds; no interval for a single one.

    >>> [round(x, 3) for x in t_interval([0.80, 0.82, 0.84])]
    [0.82, 0.77, 0.87]
    """
    array = np.asarray(values, dtype=np.float64)
    if len(array) == 0:
        return math.nan, math.nan, math.nan
    mean = float(array.mean())
    if len(array) == 1:
        return mean, math.nan, math.nan
    half = float(stats.t.ppf((1 + confidence) / 2, len(array) - 1) * array.std(ddof=1) / math.sqrt(len(array)))
    return mean, mean - half, mean + half


def score_table(study: Study, scores: SeedScores, names: Sequence[str], title: str) -> Table:
    """Variants by scores: mean and interval over seeds."""
    rows = []
    for variant in study.variants:
        if variant.name in scores.values:
            cells = [Cell(*t_interval(list(scores.of(variant.name, name).values()))) for name in names]
            rows.append(Row(variant.title or variant.name, [*cells, str(len(scores.values[variant.name]))]))
    return Table(title, ["variant", *names, "seeds"], rows, _notes(study, scores))


def difference_table(study: Study, scores: SeedScores, names: Sequence[str], title: str) -> Table:
    """Variants minus the reference, paired by seed: same initialisation, sampling order and films."""
    reference = study.variant(study.reference)
    rows = [
        Row(variant.title or variant.name, [_difference(scores, variant.name, reference.name, n) for n in names])
        for variant in study.variants
        if variant.name in scores.values and variant.name != reference.name
    ]
    about = (
        f"Minus '{reference.title or reference.name}', paired by seed. An interval that holds 0 does not show a "
        "difference; with three seeds it is wide."
    )
    return Table(title, ["variant", *names], rows, [about])


def answers(study: Study, scores: SeedScores, names: Sequence[str]) -> list[str]:
    """
    A sentence per question of the study: the paired differences, and whether their intervals leave out 0.

    Questions about a variant without runs are left out.
    """
    found = []
    for question in study.questions:
        cells = {name: _difference(scores, question.of, question.without, name) for name in names}
        for name, other in question.against.items():
            if name in names:
                cells[f"{name} against {other}"] = _difference(scores, question.of, question.without, name, other)
        told = {name: cell for name, cell in cells.items() if not math.isnan(cell.value)}
        if told:
            listed = "; ".join(f"{name} {_signed(cell)}" for name, cell in told.items())
            found.append(f"{question.ask} {_verdict(told)} ({question.of} minus {question.without}: {listed}).")
    return found


def _verdict(cells: Mapping[str, Cell]) -> str:
    """Which of the differences are shown to be above or below 0."""
    better = [name for name, cell in cells.items() if cell.low > 0]
    worse = [name for name, cell in cells.items() if cell.high < 0]
    parts = [f"it raises {', '.join(better)}"] * bool(better) + [f"it lowers {', '.join(worse)}"] * bool(worse)
    text = " and ".join(parts) or "no difference is shown"
    return text[0].upper() + text[1:]


def _signed(cell: Cell) -> str:
    value, interval = Cell(abs(cell.value)).parts[0], cell.parts[1]
    sign = "" if float(value) == 0 else "-" if cell.value < 0 else "+"
    return f"{sign}{value}" + (f" ({interval})" if interval else "")


def _difference(scores: SeedScores, variant: str, reference: str, name: str, against: str | None = None) -> Cell:
    one, other = scores.of(variant, name), scores.of(reference, against or name)
    return Cell(*t_interval([one[seed] - other[seed] for seed in sorted(one.keys() & other.keys())]))


def _notes(study: Study, scores: SeedScores) -> list[str]:
    settings = scores.receipts[0].settings
    test = scores.receipts[0].data["test"]
    missing = [
        f"{variant.title or variant.name} with seed {seed}"
        for variant in study.variants
        for seed in study.seeds
        if seed not in scores.values.get(variant.name, {})
    ]
    steps = sorted({int(receipt.settings["optimizer_steps"]) for receipt in scores.receipts})
    return [
        f"Mean (95 % t-interval) over seeds of initialisation, sampling and augmentation; one set of films, "
        f"{test['images']} test films of {test['patients']} patients. Each run: {study.epochs:g} epochs, "
        f"{', '.join(map(str, steps))} optimizer steps. The intervals do not hold the chance of which films were "
        "drawn. A dash: a head that the variant does not train.",
        *(["Synthetic films; nothing here is clinical."] if test["loader"] == "phantom" else []),
        *([f"Not run: {', '.join(missing)}."] if missing else []),
        *([] if settings.get("study") == study.name else [f"The receipts are of the study {settings.get('study')}."]),
    ]
