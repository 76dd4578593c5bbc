"""A sheet of examples for a person: films with boxes, phrases and labels."""

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from anatomy_vlm.processing.picture_panel import fit_text
from anatomy_vlm.processing.picture_style import FAINT, INK, SKY, VERMILLION, group_of
from anatomy_vlm.processing.pictures import PANEL_WIDTH, draw_overlay
from anatomy_vlm.processing.vocabulary import FINDING_NAMES, REGION_NAMES
from anatomy_vlm.training.loaders import SOURCES, load_data, open_source
from anatomy_vlm.training.loaders.dataset_cards import announce, dataset_cards
from anatomy_vlm.training.loaders.errors import DatasetError


_READ_SIDE = 1024
_PICTURE_HEIGHT = 560
_COLUMNS = 2
_TINT = (217, 72, 15)
# Of the panel beside a film, in pixels.
_MARGIN, _PANEL_TOP, _LEGEND_MARGIN, _LINE = 20, 56, 66, 20
_POLARITY_COLOURS = {"present": VERMILLION, "absent": SKY, "uncertain": INK}


@dataclass(frozen=True)
class DrawnExamples:
    """
    Args:
        dataset: Name of the loader.
        split: Of the examples.
        total: Examples in the split.
        examples: Those drawn.
        splits: Examples in each split.
        problems: What could not be read, in words.
        notes: Counts of what was wrong with the tables, and with the annotations of the films drawn.
    """

    dataset: str
    split: str
    total: int
    examples: Sequence[Mapping[str, Any]]
    splits: Mapping[str, int]
    problems: Sequence[str] = ()
    notes: Mapping[str, int] = field(default_factory=dict)


def draw_examples(
    dataset: str, arguments: dict[str, Any], *, split: str = "train", number: int = 12, seed: int = 0
) -> DrawnExamples:
    """
    Draw examples of a split; of a dataset on disk only these are read.

    Args:
        dataset: Name of a loader.
        arguments: Of the loader.
        split: Which split.
        number: At most how many.
        seed: Of the draw.

    Raises:
        DatasetError: the data cannot be read or has no such split.
    """
    rng = np.random.default_rng(seed)
    if dataset not in SOURCES:
        loaded = load_data(dataset, arguments)
        counts = {name: len(rows) for name, rows in loaded.items()}
        chosen = _choice(rng, _total(counts, split, dataset), number)
        return DrawnExamples(dataset, split, counts[split], [loaded[split][i] for i in chosen], counts)
    source = open_source(dataset, arguments)
    announce(source.name)
    entries = source.split_entries()
    counts = {name: len(rows) for name, rows in entries.items()}
    examples, problems, notes = [], [], Counter(source.notes)
    for index in _choice(rng, _total(counts, split, dataset), number):
        try:
            sample = source.sample(entries[split][index], _READ_SIDE)
        except ValueError as error:
            problems.append(str(error))
        else:
            examples.append(sample.example)
            notes.update(f"{note} (in the films drawn)" for note in sample.notes)
    if source.missing:
        notes["image missing"] = len(source.missing)
    return DrawnExamples(dataset, split, counts[split], examples, counts, problems, notes)


def _total(counts: Mapping[str, int], split: str, dataset: str) -> int:
    if split not in counts:
        raise DatasetError(f"{dataset}: there is no split '{split}', only {', '.join(counts)}")
    return counts[split]


def _choice(rng: np.random.Generator, total: int, number: int) -> list[int]:
    return sorted(rng.choice(total, min(number, total), replace=False).tolist())


def example_picture(example: Mapping[str, Any], height: int = _PICTURE_HEIGHT) -> Image.Image:
    """
    The film with all its boxes and the patient's sides, beside it labels and phrases, and the film with its mask, if
    there is one.
    """
    image = example["image"].convert("L")
    extent = (image.width, image.height) * 2
    regions = [
        {"name": name, "box": [float(edge) * side for edge, side in zip(box, extent)]}
        for name, box, there in zip(REGION_NAMES, example["boxes"], example["box_mask"])
        if there
    ]
    picture = draw_overlay(
        image, regions, show="all", title=str(example["image_id"]), view=example["view"], height=height
    )
    _write_statements(picture, example, legend=len({group_of(region["name"]) for region in regions}))
    if example.get("mask") is None:
        return picture
    inside = np.asarray(example["mask"]) > 0
    tinted = np.repeat(np.asarray(image)[:, :, None], 3, axis=2)
    tinted[inside] = (0.6 * tinted[inside] + 0.4 * np.array(_TINT)).astype(np.uint8)
    film = Image.fromarray(tinted).resize((round(image.width * height / image.height), height))
    joined = Image.new("RGB", (picture.width + film.width, height))
    joined.paste(picture, (0, 0))
    joined.paste(film, (picture.width, 0))
    return joined


def _write_statements(picture: Image.Image, example: Mapping[str, Any], legend: int) -> None:
    """Labels and phrases into the panel of an overlay, between its title and the groups of its legend."""
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(14)
    left, width = picture.width - PANEL_WIDTH + _MARGIN, PANEL_WIDTH - 2 * _MARGIN
    lines = [(f"+ {name}", "present") for name in _labelled(example, 1)]
    lines += [(f"\N{MINUS SIGN} {name}", "absent") for name in _labelled(example, 0)]
    lines += [(f"{f['region'] or 'image'}: {f['phrase']}", f["polarity"]) for f in example["region_findings"]]
    room = (picture.height - _LEGEND_MARGIN - 24 * legend - _PANEL_TOP) // _LINE
    if len(lines) > room:
        lines = [*lines[: room - 1], (f"and {len(lines) - room + 1} more", "")]
    for number, (text, polarity) in enumerate(lines):
        place = (left, _PANEL_TOP + number * _LINE)
        draw.text(place, fit_text(text, font, width), font=font, fill=_POLARITY_COLOURS.get(polarity, FAINT))


def _labelled(example: Mapping[str, Any], label: int) -> list[str]:
    values = np.asarray(example["labels"], dtype=np.float32)
    return [name for name, value in zip(FINDING_NAMES, values) if value == label]


def sheet_picture(drawn: DrawnExamples) -> Image.Image:
    """The films of the sheet as one picture. Raises `DatasetError` if there is none."""
    if not drawn.examples:
        raise DatasetError(f"{drawn.dataset}: no film of '{drawn.split}' could be read")
    pictures = [example_picture(example) for example in drawn.examples]
    width, height = max(picture.width for picture in pictures), _PICTURE_HEIGHT
    rows = -(-len(pictures) // _COLUMNS)
    sheet = Image.new("RGB", (min(_COLUMNS, len(pictures)) * width, rows * height))
    for number, picture in enumerate(pictures):
        sheet.paste(picture, (number % _COLUMNS * width, number // _COLUMNS * height))
    return sheet


def render_sheet(drawn: DrawnExamples) -> str:
    """The sheet as one self-contained HTML document; all texts are escaped."""
    from jinja2 import Environment, StrictUndefined

    template = files("anatomy_vlm.training.preparation").joinpath("sample_sheet.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render(
        dataset=drawn.dataset,
        card=dataset_cards().get(drawn.dataset),
        split=drawn.split,
        total=drawn.total,
        splits=drawn.splits,
        notes=drawn.notes,
        problems=drawn.problems,
        films=[_film(example) for example in drawn.examples],
    )


def _film(example: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "picture": _data_url(example_picture(example)),
        "image_id": example["image_id"],
        "facts": [
            (name, example[key])
            for name, key in (("patient", "patient_id"), ("study", "study_id"), ("view", "view"))
            if example[key]
        ],
        "boxes": int(np.asarray(example["box_mask"]).sum()),
        "present": _labelled(example, 1),
        "absent": _labelled(example, 0),
        "findings": example["region_findings"],
        "report": example["report"],
    }


def _data_url(image: Image.Image) -> str:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
