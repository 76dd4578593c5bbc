"""Evidence for the findings of one film: regions, what masking them does to the score, maps and their faithfulness."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from anatomy_vlm.hub_cards import REFERENCE_MODEL
from anatomy_vlm.neighbours import RegionIndex
from anatomy_vlm.prediction import FileReading, FilmSource, Predictor
from anatomy_vlm.processing.letterbox_anatomy_vlm import fit_letterbox
from anatomy_vlm.records import Record
from anatomy_vlm.training.evaluation.faithfulness import box_mask, curve_area, deletion_insertion, fill_from_around
from anatomy_vlm.training.evaluation.reader import Reader


EVIDENCE_VERSION = "1.0"
_BATCH = 16
# Longest side of the film that is masked and read again; larger than the input of any model here.
_LONGEST = 448


@dataclass(frozen=True)
class EvidenceSettings:
    """What to look for.

    Attributes:
        findings: names; None takes those that are called, the surest first, or else the likeliest one.
        max_findings: at most so many.
        steps: of the deletion and insertion curves.
        random_orders: to compare the maps' curves with.
        neighbours: films of the index to show for the cited region.
        seed: of the random orders.
    """

    findings: Sequence[str] | None = None
    max_findings: int = 3
    steps: int = 10
    random_orders: int = 5
    neighbours: int = 5
    seed: int = 0


@dataclass(frozen=True)
class Evidence:
    """A card's record, its film, and the maps (rows, columns) on the film by finding and kind."""

    record: Record
    reading: FileReading
    maps: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)


def evidence(
    image: str | Path,
    *,
    model: str | Path = REFERENCE_MODEL,
    device: str | None = None,
    force: bool = False,
    index: str | Path | None = None,
    settings: EvidenceSettings | None = None,
) -> Record:
    """The evidence card of a film as plain data.

    Args:
        image: a file.
        model: a folder or a Hub id.
        device: of PyTorch.
        force: show evidence even where the findings are withheld.
        index: of `anatomy-vlm index`, for the nearest neighbours of the cited region.
        settings: what to look for.

    Returns:
        `version`, `reading` (a record of `prediction_schema.json`) and `findings`: per finding its score, `regions`
        with the score when each is masked, the `cited_region`, `maps` with deletion and insertion, `neighbours`.

    Raises:
        ValueError: a film that cannot be read, a finding that the model does not know, or an index of another model.
    """
    predictor = Predictor.load(model, device=device, force=force)
    return gather_evidence(predictor, image, None if index is None else RegionIndex.load(index), settings).record


def gather_evidence(
    predictor: Predictor,
    image: FilmSource,
    index: RegionIndex | None = None,
    settings: EvidenceSettings | None = None,
) -> Evidence:
    """`evidence` with a loaded checkpoint and index, and with the pictures' data."""
    chosen = settings or EvidenceSettings()
    reading = next(iter(predictor.read_files([image])))
    if reading.film is None:
        raise ValueError(f"{reading.record['file']}: {reading.record['error']}")
    record: Record = {"version": EVIDENCE_VERSION, "reading": reading.record, "findings": []}
    if reading.record["quality"]["findings_withheld"]:
        return Evidence(record, reading)
    film = _reduced(reading.film)
    maps: dict[str, dict[str, np.ndarray]] = {}
    masked = _Masked.read(predictor, film, reading.film)
    for name in _chosen(predictor, reading.record, chosen):
        item, shown = _finding(predictor, film, masked, name, chosen)
        if index is not None:
            region = item["cited_region"]
            embed = predictor.reader.embed([reading.film])[0, predictor.reader.regions.index(region)]
            item["neighbours"] = index.nearest(embed, region, chosen.neighbours, model=predictor.name)
        record["findings"].append(item)
        maps[name] = shown
    return Evidence(record, reading, maps)


@dataclass(frozen=True)
class _Masked:
    """The film read whole and without each region: scores and margins (1 + R, F), boxes (R, 4) in pixels of the
    original film, region scores (R, F)."""

    scores: np.ndarray
    margins: np.ndarray
    boxes: np.ndarray
    region_scores: np.ndarray

    @classmethod
    def read(cls, predictor: Predictor, film: np.ndarray, original: Image.Image) -> "_Masked":
        whole = predictor.reader.read([Image.fromarray(film)])
        without = [fill_from_around(film, box_mask(film.shape, box)) for box in whole.boxes[0]]
        scores, margins = _scores(predictor.reader, without)
        return cls(
            np.concatenate([whole.image_scores, scores]),
            np.concatenate([whole.image_margins, margins]),
            whole.boxes[0] * np.tile([original.width / film.shape[1], original.height / film.shape[0]], 2),
            whole.region_scores[0],
        )


def _finding(
    predictor: Predictor, film: np.ndarray, masked: _Masked, name: str, settings: EvidenceSettings
) -> tuple[Record, dict[str, np.ndarray]]:
    reader = predictor.reader
    column = reader.findings.index(name)
    regions = _masked_regions(predictor, masked, name, column)
    plausible = [item for item in regions if item["plausible"]] or regions
    cited = plausible[0]["name"]
    slot = reader.regions.index(cited)
    patches = reader.patch_maps(Image.fromarray(film), [slot])
    cells, grid = _cells(reader, film.shape, patches.attention.shape[1:])
    weights = {"attention": patches.attention[0], "similarity": patches.margins[0, column]}

    def score(films: Sequence[np.ndarray]) -> np.ndarray:
        return _scores(reader, films)[0][:, column]

    def curves(order: np.ndarray) -> Record:
        deletion, insertion = deletion_insertion(film, cells, order, score, settings.steps)
        return {
            "deletion": _rounded(deletion),
            "insertion": _rounded(insertion),
            "deletion_auc": round(curve_area(deletion), 4),
            "insertion_auc": round(curve_area(insertion), 4),
        }

    rng = np.random.default_rng(settings.seed)
    drawn = [curves(rng.permutation(len(grid))) for _ in range(settings.random_orders)]
    maps: Record = {
        kind: {**curves(np.argsort(-values.ravel()[grid], kind="stable")), "grid": [_rounded(row) for row in values]}
        for kind, values in weights.items()
    }
    maps["random"] = {
        **{key: _rounded(np.mean([item[key] for item in drawn], axis=0)) for key in ("deletion", "insertion")},
        **{key: round(float(np.mean([item[key] for item in drawn])), 4) for key in ("deletion_auc", "insertion_auc")},
        **{
            f"{key}_sd": round(float(np.std([item[key] for item in drawn])), 4)
            for key in ("deletion_auc", "insertion_auc")
        },
        "orders": settings.random_orders,
    }
    item: Record = {
        "name": name,
        "score": round(float(masked.scores[0, column]), 6),
        "cited_region": cited,
        # Does the score fall at all without it? If not, no plausible region carries the call alone.
        "cited_carries": bool(plausible[0]["margin_change"] < 0),
        "regions": regions,
        "maps": maps,
    }
    return item, {kind: values.ravel()[grid][cells] for kind, values in weights.items()}


def _masked_regions(predictor: Predictor, masked: _Masked, name: str, column: int) -> list[Record]:
    """Regions by what taking each out does to the margin of the film, the largest loss first."""
    rows = []
    for slot, region in enumerate(predictor.reader.regions):
        before, after = masked.scores[0, column], masked.scores[1 + slot, column]
        rows.append(
            {
                "name": region,
                "box": _rounded(masked.boxes[slot], 2),
                "plausible": predictor.is_plausible(name, region),
                "score_in_region": round(float(masked.region_scores[slot, column]), 6),
                "score_without": round(float(after), 6),
                "change": round(float(after - before), 6),
                "margin_change": round(float(masked.margins[1 + slot, column] - masked.margins[0, column]), 4),
            }
        )
    return sorted(rows, key=lambda row: row["margin_change"])


def _chosen(predictor: Predictor, record: Record, settings: EvidenceSettings) -> list[str]:
    if settings.findings is not None:
        unknown = [name for name in settings.findings if name not in predictor.reader.findings]
        if unknown:
            raise ValueError(
                f"the model has no prompts for {unknown[0]!r}; it knows {', '.join(predictor.reader.findings)}"
            )
        return list(dict.fromkeys(settings.findings))
    ranked = sorted(record["findings"], key=lambda finding: finding["threshold"] - finding["score"])
    called = [finding["name"] for finding in ranked if finding["score"] >= finding["threshold"]]
    return (called or [finding["name"] for finding in ranked[:1]])[: settings.max_findings]


def _scores(reader: Reader, films: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    parts = [
        reader.read([Image.fromarray(film) for film in films[start : start + _BATCH]])
        for start in range(0, len(films), _BATCH)
    ]
    return (
        np.concatenate([part.image_scores for part in parts]),
        np.concatenate([part.image_margins for part in parts]),
    )


def _cells(reader: Reader, shape: tuple[int, ...], grid: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Number of the patch in which each pixel of the film (height, width) lies, of the patches that the film covers;
    and the places of those patches in the flat grid."""
    processor = reader.processor.image_processor
    canvas = (int(processor.size["height"]), int(processor.size["width"]))
    box = fit_letterbox((shape[0], shape[1]), canvas, bool(processor.do_pad))
    rows = ((np.arange(shape[0]) + 0.5) * box.scale_y + box.top) * grid[0] / canvas[0]
    columns = ((np.arange(shape[1]) + 0.5) * box.scale_x + box.left) * grid[1] / canvas[1]
    flat = rows.astype(int).clip(0, grid[0] - 1)[:, None] * grid[1] + columns.astype(int).clip(0, grid[1] - 1)
    places, cells = np.unique(flat, return_inverse=True)
    return cells.reshape(shape), places


def _reduced(film: Image.Image) -> np.ndarray:
    scale = min(1.0, _LONGEST / max(film.size))
    size = max(1, round(film.width * scale)), max(1, round(film.height * scale))
    return np.asarray(film.convert("L").resize(size, Image.Resampling.LANCZOS))


def _rounded(values: Any, digits: int = 4) -> list[float]:
    return [round(float(value), digits) for value in np.asarray(values)]
