"""The example schema and the laterality-safe flip."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from anatomy_vlm.processing.schema import ExampleError, example_facts, features, flip_example, validate_example
from anatomy_vlm.processing.statements import POLARITIES, Statement, render_sentence
from anatomy_vlm.processing.vocabulary import FINDING_NAMES, REGION_NAMES, SEVERITIES, get_region, mirror_text


def make_example(claims=(), seed=0):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 0.5, (29, 2)).astype(np.float32)
    labels = rng.choice(np.array([0, 1, np.nan], dtype=np.float32), len(FINDING_NAMES))
    entries = [
        {
            "region": claim.region or "",
            "finding": claim.finding,
            "polarity": claim.polarity,
            "severity": claim.severity or "",
            "phrase": render_sentence(claim, seed),
        }
        for claim in claims
    ]
    return {
        "image": Image.fromarray(rng.integers(0, 255, (17, 23), dtype=np.uint8)),
        "boxes": np.concatenate([low, low + rng.uniform(0.1, 0.5, (29, 2)).astype(np.float32)], axis=1),
        "box_mask": rng.random(29) < 0.8,
        "region_findings": entries,
        "labels": labels,
        "report": " ".join(entry["phrase"] for entry in entries),
        "patient_id": "p1",
        "study_id": "s1",
        "image_id": f"i{seed}",
        "view": "PA",
        "source": "test",
    }


claims = st.lists(
    st.builds(
        lambda finding, polarity, region, severity: Statement(
            finding, polarity, region, None if polarity == "absent" else severity
        ),
        st.sampled_from(FINDING_NAMES),
        st.sampled_from(POLARITIES),
        st.sampled_from((None, *REGION_NAMES)),
        st.sampled_from((None, *SEVERITIES)),
    ),
    max_size=6,
)


@settings(deadline=None, max_examples=40)
@given(claims, st.integers(0, 1000))
def test_flip(claims, seed):
    example = make_example(claims, seed)
    example["mask"] = example["image"].point(lambda value: 255 * (value > 100))
    validate_example(example)
    flipped = flip_example(example)
    validate_example(flipped)
    back = flip_example(flipped)
    assert {key for key in example if key not in ("image", "mask", "boxes", "box_mask", "labels")} <= set(back)
    for key, value in example.items():
        if key in ("image", "mask"):
            assert back[key].tobytes() == value.tobytes()
            assert (np.asarray(flipped[key]) == np.asarray(value)[:, ::-1]).all()
        elif key == "boxes":
            np.testing.assert_allclose(back[key], value, atol=1e-7)
        elif key in ("box_mask", "labels"):
            np.testing.assert_array_equal(back[key], value)
        else:
            assert back[key] == value
    for name in REGION_NAMES:
        index, mirror = get_region(name).index, get_region(get_region(name).mirror).index
        x0, y0, x1, y1 = example["boxes"][index]
        np.testing.assert_allclose(flipped["boxes"][mirror], [1 - x1, y0, 1 - x0, y1], atol=1e-6)
        assert flipped["box_mask"][mirror] == example["box_mask"][index]
    for before, after in zip(example["region_findings"], flipped["region_findings"], strict=True):
        assert after["region"] == (get_region(before["region"]).mirror if before["region"] else "")
        assert after["phrase"] == mirror_text(before["phrase"])
    expected, found = example_facts(example).mirrored(), example_facts(flipped)
    np.testing.assert_array_equal(found.facts, expected.facts)
    np.testing.assert_array_equal(found.severity, expected.severity)
    np.testing.assert_array_equal(found.unmentioned, expected.unmentioned)


def test_flip_exchanges_the_sides_in_the_mask():
    example = make_example([], 0)
    values = np.zeros((example["image"].height, example["image"].width), dtype=np.uint8)
    for column, value in enumerate((1, 2, 3, 255)):
        values[:, 2 * column] = value
    example["mask"] = Image.fromarray(values)
    flipped = flip_example(example)
    expected = np.array([0, 2, 1, 3, *range(4, 256)])[values[:, ::-1]]
    np.testing.assert_array_equal(np.asarray(flipped["mask"]), expected)
    assert flip_example(flipped)["mask"].tobytes() == example["mask"].tobytes()


def test_round_trip_through_datasets():
    import datasets

    example = make_example([Statement("pneumonia", "present", "left lung", "mild"), Statement("picc", "absent")])
    dataset = datasets.Dataset.from_list([example], features=features())
    back = dataset[0]
    validate_example(back)
    assert back["image"].tobytes() == example["image"].tobytes()
    np.testing.assert_array_equal(np.asarray(back["boxes"], dtype=np.float32), example["boxes"])
    np.testing.assert_array_equal(np.asarray(back["labels"], dtype=np.float32), example["labels"])
    assert back["region_findings"] == example["region_findings"]
    assert set(features(mask=True)) - set(features()) == {"mask"}


def broken_box(example, box):
    example["box_mask"] = [True] * 29
    example["boxes"][8] = box


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda e: e.pop("boxes"), r"example i0: boxes missing; every example has image, boxes"),
        (lambda e: e.update(age=50), r"example i0: unknown key age"),
        (lambda e: e.update(image=e["image"].convert("RGB")), r"image is .*expected a PIL image of mode L"),
        (lambda e: e.update(image="film.png"), r"image is 'film.png', expected a PIL image"),
        (lambda e: e.update(mask=e["image"].resize((5, 5))), r"mask is \(5, 5\) pixels, the image \(23, 17\)"),
        (
            lambda e: e.update(mask=Image.new("L", (23, 17), 4)),
            r"mask has the value 4; expected 0 background, 1 right",
        ),
        (lambda e: e.update(boxes=e["boxes"][:28]), r"boxes has shape \(28, 4\), expected \(29, 4\)"),
        (lambda e: e.update(boxes="none"), r"boxes is not an array of numbers"),
        (lambda e: broken_box(e, [0, 0, 0, 0]), r"boxes\[8\] \(left lung\) is \[0.0, 0.0, 0.0, 0.0\].*box_mask False"),
        (lambda e: broken_box(e, [0, 0, 1.5, 1]), r"boxes\[8\] \(left lung\).*within \[0, 1\]"),
        (lambda e: broken_box(e, [0, np.nan, 1, 1]), r"boxes\[8\] \(left lung\)"),
        (lambda e: e.update(labels=np.full(len(FINDING_NAMES), -1)), r"labels\[0\] \(lung opacity\) is -1.0"),
        (lambda e: e.update(labels=[0.0] * 14), r"labels has shape \(14,\)"),
        (lambda e: e.update(view="FRONTAL"), r"view is 'FRONTAL', expected one of"),
        (lambda e: e.update(patient_id=7), r"patient_id is 7, expected text"),
        (lambda e: e.update(patient_id=""), r"patient_id is empty"),
        (lambda e: e.update(image_id=""), r"example \(no image_id\): image_id is empty"),
        (lambda e: e.update(region_findings="x"), r"region_findings is str, expected a list"),
        (lambda e: e["region_findings"][0].pop("phrase"), r"region_findings\[0\] is .*expected a dict with the keys"),
        (lambda e: e["region_findings"][0].update(severity=None), r"region_findings\[0\]: severity is None"),
        (lambda e: e["region_findings"][0].update(region="heart"), r"region_findings\[0\]: unknown region 'heart'"),
        (lambda e: e["region_findings"][0].update(finding="flu"), r"region_findings\[0\]: unknown finding 'flu'"),
        (lambda e: e["region_findings"][0].update(polarity="no"), r"region_findings\[0\]: polarity 'no'"),
    ],
)
def test_violations_name_the_key(break_it, message):
    example = make_example([Statement("pneumonia", "present", "left lung")])
    validate_example(example)
    break_it(example)
    with pytest.raises(ExampleError, match=message) as caught:
        validate_example(example)
    assert "\n" not in str(caught.value)


def test_a_region_without_a_box_may_have_any_box():
    example = make_example()
    example["box_mask"] = [False] * 29
    example["boxes"] = np.zeros((29, 4))
    validate_example(example)
