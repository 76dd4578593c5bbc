"""The card of a mask writer: what it writes, how it was trained, and how it did beside a U-Net."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from .cards import TAGS


def writer_card(
    structures: Sequence[str],
    training: Mapping[str, Any],
    *,
    title: str = "Anatomy-VLM mask writer",
    model_id: str = "path/to/this/folder",
    tables: Mapping[str, Mapping[str, Any]] | None = None,
    code: bool = True,
) -> str:
    """The text of a model card, YAML header included.

    Args:
        structures: names that the model writes.
        training: what was done, in words or numbers by name.
        title: of the card.
        model_id: folder or Hub id that the examples load.
        tables: summaries of a mask study by test set; the card says so where there are none.
        code: whether the folder brings the code of model and processor.
    """
    header = ModelCardData(
        license="apache-2.0",
        library_name="transformers",
        pipeline_tag="mask-generation",
        language="en",
        tags=[*TAGS, "image-segmentation", "synthetic-data"],
        model_name=title,
        eval_results=_results(tables or {}) or None,
    )
    card = ModelCard.from_template(
        header,
        template_str=files("anatomy_vlm.hub_cards").joinpath("writer_card.md").read_text(encoding="utf-8"),
        title=title,
        model_id=model_id,
        structures=list(structures),
        training=dict(training),
        tables={name: _rows(table) for name, table in (tables or {}).items()},
        code=code,
    )
    return str(card)


def _dice(table: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [row for row in table["scores"] if row["metric"] == "dice" and row["value"] is not None]


def _results(tables: Mapping[str, Mapping[str, Any]]) -> list[EvalResult]:
    return [
        EvalResult(
            task_type="image-segmentation",
            dataset_type="phantom" if name == "synthetic" else name,
            dataset_name=name,
            metric_type="dice",
            metric_name=f"Dice, {row['structure']}",
            metric_value=round(row["value"], 4),
            metric_args={"interval_low": round(row["low"], 4), "interval_high": round(row["high"], 4)},
        )
        for name, table in tables.items()
        for row in _dice(table)
        if row["method"] == "writer" and row["low"] is not None
    ]


def _rows(table: Mapping[str, Any]) -> list[list[str]]:
    """Structure, and Dice with its interval for each network."""
    methods = list(dict.fromkeys(row["method"] for row in table["scores"]))
    cells = {
        (row["structure"], row["method"]): f"{row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f})"
        for row in _dice(table)
        if row["low"] is not None
    }
    rows = [["structure", *methods], ["---"] * (1 + len(methods))]
    return rows + [[name, *(cells.get((name, method), "-") for method in methods)] for name in table["structures"]]


__all__ = ["writer_card"]
