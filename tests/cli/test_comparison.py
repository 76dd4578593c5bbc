"""Two studies: mirrored verdicts when they are exchanged, stable on identical films, the side of a change."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from anatomy_vlm.cli import main
from anatomy_vlm.comparison import ComparisonError, compare_with
from anatomy_vlm.comparison_page import render_comparison
from anatomy_vlm.hub_cards import REFERENCE_MODEL
from anatomy_vlm.prediction import Predictor
from anatomy_vlm.processing.score_calibration_anatomy_vlm import (
    ConformalCuts,
    FindingCalibration,
    IsotonicMap,
    LogisticMap,
)
from anatomy_vlm.study_change import EXCHANGED, change_between, change_noise


MARGINS = st.floats(-60, 60)
CUTS = ConformalCuts(present_from=-2.0, absent_to=1.0)
MAPS = st.one_of(
    st.builds(LogisticMap, st.floats(0.0, 3.0), st.floats(-5, 5)),
    st.just(IsotonicMap((-3.0, 0.0, 4.0), (0.1, 0.4, 0.9))),
)


@given(MAPS, MARGINS, MARGINS, st.floats(0.05, 0.95), st.floats(0.5, 0.95))
def test_exchanged_studies_have_the_mirrored_verdict_exactly(score_map, prior, current, threshold, confidence):
    calibration = FindingCalibration(score_map, threshold, "validation", CUTS)
    there = change_between(calibration, prior, current, coverage=0.9, confidence=confidence)
    back = change_between(calibration, current, prior, coverage=0.9, confidence=confidence)
    assert back.verdict == EXCHANGED[there.verdict] and back.change == -there.change
    assert (back.certain, back.noise, back.probability) == (there.certain, there.noise, there.probability)
    assert change_between(calibration, prior, prior, coverage=0.9, confidence=confidence).verdict == "stable"


def test_verdicts_are_those_of_their_definitions():
    calibration = FindingCalibration(LogisticMap(1.0), 0.5, "validation", CUTS)
    pairs = {"new": (-5, 5), "resolved": (5, -5), "worse": (0.5, 8), "better": (8, 0.5)}
    for verdict, (prior, current) in pairs.items():
        change = change_between(calibration, prior, current, coverage=0.9)
        assert change.verdict == verdict and change.certain
    below = change_between(calibration, -9, -1, coverage=0.9)
    assert below.verdict == "stable" and below.certain
    across = change_between(calibration, -0.05, 0.05, coverage=0.9)
    assert across.verdict == "stable" and not across.certain
    with pytest.raises(ValueError, match="confidence"):
        change_between(calibration, 0, 1, coverage=0.9, confidence=1.0)


@given(st.floats(0.5, 3.0), st.floats(0.2, 2.0))
def test_the_noise_is_that_of_normal_margins(distance, sd):
    """Margins normal with one spread: the scale of Platt's map and the quantiles give the spread back."""
    scale, quantile = distance / sd**2, 1.2815515655446004
    cuts = ConformalCuts(present_from=distance - quantile * sd, absent_to=quantile * sd)
    calibration = FindingCalibration(LogisticMap(scale), 0.5, "validation", cuts)
    expected = np.sqrt(2) * scale * sd
    if scale * sd <= quantile or cuts.absent_to <= cuts.present_from:  # else the other solution is as good
        assert change_noise(calibration, 0.9) == pytest.approx(max(expected, 0.25), rel=1e-6)


@pytest.fixture(scope="module")
def predictor():
    return Predictor.load(REFERENCE_MODEL, device="cpu")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A drawn patient twice: breathing freely, and with the patient's right hemidiaphragm raised."""
    pytest.importorskip("numba", reason="the parametric chest needs the extra `synthesis`")
    import dataclasses

    from anatomy_vlm.synthesis.phantom import draw_study, sample_parameters

    folder = tmp_path_factory.mktemp("pair")
    # A healthy study of an upright patient.
    base = next(
        item
        for item in (sample_parameters(seed, image_size=160) for seed in range(880_000_000, 880_001_000))
        if not item.findings and not item.pose.supine and not item.body.situs_inversus and not item.body.dextrocardia
    )
    raised = dataclasses.replace(base.pose, dome_right=base.pose.dome_left + 75.0)
    for name, pose in (("before", base.pose), ("after", raised)):
        film = draw_study(dataclasses.replace(base, pose=pose)).film
        Image.fromarray(film).save(folder / f"{name}.png")
    return folder / "before.png", folder / "after.png"


def verdicts(record):
    rows = {("", item["name"]): item["verdict"] for item in record["findings"]}
    return rows | {
        (region["name"], item["name"]): item["verdict"] for region in record["regions"] for item in region["findings"]
    }


def test_a_planted_change_is_new_on_its_side_resolved_backwards_and_stable_in_place(predictor, pair):
    there, back, same = (compare_with(predictor, *films).record for films in (pair, pair[::-1], (pair[1], pair[1])))
    assert verdicts(there)["right hemidiaphragm", "elevated hemidiaphragm"] == "new"
    assert verdicts(there)["left hemidiaphragm", "elevated hemidiaphragm"] == "stable"
    assert verdicts(back) == {key: EXCHANGED[verdict] for key, verdict in verdicts(there).items()}
    assert set(verdicts(same).values()) == {"stable"}
    assert there["alignment"]["mean_iou"] == back["alignment"]["mean_iou"] and same["alignment"]["mean_iou"] == 1.0
    assert [row["shift"] for row in there["alignment"]["regions"]] == [
        [-value if value else value for value in row["shift"]] for row in back["alignment"]["regions"]
    ]


def test_the_command_writes_json_and_a_page_of_its_own(pair, tmp_path, capsys):
    status = main(["compare", *map(str, pair), "--json", str(tmp_path / "c.json"), "--html", str(tmp_path / "c.html")])
    assert status == 0 and "pleural effusion" in capsys.readouterr().out
    record = json.loads((tmp_path / "c.json").read_text())
    assert record["version"] == "1.0" and len(record["regions"]) == 29
    page = (tmp_path / "c.html").read_text()
    assert "not a medical device" in page and 'src="http' not in page and "<script" not in page


def test_names_are_escaped(predictor, pair):
    comparison = compare_with(predictor, *pair)
    comparison.record["prior"]["file"] = "<b>film</b>.png"
    assert "<b>film</b>" not in render_comparison(comparison)


def test_what_cannot_be_compared_is_named(predictor, pair, checkpoint, films):
    with pytest.raises(ComparisonError, match="calibrate"):
        compare_with(Predictor.load(checkpoint, device="cpu"), *pair)
    with pytest.raises(ComparisonError, match=r"a.png: findings are withheld .* --force"):
        compare_with(predictor, pair[0], films / "a.png")
    with pytest.raises(ComparisonError, match=r"truncated.png: "):
        compare_with(predictor, films / "truncated.png", pair[0])
