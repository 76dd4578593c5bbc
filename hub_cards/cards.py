"""Model cards: from plain data (recipe, evaluation) to the `README.md` of a Hub folder."""

import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from .card_parts import Energy, base_models, licence, receipt_rows, robustness_tables


TAGS = ["anatomy-vlm", "chest-x-ray", "radiology", "medical-imaging", "object-detection", "image-feature-extraction"]
# Task, metric and name of the scores that a card leads with, their titles, and the task as the Hub calls it.
HEADLINES = (
    ("region boxes", "mean_iou", "mean", "Box IoU, mean over regions", "object-detection"),
    ("region boxes", "mean_iou_gain", "mean", "Box IoU minus that of the prior box", "object-detection"),
    ("region boxes", "map_50", "mean", "Box mAP at IoU 0.50", "object-detection"),
    ("image findings", "roc_auc", "macro", "AUC of findings in the film, macro", "zero-shot-image-classification"),
    ("image findings", "f1", "macro", "F1 of findings in the film, macro", "zero-shot-image-classification"),
    ("region findings", "roc_auc", "pooled", "AUC of findings in regions, pooled", "zero-shot-image-classification"),
    ("region findings", "roc_auc", "macro", "AUC of findings in regions, macro", "zero-shot-image-classification"),
)
PHANTOM = "synthetic phantom"
# A name on the Hub; folders of a machine are not named to its readers as such.
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def model_card(
    recipe: Mapping[str, Any],
    result: Mapping[str, Any] | None = None,
    *,
    title: str = "",
    model_id: str = "path/to/this/folder",
    sizes: Mapping[str, str] | None = None,
    versions: Mapping[str, str] | None = None,
    calibrated: bool = False,
    code: bool = True,
    sections: Mapping[str, str] | None = None,
    robustness: Mapping[str, Any] | None = None,
    energy: Energy | None = None,
    receipts: Mapping[str, Mapping[str, Any]] | None = None,
) -> str:
    """The text of a model card, YAML header included.

    Args:
        recipe: what was trained, as `Recipe.to_dict()`.
        result: how it was evaluated, as `EvaluationResult.to_dict()`; the card says so where it was not.
        title: of the card; from the recipe's name by default.
        model_id: folder or Hub id that the examples load.
        sizes: size of each split in words, by its name.
        versions: of the libraries, by name.
        calibrated: whether the processor holds a calibration of the scores.
        code: whether the folder brings the code of model and processor.
        sections: further results, Markdown by title, after the evaluation.
        robustness: how it reads "no", left and right, as `RobustnessReport.to_dict()`; the card says so where that
            was not measured.
        energy: what the training drew; the card makes no estimate of CO2 without it.
        receipts: of evaluations, by the names of their files in the folder.

    Raises:
        ValueError: `robustness` is no such report.
    """
    synthetic = recipe["data"]["loader"] == "phantom"
    shown = [] if result is None else _headlines(result)
    terms, bases = licence(recipe), base_models(recipe)
    further: dict[str, Any] = {}
    if terms == "other":
        further |= {"license_name": "that-of-the-base-models", "license_link": "README.md"}
    if energy is not None:
        further["co2_eq_emissions"] = energy.metadata()
    header = ModelCardData(
        license=terms,
        base_model=[name for name in bases if _HUB_ID.fullmatch(name)] or None,
        library_name="transformers",
        pipeline_tag="zero-shot-image-classification",
        language="en",
        tags=[*TAGS, *["synthetic-data"] * synthetic],
        model_name=recipe["name"],
        eval_results=[_eval_result(score, name, task, recipe) for score, name, task in shown] or None,
        **further,
    )
    card = ModelCard.from_template(
        header,
        template_str=files("anatomy_vlm.hub_cards").joinpath("model_card.md").read_text(encoding="utf-8"),
        title=title or f"Anatomy-VLM: {recipe['name']}",
        summary=_summary(recipe),
        synthetic=synthetic,
        model_id=model_id,
        recipe=recipe,
        recipe_yaml=yaml.safe_dump(dict(recipe), sort_keys=False).strip(),
        stage_settings=[_settings(stage["training"]) for stage in recipe["stages"]],
        text_encoder=_text_encoder(recipe["model"]["text"]),
        sizes=dict(sizes or {}),
        calibrated=calibrated,
        code=code,
        sections=dict(sections or {}),
        bases=bases,
        own_terms=terms != "other",
        robustness=None if robustness is None else robustness_tables(robustness),
        energy=energy,
        receipts=receipt_rows(receipts or {}),
        result=result,
        confidence=None if result is None else f"{100 * result['settings']['confidence']:g}",
        headlines=[[name, *_cells(score), _number(score["baseline"])] for score, name, _ in shown],
        findings=[] if result is None else _finding_rows(result),
        versions=", ".join(f"{name} {version}" for name, version in (versions or {}).items()),
    )
    return str(card)


def _summary(recipe: Mapping[str, Any]) -> str:
    side = recipe["model"]["vision"].get("image_size")
    size = f", read at {side} x {side} pixels" if side else ""
    return (
        f"A vision-language model of chest radiographs on Transformers{size}: the boxes of 29 named regions, and "
        "zero-shot scores of texts for the film and for each region."
    )


def _headlines(result: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], str, str]]:
    """Score, title and task of the headlines that the evaluation has a number for."""
    scores = {(score["task"], score["metric"], score["name"]): score for score in result["scores"]}
    return [
        (scores[key], title, hub_task)
        for *key_parts, title, hub_task in HEADLINES
        if (key := tuple(key_parts)) in scores and scores[key]["value"] is not None
    ]


def _eval_result(score: Mapping[str, Any], title: str, hub_task: str, recipe: Mapping[str, Any]) -> EvalResult:
    loader = recipe["data"]["loader"]
    return EvalResult(
        task_type=hub_task,
        dataset_type="phantom" if loader == "phantom" else loader,
        dataset_name=PHANTOM if loader == "phantom" else loader,
        dataset_split=recipe["data"]["test"],
        metric_type=score["metric"],
        metric_name=title,
        metric_value=round(score["value"], 4) + 0.0,  # no -0.0
        metric_args=None
        if score["low"] is None
        else {"interval_low": round(score["low"], 4), "interval_high": round(score["high"], 4)},
    )


def _finding_rows(result: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for score in result["scores"]:
        threshold = result["thresholds"].get(score["name"])
        if score["task"] == "image findings" and score["metric"] == "roc_auc" and threshold:
            counts = f"{score['positives']} / {score['negatives']}"
            rows.append([score["name"], *_cells(score), _number(threshold["value"]), str(threshold["source"]), counts])
    return rows


def _cells(score: Mapping[str, Any]) -> list[str]:
    between = "-" if score["low"] is None else f"{_number(score['low'])} to {_number(score['high'])}"
    return [_number(score["value"]), between]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items()) or "-"


def _text_encoder(spec: Mapping[str, Any]) -> str:
    if spec.get("scratch"):
        return "a BERT with random weights"
    return f"`{spec.get('name') or spec.get('package')}`, which has a licence of its own"


__all__ = ["model_card"]
