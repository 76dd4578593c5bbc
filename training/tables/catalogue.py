"""The tables by name: which task each is, and what it is measured on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anatomy_vlm.training.receipts.errors import ReceiptError
from anatomy_vlm.training.receipts.tasks import SplitSource, TaskInputs
from anatomy_vlm.training.tables.options import SETTINGS
from anatomy_vlm.training.tables.sources import films_by_look, folder_films, mixed_films


@dataclass(frozen=True)
class TableKind:
    """
    Args:
        task: Name of its task, see `anatomy_vlm.training.receipts.tasks`.
        about: One line.
        films: Which films it is measured on: "mixed", "looks" (each look by itself), "both", or "runs" of a study.
    """

    task: str
    about: str
    films: str


TABLES: Mapping[str, TableKind] = {
    "zero-shot": TableKind("table-zero-shot", "findings in the film, on usual films and on others", "both"),
    "regions": TableKind("table-regions", "findings in each of 29 regions", "mixed"),
    "detection": TableKind("table-detection", "boxes: IoU and mAP", "mixed"),
    "queries": TableKind("table-queries", "attention of each query against its box", "mixed"),
    "probing": TableKind("table-probing", "linear probes across sets, by group of regions", "looks"),
    "ablation": TableKind("table-study", "the losses and their order, from the runs of a study", "runs"),
    "hard-negatives": TableKind("table-study", "hard negatives on and off, from the runs of a study", "runs"),
}


def table_inputs(
    name: str,
    model: str | None,
    *,
    data: Mapping[str, Path] | None = None,
    patients: int = 500,
    runs: str | None = None,
    study: str = "ablation",
    settings: Mapping[str, Any] | None = None,
    **options: Any,
) -> TaskInputs:
    """
    What a table is made from.

    Args:
        name: Of `TABLES`.
        model: Folder or Hub id.
        data: Dataset folders by the name that they get in the table; they are tested on beside the synthetic films,
            whose validation films give thresholds and prior boxes.
        patients: Synthetic patients of the mixed films; a fifth of them of each look.
        runs: Folder of a study or of its receipts.
        study: File or name of that study.
        settings: Over `SETTINGS`.
        options: Further ones of `TaskInputs`.

    Raises:
        ReceiptError: an unknown table, one that cannot be made of `data`, or no runs.
    """
    if name not in TABLES:
        raise ReceiptError(f"unknown table '{name}'; there are {', '.join(TABLES)}")
    kind = TABLES[name]
    if kind.films == "runs":
        if runs is None:
            raise ReceiptError(f"table {name}: name the folder of a study or of its receipts by --runs")
        return TaskInputs(None, {}, {"study": study, "part": name, "runs": runs}, **options)
    films: dict[str, SplitSource] = {}
    if kind.films in ("mixed", "both"):
        films |= mixed_films(patients)
    if kind.films in ("looks", "both"):
        looks = films_by_look(max(1, patients // 5))
        if kind.films == "both":
            del looks["train"]
        films |= looks
    if data and name in ("queries", "regions"):
        raise ReceiptError(f"table {name}: is made of one test set; leave out --data")
    for title, folder in (data or {}).items():
        films[title] = folder_films(folder)["test"]
    return TaskInputs(model, films, {**SETTINGS, **(settings or {})}, **options)
