"""Evidence cards: what is in them, that the cited region counts, and that doubts come first."""

import json

import numpy as np
import pytest
from PIL import Image

from anatomy_vlm.cli import main
from anatomy_vlm.evidence import EvidenceSettings, gather_evidence
from anatomy_vlm.evidence_page import heat_picture, render_evidence
from anatomy_vlm.hub_cards import REFERENCE_MODEL
from anatomy_vlm.neighbours import IndexFileError, RegionIndex
from anatomy_vlm.prediction import Predictor
from anatomy_vlm.processing.vocabulary import REGION_NAMES
from anatomy_vlm.training.evaluation.reader import Reader
from anatomy_vlm.training.loaders.saved import load_saved
from anatomy_vlm.training.model_folder import load_checkpoint


SETTINGS = EvidenceSettings(findings=["enlarged cardiac silhouette"], steps=4, random_orders=2)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A drawn chest with a large heart and nothing else, higher than wide, so that it does not fill the input."""
    pytest.importorskip("numba", reason="the parametric chest needs the extra `synthesis`")
    from anatomy_vlm.synthesis.phantom import draw_study, sample_parameters

    drawn = (sample_parameters(seed, image_size=256) for seed in range(900_000_000, 900_001_000))
    image = Image.fromarray(
        next(
            draw_study(item).film
            for item in drawn
            if [f.name for f in item.findings] == ["enlarged cardiac silhouette"]
        )
    )
    path = tmp_path_factory.mktemp("film") / "chest.png"
    image.crop((8, 0, 248, 256)).save(path)
    return path


@pytest.fixture(scope="module")
def predictor():
    return Predictor.load(REFERENCE_MODEL, device="cpu", force=True)


@pytest.fixture(scope="module")
def card(predictor, film):
    return gather_evidence(predictor, film, None, SETTINGS)


def test_a_card_holds_regions_maps_and_numbers(card, film):
    (item,) = card.record["findings"]
    assert [row["name"] for row in item["regions"] if row["plausible"]] and len(item["regions"]) == 29
    losses = [row["margin_change"] for row in item["regions"]]
    assert losses == sorted(losses)
    assert item["cited_region"] == next(row["name"] for row in item["regions"] if row["plausible"])
    width, height = Image.open(film).size
    for row in item["regions"]:
        assert -1 <= row["box"][0] < row["box"][2] <= width + 1 and -1 <= row["box"][1] < row["box"][3] <= height + 1
    for kind in ("attention", "similarity", "random"):
        curve = item["maps"][kind]
        assert len(curve["deletion"]) == len(curve["insertion"]) == 5
        # Nothing is deleted at first, and all is inserted at last.
        assert curve["deletion"][0] == curve["insertion"][-1] == pytest.approx(item["score"], abs=2e-4)
        assert 0 <= curve["deletion_auc"] <= 1 and 0 <= curve["insertion_auc"] <= 1
    assert json.loads(json.dumps(card.record, allow_nan=False)) == card.record


def test_masking_what_a_finding_is_about_changes_it_more_than_what_it_is_not(card):
    rows = {row["name"]: abs(row["margin_change"]) for row in card.record["findings"][0]["regions"]}
    assert rows["cardiac silhouette"] > max(rows["right apical zone"], rows["left apical zone"], rows["trachea"])


def test_maps_lie_on_the_film_as_it_is(predictor, film):
    """The map of a film and that of its mirror image are not exchanged: a patch keeps its side."""
    reader = predictor.reader
    picture = Image.open(film)
    slots = [REGION_NAMES.index("right lung"), REGION_NAMES.index("left lung")]
    maps = reader.patch_maps(picture, slots)
    assert maps.attention.shape == (2, 10, 10) and maps.margins.shape == (2, len(reader.findings), 10, 10)
    columns = (maps.attention.sum(1) * np.arange(10)).sum(1) / maps.attention.sum((1, 2))
    assert columns[0] < columns[1]


def test_the_page_shows_doubts_first_and_is_self_contained(card):
    page = render_evidence(card)
    assert page.index("Is the film fit to be read?") < page.index("Regions and findings")
    assert "<script" not in page and 'src="http' not in page and page.count("data:image/jpeg") == 3
    assert page.count("<polyline") == 6


def test_findings_are_withheld_from_what_is_no_chest(films, tmp_path, capsys):
    assert main(["evidence", str(films / "a.png"), "--out", str(tmp_path), "--device", "cpu"]) == 0
    assert "findings withheld" in capsys.readouterr().out
    record = json.loads((tmp_path / "a.json").read_text())
    assert record["findings"] == [] and record["reading"]["findings"] == []
    page = (tmp_path / "a.html").read_text()
    assert "Findings are withheld" in page and "Are the maps faithful?" not in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone.png"], "gone.png: no such file"),
        (["{films}/truncated.png"], "truncated.png: "),
        (["{films}"], "evidence takes one film"),
        (["{film}", "--findings", "gout"], "the model has no prompts for 'gout'"),
        (["{film}", "--index", "gone"], "gone: no such file; 'anatomy-vlm index' makes an index"),
        (["{film}", "--index", "{film}"], "not an index of 'anatomy-vlm index'"),
    ],
)
def test_mistakes_are_one_line(films, film, capsys, tmp_path, arguments, message):
    filled = [text.format(films=films, film=film) for text in arguments]
    assert main(["evidence", *filled, "--out", str(tmp_path), "--force", "--device", "cpu"]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("anatomy-vlm: error:")]
    assert len(lines) == 1 and message in lines[0]


def test_heat_lies_where_the_map_has_it():
    values = np.zeros((40, 30))
    values[5:10, 20:25] = 1.0
    picture = np.asarray(heat_picture(Image.new("L", (30, 40), 0), values, height=40)).astype(int)
    red = picture[..., 0] > 50
    assert red[7, 22] and not red[:, :15].any() and not red[20:].any()


def index_of(embeds, findings, patients=None):
    count = len(embeds)
    return RegionIndex(
        embeds=np.asarray(embeds, dtype=np.float16),
        regions=("left lung",),
        images=tuple(f"i{row}" for row in range(count)),
        patients=tuple(patients or [f"p{row}" for row in range(count)]),
        findings=tuple({"left lung": names} for names in findings),
        model="m",
    )


def test_neighbours_are_the_most_similar_and_recall_is_counted_by_hand(tmp_path):
    angles = np.array([0.0, 0.1, 0.2, 1.5, 1.55])
    embeds = np.stack([np.cos(angles), np.sin(angles)], axis=1)[:, None]
    index = index_of(embeds, [["mass"], ["mass"], [], [], ["mass"]])
    index.save(tmp_path / "i.safetensors")
    again = RegionIndex.load(tmp_path / "i.safetensors")
    rows = again.nearest(np.array([1.0, 0.02]), "left lung", 2, model="m")
    assert [row["image"] for row in rows] == ["i0", "i1"] and rows[0]["findings"] == ["mass"]
    row = again.recall((1, 2), min_events=1)["mass"]
    # i0 and i1 find each other first; the nearest two of i4 are i3 and i2, which have none.
    assert row["queries"] == 3 and row["recall"] == [round(2 / 3, 4), round(2 / 3, 4)]
    # Two of the four others have it: 1/2 at one, 1 - (2/4)(1/3) at two.
    assert row["chance"] == [0.5, round(5 / 6, 4)]
    own = index_of(embeds, [["mass"], ["mass"], [], [], ["mass"]], ["p", "p", "q", "r", "s"])
    assert own.recall((1,), min_events=1)["mass"]["recall"] == [0.0]
    with pytest.raises(IndexFileError, match="of the model 'm', not of 'n'"):
        again.nearest(np.zeros(2), "left lung", 1, model="n")
    with pytest.raises(IndexFileError, match="no region 'spleen'"):
        again.nearest(np.zeros(2), "spleen", 1, model="m")


def test_the_index_command_and_a_film_that_finds_itself(checkpoint, dataset_folder, tmp_path, capsys):
    out = tmp_path / "index.safetensors"
    assert main(["index", str(dataset_folder), "--split", "test", "--model", str(checkpoint), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "40 films, 29 regions" in printed and "pneumothorax: @1" in printed and "chance" in printed
    split = load_saved(str(dataset_folder))["test"]
    embed = Reader(*load_checkpoint(checkpoint), device="cpu").embed([split[7]["image"]])[0, 8]
    index = RegionIndex.load(out)
    first = index.nearest(embed, "left lung", 1, model=str(checkpoint))[0]
    assert first["image"] == split[7]["image_id"] and first["similarity"] == pytest.approx(1.0, abs=2e-3)
    assert first["findings"] == (["pneumothorax"] if split[7]["region_findings"][0]["region"] == "left lung" else [])
