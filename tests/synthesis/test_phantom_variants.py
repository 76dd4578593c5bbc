"""Variants and readers of the parametric chest: collapse, azygos lobe, dextrocardia, clutter, label noise, styles."""

import dataclasses

import numpy as np
import pytest

from anatomy_vlm.processing.report_reading import read_report
from anatomy_vlm.processing.vocabulary import FINDING_NAMES, REGION_NAMES


pytest.importorskip("numba", reason="the parametric chest needs the extra `synthesis`")

from anatomy_vlm.synthesis.phantom import (
    PhantomParameters,
    PlacedFinding,
    SynthesisError,
    draw_study,
    generate_dataset,
    generate_patient,
    generate_study,
    sample_parameters,
)
from anatomy_vlm.synthesis.phantom.air import hilum_centres
from anatomy_vlm.synthesis.phantom.clutter import clutter_chains
from anatomy_vlm.synthesis.phantom.collapse import COLLAPSE
from anatomy_vlm.synthesis.phantom.findings import adjust_pose, settle
from anatomy_vlm.synthesis.phantom.march import M
from anatomy_vlm.synthesis.phantom.patient import to_example
from anatomy_vlm.synthesis.phantom.profiles import C


SIZE = 112
MIDDLE = SIZE // 2
OTHER = {"right": "left", "left": "right"}


def plain(**body):
    """A wholly normal upright patient in the middle of the film."""
    drawn = sample_parameters(3, image_size=SIZE)
    usual = {"scoliosis": 0.0, "situs_inversus": False, "dextrocardia": False, "azygos_lobe": False}
    pose = {"view": "PA", "supine": False, "rotation": 0.0, "roll": 0.0, "lordosis": 0.0, "centre_x": 0.0}
    look = {"marker": "", "letters": 0, "collimation": (0.0,) * 4, "photons": 1e6}
    return dataclasses.replace(
        drawn,
        findings=(),
        body=dataclasses.replace(drawn.body, **usual | body),
        pose=dataclasses.replace(drawn.pose, mediastinal_shift=0.0, **pose),
        look=dataclasses.replace(drawn.look, **look),
    )


def collapsed(side, zone, parameters=None):
    parameters = parameters or plain()
    rng = np.random.default_rng(1)
    finding = PlacedFinding(COLLAPSE, side, "severe", zone)
    pose = adjust_pose(rng, [finding], parameters.body, parameters.pose)
    settled = settle(rng, finding, parameters.body, pose)
    return dataclasses.replace(parameters, pose=pose, findings=(settled,))


def box(study, name):
    index = REGION_NAMES.index(name)
    assert study.regions.box_mask[index], name
    return study.regions.boxes[index]


@pytest.mark.parametrize("situs_inversus", [False, True])
@pytest.mark.parametrize("zone", ["upper", "lower"])
@pytest.mark.parametrize("side", ["right", "left"])
def test_a_collapsed_lobe_is_airless_on_its_own_side(side, zone, situs_inversus):
    study = draw_study(collapsed(side, zone, plain(situs_inversus=situs_inversus)))
    filled = study.exposure.maps[M[f"opacity_{side}"]]
    assert study.exposure.maps[M[f"opacity_{OTHER[side]}"]].sum() == 0
    rows, columns = np.nonzero(filled > 10)
    assert len(rows) > 60
    assert (columns.mean() < MIDDLE) == (side == "right")
    lung = box(study, f"{side} lung") * SIZE
    assert (rows.mean() < (lung[1] + lung[3]) / 2) == (zone == "upper")
    said = {(s.region, s.polarity) for s in study.truth.statements if s.finding == COLLAPSE}
    assert {(f"{side} lung", "present"), (f"{side} {zone} lung zone", "present")} <= said
    assert (f"{OTHER[side]} lung", "absent") in said
    labels = dict(zip(FINDING_NAMES, study.truth.labels, strict=True))
    assert labels[COLLAPSE] == labels["atelectasis"] == labels["lung opacity"] == 1


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_collapse_draws_hilum_mediastinum_and_dome(side):
    before = draw_study(plain()).exposure.chest
    index = ("right", "left").index(side)
    for zone, up in (("upper", 1), ("lower", -1)):
        after = draw_study(collapsed(side, zone)).exposure.chest
        moved = hilum_centres(after) - hilum_centres(before)
        assert up * moved[index, 2] > 5 and moved[1 - index, 2] == 0
        shift = (after.table[:, C["mid_x"]] - before.table[:, C["mid_x"]]).sum()
        assert (shift < 0) == (side == "right")
        name = f"dome_{side[0]}z"
        assert after.scalars[name] > before.scalars[name]


@pytest.mark.parametrize(("side", "zone"), [("right", "upper"), ("right", "lower"), ("left", "lower")])
def test_a_collapsed_lobe_has_a_straight_border(side, zone):
    """The edge of the opacity between hilum and wall or dome lies on one line within a pixel."""
    filled = draw_study(collapsed(side, zone)).exposure.maps[M[f"opacity_{side}"]] > 12
    rows, columns = np.nonzero(filled)
    if zone == "upper":
        u = np.unique(columns)[3:-8]
        v = np.array([np.flatnonzero(filled[:, x]).max() for x in u])
    else:
        u = np.unique(rows)[4:-8]
        edge = np.min if side == "right" else np.max
        v = np.array([edge(np.flatnonzero(filled[y])) for y in u])
    assert len(u) >= 8
    fit = np.polyval(np.polyfit(u, v, 1), u)
    assert np.sqrt(np.mean((v - fit) ** 2)) < 1.0
    assert abs(np.polyfit(u, v, 1)[0]) > 0.1


@pytest.mark.parametrize("situs_inversus", [False, True])
def test_the_azygos_fissure_is_an_arc_in_the_upper_zone(situs_inversus):
    usual = draw_study(plain(situs_inversus=situs_inversus))
    variant = draw_study(plain(situs_inversus=situs_inversus, azygos_lobe=True))
    change = np.abs(variant.exposure.line - usual.exposure.line)
    side = "left" if situs_inversus else "right"
    x0, y0, x1, y1 = box(usual, f"{side} lung") * SIZE
    rows, columns = np.nonzero(change > 0.02)
    assert len(rows) > 15
    assert (columns > x0).all() and (columns < x1 + 2).all()
    assert (rows < y0 + 0.5 * (y1 - y0)).all()
    assert np.array_equal(variant.truth.labels, usual.truth.labels, equal_nan=True)


def test_isolated_dextrocardia_mirrors_the_heart_alone():
    usual, variant = draw_study(plain()), draw_study(plain(dextrocardia=True))
    assert box(usual, "cardiac silhouette")[[0, 2]].mean() > 0.52
    assert box(variant, "cardiac silhouette")[[0, 2]].mean() < 0.48
    for side in ("right", "left"):
        lung = box(variant, f"{side} lung")
        assert (lung[[0, 2]].mean() < 0.5) == (side == "right")
        assert abs(lung[1] - box(usual, f"{side} lung")[1]) < 0.02
    for name in ("aortic arch", "svc", "trachea", "spine"):
        assert np.allclose(box(variant, name), box(usual, name), atol=1e-6)
    assert not variant.regions.box_mask[REGION_NAMES.index("right atrium")]
    ratios = usual.regions.cardiothoracic_ratio, variant.regions.cardiothoracic_ratio
    assert abs(ratios[0] - ratios[1]) < 0.03


def test_variants_are_rare():
    bodies = [sample_parameters(seed, image_size=SIZE).body for seed in range(4000)]
    for name in ("situs_inversus", "dextrocardia", "azygos_lobe"):
        assert 0 < sum(getattr(body, name) for body in bodies) <= 0.012 * len(bodies)


def test_clutter_is_on_portable_films_and_never_told():
    drawn = [sample_parameters(seed, image_size=SIZE, domain="portable") for seed in range(60)]
    assert 0.5 < np.mean([bool(clutter_chains(p)) for p in drawn]) < 1.0
    upright = [dataclasses.replace(p, pose=dataclasses.replace(p.pose, view="PA")) for p in drawn]
    assert np.mean([bool(clutter_chains(p)) for p in upright]) < 0.35
    cluttered = next(p for p in drawn if len(clutter_chains(p)) > 4)
    study = draw_study(dataclasses.replace(cluttered, findings=()))
    assert "clutter" in study.exposure.chains
    assert study.truth.labels[FINDING_NAMES.index("support device")] == 0


def test_a_reader_without_noise_states_the_truth():
    study = generate_study(8, image_size=64)
    assert study.reading is study.truth
    assert study.parameters.reader.missed == study.parameters.reader.overcalled == ()


def test_label_noise_changes_what_is_said_and_not_what_is_there():
    missed, overcalled = 0, 0
    for seed in range(30):
        true, noisy = (generate_study(seed, image_size=64, label_noise=noise) for noise in (0.0, 0.5))
        assert np.array_equal(true.film, noisy.film)
        assert np.array_equal(true.regions.boxes, noisy.regions.boxes)
        assert np.array_equal(true.truth.labels, noisy.truth.labels, equal_nan=True)
        reader = noisy.parameters.reader
        value = dict(zip(FINDING_NAMES, noisy.reading.labels, strict=True))
        truth = dict(zip(FINDING_NAMES, true.truth.labels, strict=True))
        for name in reader.missed:
            assert truth[name] == 1 and value[name] == 0
            assert not any(s.finding == name and s.polarity != "absent" for s in noisy.reading.statements)
        for finding in reader.overcalled:
            assert truth[finding.name] == 0
            assert any(s.finding == finding.name and s.polarity != "absent" for s in noisy.reading.statements)
        if not reader.missed and not reader.overcalled:
            assert np.array_equal(noisy.reading.labels, true.truth.labels, equal_nan=True)
        missed, overcalled = missed + len(reader.missed), overcalled + len(reader.overcalled)
    assert missed > 10 and overcalled > 5


def test_a_noisy_reader_is_redrawn_from_the_parameters():
    for seed in range(12):
        study = generate_study(seed, image_size=64, label_noise=0.8, reader_style="mixed")
        restored = PhantomParameters.from_dict(study.parameters.to_dict())
        assert restored == study.parameters
        assert draw_study(restored).reading.statements == study.reading.statements


@pytest.mark.parametrize("style", ["narrative", "structured", "terse"])
def test_reports_of_every_style_are_read_back(style):
    kept = []
    for seed in range(20_000, 20_012):
        study = generate_study(seed, image_size=64, reader_style=style)
        example = to_example(study, patient_id="p", study_id="s", seed=seed)
        labels = dict(zip(FINDING_NAMES, example["labels"], strict=True))
        for entry in read_report(example["report"]).to_region_findings():
            if not entry["region"]:
                assert labels[entry["finding"]] != {"present": 0, "absent": 1}.get(entry["polarity"])
            kept.append(entry)
        assert ("FINDINGS:" in example["report"]) == (style != "terse")
        assert ("\nPleura: " in example["report"] or "\nLungs: " in example["report"]) == (style == "structured")
    assert len(kept) > 12


def test_bad_readers_are_named():
    with pytest.raises(ValueError, match=r"label_noise is 1\.5; it is a share from 0 to 1"):
        generate_patient(1, image_size=64, label_noise=1.5)
    with pytest.raises(SynthesisError, match="unknown reader_style 'loud'; choose one of narrative"):
        generate_dataset(3, image_size=64, reader_style="loud")
