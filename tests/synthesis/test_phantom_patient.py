"""Parametric chest: determinism, laterality, polarity, truth of what is said."""

import dataclasses
import json

import numpy as np
import pytest

from anatomy_vlm.processing.schema import validate_example
from anatomy_vlm.processing.vocabulary import FINDING_NAMES, REGION_NAMES, get_region, more_general_findings


pytest.importorskip("numba", reason="the parametric chest needs the extra `synthesis`")

from anatomy_vlm.synthesis.phantom import (
    PhantomParameters,
    PlacedFinding,
    draw_study,
    generate_patient,
    generate_study,
    sample_parameters,
)
from anatomy_vlm.synthesis.phantom.findings import settle
from anatomy_vlm.synthesis.phantom.march import M
from anatomy_vlm.synthesis.phantom.patient import to_example


SIZE = 112
SEEDS = range(36)


@pytest.fixture(scope="module")
def studies():
    return [generate_study(seed, image_size=SIZE, domain="mixed") for seed in SEEDS]


@pytest.fixture(scope="module")
def examples(studies):
    return [
        to_example(study, patient_id=f"p{seed}", study_id=f"s{seed}", seed=seed)
        for seed, study in zip(SEEDS, studies, strict=True)
    ]


def box_of(study, name):
    return study.regions.boxes[REGION_NAMES.index(name)]


def has(study, *names):
    return all(study.regions.box_mask[REGION_NAMES.index(name)] for name in names)


def normal_parameters(seed=3, **pose):
    """A wholly normal upright study without devices or marks."""
    parameters = sample_parameters(seed, image_size=SIZE)
    look = dataclasses.replace(parameters.look, marker="", letters=0, collimation=(0.0,) * 4, photons=1e6)
    body = dataclasses.replace(parameters.body, scoliosis=0.0, situs_inversus=False, dextrocardia=False)
    settled = {"view": "PA", "supine": False, "rotation": 0.0, "roll": 0.0, "lordosis": 0.0, **pose}
    return dataclasses.replace(
        parameters, look=look, body=body, findings=(), pose=dataclasses.replace(parameters.pose, **settled)
    )


def with_finding(parameters, name, side, *, severity="moderate", zone="", seed=0):
    finding = settle(
        np.random.default_rng(seed), PlacedFinding(name, side, severity, zone), parameters.body, parameters.pose
    )
    return dataclasses.replace(parameters, findings=(finding,))


def test_examples_follow_the_schema(examples):
    for example in examples:
        validate_example(example)


def test_same_seed_gives_the_same_bytes():
    first, second = (generate_patient(5, image_size=SIZE, num_studies=2, domain="mixed") for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert a["image"].tobytes() == b["image"].tobytes()
        assert np.array_equal(a["boxes"], b["boxes"])
        assert a["report"] == b["report"]
        assert a["region_findings"] == b["region_findings"]
    assert first[0]["image"].tobytes() != first[1]["image"].tobytes()
    assert first[0]["image"].tobytes() != generate_patient(6, image_size=SIZE)[0]["image"].tobytes()


def test_parameters_redraw_the_film_after_json():
    study = generate_study(11, image_size=SIZE, domain="mixed")
    restored = PhantomParameters.from_dict(json.loads(json.dumps(study.parameters.to_dict())))
    assert restored == study.parameters
    assert np.array_equal(draw_study(restored).film, study.film)


def test_one_body_per_patient_and_different_studies():
    first, second = (sample_parameters(7, study, image_size=SIZE) for study in (0, 1))
    assert first.body == second.body
    assert first.pose != second.pose


def test_unknown_domain_is_named():
    with pytest.raises(ValueError, match="unknown domain 'mri'"):
        generate_patient(0, image_size=SIZE, domain="mri")


def test_right_lung_lies_left_of_left_lung(studies):
    for study in studies:
        if has(study, "right lung", "left lung"):
            assert box_of(study, "right lung")[0] < box_of(study, "left lung")[0]
            assert box_of(study, "right lung")[2] < box_of(study, "left lung")[2]


def test_heart_points_to_the_patients_left(studies):
    seen = 0
    for study in studies:
        body = study.parameters.body
        if body.situs_inversus or body.dextrocardia or abs(study.parameters.pose.rotation) > 6:
            continue
        if has(study, "cardiac silhouette", "spine"):
            heart, spine = box_of(study, "cardiac silhouette"), box_of(study, "spine")
            assert heart[[0, 2]].mean() > spine[[0, 2]].mean()
            seen += 1
    assert seen > 20


def test_situs_inversus_mirrors_the_anatomy_not_the_names():
    parameters = normal_parameters(centre_x=0.0)
    mirrored = dataclasses.replace(parameters, body=dataclasses.replace(parameters.body, situs_inversus=True))
    usual, inverse = draw_study(parameters), draw_study(mirrored)
    swap = [M[name] for name in ("air_right", "air_left")]
    assert np.allclose(usual.exposure.maps[swap], inverse.exposure.maps[swap[::-1]][:, :, ::-1], atol=0.2)
    assert box_of(inverse, "right lung")[0] < box_of(inverse, "left lung")[0]
    heart = box_of(inverse, "cardiac silhouette")
    assert heart[[0, 2]].mean() < 0.5 < box_of(usual, "cardiac silhouette")[[0, 2]].mean()


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(
    ("name", "zone"),
    [
        ("pleural effusion", ""),
        ("pneumothorax", ""),
        ("consolidation", "mid"),
        ("mass/nodule (not otherwise specified)", "upper"),
    ],
)
def test_a_finding_changes_its_own_side(name, zone, side):
    plain = normal_parameters()
    change = np.abs(
        draw_study(with_finding(plain, name, side, zone=zone)).exposure.line - draw_study(plain).exposure.line
    )
    middle = SIZE // 2
    right, left = change[:, : middle - 6].sum(), change[:, middle + 6 :].sum()
    own, other = (right, left) if side == "right" else (left, right)
    assert own > 5 * other


@pytest.mark.parametrize("name", ["consolidation", "pneumothorax", "pleural effusion"])
def test_a_finding_changes_its_regions_more_than_the_rest(name):
    plain = normal_parameters()
    found = draw_study(with_finding(plain, name, "left", zone="lower" if name == "consolidation" else ""))
    change = np.abs(found.exposure.line - draw_study(plain).exposure.line)
    extent = found.truth.extents[0]
    assert extent.any()
    assert change[extent].mean() > 4 * change[~extent].mean()


@pytest.mark.parametrize("name", ["consolidation", "pleural effusion", "pneumothorax"])
def test_severity_grows(name):
    plain = normal_parameters()
    zone = "mid" if name == "consolidation" else ""
    areas = []
    for grade in ("mild", "moderate", "severe"):
        study = draw_study(with_finding(plain, name, "right", severity=grade, zone=zone))
        areas.append(int(study.truth.extents[0].sum()))
    assert areas[0] < areas[1] < areas[2]


def test_bone_and_heart_are_bright(studies):
    for study in studies:
        free = study.film[study.regions.lungs["right"] | study.regions.lungs["left"]]
        heart = study.film[study.regions.heart]
        if len(heart) and len(free):
            assert np.median(heart) > np.median(free)


def test_ratio_and_label_agree(studies):
    for study in studies:
        ratio = study.regions.cardiothoracic_ratio
        label = study.truth.labels[FINDING_NAMES.index("enlarged cardiac silhouette")]
        assert (np.isnan(ratio) and np.isnan(label)) or label == float(ratio > 0.5)


def test_labels_agree_with_statements(examples):
    for example in examples:
        present, absent = set(), set()
        for entry in example["region_findings"]:
            (present if entry["polarity"] == "present" else absent).add(entry["finding"])
        labels = dict(zip(FINDING_NAMES, example["labels"], strict=True))
        for name, label in labels.items():
            if label == 1:
                assert name in present
            if label == 0:
                assert name not in present
        assert {name for name, label in labels.items() if label == label} >= present


def test_statements_never_contradict_each_other(examples):
    for example in examples:
        polarity = {}
        for entry in example["region_findings"]:
            key = (entry["finding"], entry["region"])
            assert polarity.setdefault(key, entry["polarity"]) == entry["polarity"]
        for (finding, region), value in polarity.items():
            for general in more_general_findings(finding):
                if value == "present":
                    assert polarity.get((general, region)) == "present"
            if value == "present":
                for parent in get_region(region).parents:
                    assert polarity.get((finding, parent), "present") == "present"


def test_reports_are_true(examples):
    """Nothing is both affirmed as a bare phrase and denied for the whole image."""
    for example in examples:
        labels = dict(zip(FINDING_NAMES, example["labels"], strict=True))
        report = example["report"].lower()
        if labels["pneumothorax"] == 1:
            assert "no pneumothorax." not in report.split("\n")[-1]
            assert "pneumothorax" in report or "pleural air" in report
        if all(label != 1 for label in labels.values()):
            assert "normal chest" in report or "no acute" in report


def test_a_quarter_is_wholly_normal():
    drawn = [sample_parameters(seed, image_size=SIZE) for seed in range(400)]
    devices = {"endotracheal tube", "enteric tube", "picc", "ij line", "cardiac pacer and wires", "sternotomy wires"}
    empty = sum(not {f.name for f in p.findings} - devices for p in drawn) / len(drawn)
    assert 0.25 < empty < 0.42


def test_marks_and_devices_do_not_tell_findings():
    """Share of pleural effusions with and without a marker, letters or devices: no more apart than chance."""
    drawn = [sample_parameters(seed, image_size=SIZE, domain="mixed") for seed in range(1000)]
    effusion = np.array([any(f.name == "pleural effusion" for f in p.findings) for p in drawn])
    tube = np.array([any(f.name == "enteric tube" for f in p.findings) for p in drawn])
    for clue in (np.array([bool(p.look.marker) for p in drawn]), np.array([p.look.letters > 0 for p in drawn]), tube):
        spread = np.sqrt(effusion.mean() * (1 - effusion.mean()) * (1 / clue.sum() + 1 / (~clue).sum()))
        assert abs(effusion[clue].mean() - effusion[~clue].mean()) < 4 * spread
