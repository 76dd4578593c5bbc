"""The sheet of examples and the commands that read datasets."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from anatomy_vlm.cli import main
from anatomy_vlm.training.loaders.errors import DatasetError
from anatomy_vlm.training.preparation.sample_sheet import draw_examples, example_picture, render_sheet, sheet_picture


class _Pages(HTMLParser):
    def __init__(self):
        super().__init__()
        self.images, self.text, self.links = [], [], []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag == "img":
            self.images.append(values["src"])
        self.links += [values[key] for key in ("href", "src") if key in values]

    def handle_data(self, data):
        self.text.append(data)


def read(page: str) -> _Pages:
    parser = _Pages()
    parser.feed(page)
    return parser


def test_the_sheet_is_self_contained_and_escapes_texts(layout):
    drawn = draw_examples("folder", layout("folder"), number=3)
    example = dict(drawn.examples[0], report="<script>alert(1)</script> No effusion.")
    drawn.examples[0] = example
    page = render_sheet(drawn)
    parsed = read(page)
    assert len(parsed.images) == 3 and all(link.startswith("data:image/jpeg;base64,") for link in parsed.links)
    assert "<script>" not in page and "<script>alert(1)</script> No effusion." in "".join(parsed.text)
    assert "R/L are the patient's sides" in " ".join("".join(parsed.text).split())


def test_every_loader_has_a_sheet(layout_name, layout):
    number = 1 if layout_name == "ct_projection" else 2
    drawn = draw_examples(layout_name.partition("-")[0], layout(layout_name), number=number)
    page = render_sheet(drawn)
    assert all(example["image_id"] in page for example in drawn.examples)
    picture = sheet_picture(drawn)
    assert picture.mode == "RGB" and picture.width > picture.height


def test_the_picture_shows_labels_and_phrases(layout):
    """Beside the film: what is present in orange, what is absent in blue."""
    example = draw_examples("folder", layout("folder"), number=1).examples[0]
    silent = {**example, "labels": np.full(len(example["labels"]), np.nan, np.float32), "region_findings": []}
    spoken, plain = (np.asarray(example_picture(e)).astype(int) for e in (example, silent))
    changed = np.abs(spoken - plain).sum(-1) > 0
    assert changed.any() and not changed[:, :-340].any()
    red, blue = (spoken[..., channel][changed] for channel in (0, 2))
    assert (red > blue + 50).any() and (blue > red + 50).any()


def test_unknown_split(layout):
    with pytest.raises(DatasetError, match="there is no split 'training', only train, validation, test"):
        draw_examples("folder", layout("folder"), split="training")


def test_the_commands(layout, tmp_path, capsys):
    root = layout("folder")["path"]
    out = tmp_path / "prepared"
    assert main(["prepare", "folder", "--root", root, "--out", str(out), "--image-size", "64"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"train +\? +12", shown) and "passport.md" in shown
    sheet, picture = tmp_path / "sheet.html", tmp_path / "sheet.png"
    command = ["inspect", "prepared", "--root", str(out), "--out", str(sheet), "--png", str(picture), "--num", "2"]
    assert main(command) == 0
    assert "2 of 12 films" in capsys.readouterr().out
    assert len(read(sheet.read_text()).images) == 2 and Image.open(picture).size[1] == 560


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prepare", "foldr", "--root", "x", "--out", "y"], "unknown dataset 'foldr'; did you mean 'folder'"),
        (["prepare", "folder", "--root", "nowhere", "--out", "y"], "nowhere"),
        (["inspect", "folder", "--root", "x", "--set", "splits"], "expected KEY=VALUE"),
        (["inspect", "folder", "--root", "x", "--set", "spilts=1"], "unknown argument 'spilts'"),
    ],
)
def test_mistakes_are_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err.strip()
    assert message in error and error.count("\n") == 0
    assert not list(tmp_path.iterdir())
