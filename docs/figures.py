"""Draw the pictures of `docs/concepts.md` into `docs/figures/`; all films are synthetic.

python docs/figures.py
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from anatomy_vlm import generate_patient, predict
from anatomy_vlm.processing.vocabulary import FINDING_NAMES, REGION_NAMES, get_region


OUT = Path(__file__).parent / "figures"
SEED = 3
SIDE = 300
INK, PAPER, GRID = (30, 34, 40), (255, 255, 255), (150, 160, 172)
RIGHT, LEFT, MIDDLE = (214, 94, 0), (0, 114, 178), (0, 140, 100)
# Regions that show the idea without hiding the film.
SHOWN = (
    "right lung",
    "left lung",
    "cardiac silhouette",
    "right costophrenic angle",
    "left costophrenic angle",
    "carina",
)


def main() -> None:
    """Draw and save all."""
    OUT.mkdir(exist_ok=True)
    example = generate_patient(SEED, image_size=512)[0]
    for name, picture in {
        "tokens": tokens(example),
        "sides": sides(example),
        "boxes-and-scores": boxes_and_scores(example),
        "unknown": unknown(),
    }.items():
        picture.quantize(128).save(OUT / f"{name}.png", optimize=True)


def canvas(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """White paper."""
    picture = Image.new("RGB", (width, height), PAPER)
    return picture, ImageDraw.Draw(picture)


def write(
    draw: ImageDraw.ImageDraw, xy: tuple[float, float], text: str, colour=INK, size: int = 15, anchor="la"
) -> None:
    """Text at a point."""
    draw.text(xy, text, fill=colour, font=ImageFont.load_default(size), anchor=anchor)


def film_of(example: dict, side: int = SIDE) -> Image.Image:
    """The film of an example, square."""
    return example["image"].convert("RGB").resize((side, side), Image.Resampling.LANCZOS)


def colour_of(region: str) -> tuple[int, int, int]:
    """By side of the patient."""
    return {"right": RIGHT, "left": LEFT}.get(get_region(region).side, MIDDLE)


def draw_boxes(film: Image.Image, example: dict, names: tuple[str, ...]) -> None:
    """True boxes of regions."""
    draw = ImageDraw.Draw(film)
    for name in names:
        index = REGION_NAMES.index(name)
        if example["box_mask"][index]:
            box = (np.asarray(example["boxes"][index]) * film.width).tolist()
            draw.rectangle(box, outline=colour_of(name), width=2)


def tokens(example: dict) -> Image.Image:
    """One sequence: [CLS], 29 queries, patches; what each becomes."""
    picture, draw = canvas(900, 430)
    film = film_of(example, 192)
    grid = ImageDraw.Draw(film)
    for step in range(0, 193, 24):
        grid.line([(step, 0), (step, 192)], fill=GRID)
        grid.line([(0, step), (192, step)], fill=GRID)
    picture.paste(film, (20, 60))
    write(draw, (20, 34), "the film, in patches")
    left, top, size, gap = 260, 120, 22, 5
    write(draw, (left, 34), "one sequence, joint self-attention")
    cells = [("CLS", INK)] + [(str(i), MIDDLE) for i in range(1, 6)] + [("...", PAPER), ("29", MIDDLE)]
    cells += [("", GRID)] * 9 + [("...", PAPER), ("", GRID)]
    for index, (label, colour) in enumerate(cells):
        x = left + index * (size + gap)
        draw.rectangle([x, top, x + size, top + size], fill=colour, outline=colour)
        ink = INK if colour == PAPER else PAPER
        write(draw, (x + size / 2, top + size / 2), label, ink, 9 if label == "CLS" else 11, "mm")
    write(draw, (left + 1.5 * (size + gap), top - 22), "29 anatomy queries, one per named region", MIDDLE, 13)
    write(draw, (left + 8 * (size + gap), top + size + 8), "patches", (100, 108, 118), 13)
    arrows = (
        (0, 370, "embedding of the film", "compared with texts: logits_per_image", INK),
        (2, 310, "box, presence", "pred_boxes, presence_logits", MIDDLE),
        (
            4, 250, "embedding of the region: patches inside it, and the query",
            "compared with texts: logits_per_region", MIDDLE,
        ),
    )  # fmt: skip
    for cell, y, title, fields, colour in arrows:
        x = left + cell * (size + gap) + size / 2
        draw.line([(x, top + size + 2), (x, y + 8), (x + 20, y + 8)], fill=colour, width=2)
        write(draw, (x + 28, y), title, colour)
        write(draw, (x + 28, y + 20), fields, (100, 108, 118), 13)
    return picture


def sides(example: dict) -> Image.Image:
    """Left is the patient's left; a flip exchanges names."""
    picture, draw = canvas(2 * SIDE + 260, SIDE + 110)
    lungs = ("right lung", "left lung")
    film = film_of(example)
    mirrored = film.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    draw_boxes(film, example, lungs)
    pen = ImageDraw.Draw(mirrored)
    for x, shown in ((20, film), (SIDE + 240, mirrored)):
        picture.paste(shown, (x, 50))
        for position, name in zip((0.28, 0.72), lungs):
            write(draw, (x + position * SIDE, 34), name, colour_of(name), 14, "mm")
    for name, was in zip(lungs, reversed(lungs)):
        # What was the left lung lies on the image's left now, where a right lung lies.
        x0, y0, x1, y1 = (np.asarray(example["boxes"][REGION_NAMES.index(was)]) * SIDE).tolist()
        pen.rectangle([SIDE - x1, y0, SIDE - x0, y1], outline=colour_of(name), width=2)
    picture.paste(mirrored, (SIDE + 240, 50))
    write(draw, (20, SIDE + 62), "as it is read: the patient faces you,")
    write(draw, (20, SIDE + 82), "the right lung is on the image's left")
    write(draw, (SIDE + 130, 200), "flip", INK, 16, "mm")
    draw.line([(SIDE + 60, 220), (SIDE + 200, 220)], fill=INK, width=2)
    draw.polygon([(SIDE + 200, 213), (SIDE + 214, 220), (SIDE + 200, 227)], fill=INK)
    write(draw, (SIDE + 240, SIDE + 62), "boxes change their slots, and words their")
    write(draw, (SIDE + 240, SIDE + 82), "side: what was a left effusion is a right one")
    return picture


def boxes_and_scores(example: dict) -> Image.Image:
    """True boxes, and what the checkpoint of the package finds; scores of the film."""
    path = OUT / "film.tmp.png"
    example["image"].save(path)
    record = predict(path)[0]
    path.unlink()
    picture, draw = canvas(2 * SIDE + 360, SIDE + 70)
    truth, found = film_of(example), film_of(example)
    draw_boxes(truth, example, SHOWN)
    pen = ImageDraw.Draw(found)
    scale = SIDE / record["size"][0]
    for region in record["regions"]:
        if region["name"] in SHOWN:
            pen.rectangle([edge * scale for edge in region["box"]], outline=colour_of(region["name"]), width=2)
    for x, title, film in ((20, "true boxes", truth), (SIDE + 40, "boxes of the checkpoint", found)):
        write(draw, (x, 22), title)
        picture.paste(film, (x, 50))
    x, y = 2 * SIDE + 70, 50
    write(draw, (x, 22), "score and threshold")
    labels = dict(zip(FINDING_NAMES, example["labels"]))
    for finding in sorted(record["findings"], key=lambda f: -f["score"])[:8]:
        true = labels.get(finding["name"])
        state = {1.0: "present", 0.0: "absent"}.get(true, "unknown")
        write(draw, (x, y), f"{finding['name']} ({state})", INK, 13)
        draw.rectangle([x, y + 18, x + 250, y + 26], outline=GRID)
        draw.rectangle([x, y + 18, x + 250 * finding["score"], y + 26], fill=LEFT)
        if finding["threshold"] is not None:
            mark = x + 250 * finding["threshold"]
            draw.line([(mark, y + 14), (mark, y + 30)], fill=RIGHT, width=2)
        y += 38
    return picture


def unknown() -> Image.Image:
    """Present, absent, unknown: what a report says, and what becomes of it."""
    picture, draw = canvas(900, 250)
    rows = (
        ("Small left pleural effusion.", "pleural effusion", "present", "1", LEFT),
        ("No pneumothorax.", "pneumothorax", "absent", "0", MIDDLE),
        ("Consolidation cannot be excluded.", "consolidation", "uncertain", "unknown", GRID),
        ("(nothing is said)", "rib fracture", "-", "unknown", GRID),
    )
    for x, title in (
        (20, "the report says"),
        (330, "finding"),
        (520, "polarity"),
        (650, "label"),
        (760, "in loss, metric"),
    ):
        write(draw, (x, 20), title, (100, 108, 118), 14)
    for index, (says, finding, polarity, label, colour) in enumerate(rows):
        y = 60 + 45 * index
        write(draw, (20, y), says)
        write(draw, (330, y), finding)
        write(draw, (520, y), polarity)
        draw.rounded_rectangle([650, y - 6, 735, y + 24], 8, fill=colour)
        write(draw, (692, y + 9), label, PAPER, 14, "mm")
        write(draw, (760, y), "left out" if label == "unknown" else "counts")
    return picture


if __name__ == "__main__":
    main()
