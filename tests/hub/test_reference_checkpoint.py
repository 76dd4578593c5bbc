"""The checkpoint that comes with the package: small, complete, and right about left and right."""

import json

import numpy as np
import pytest
from PIL import Image

from anatomy_vlm import predict
from anatomy_vlm.hub_cards import REFERENCE_MODEL
from anatomy_vlm.processing.vocabulary import REGION_NAMES
from anatomy_vlm.training.evaluation.boxes import box_iou
from anatomy_vlm.training.model_folder import load_checkpoint


SIDES = ("right lung", "left lung")


def boxes(records: list[dict], region: str) -> np.ndarray:
    return np.array([{r["name"]: r["box"] for r in record["regions"]}[region] for record in records])


def test_it_is_small_and_complete():
    files = {path.name: path.stat().st_size for path in REFERENCE_MODEL.iterdir()}
    assert {"config.json", "model.safetensors", "processor_config.json", "tokenizer.json", "README.md"} <= set(files)
    assert sum(files.values()) < 30e6
    assert not [name for name in files if name.endswith((".bin", ".pt", ".pkl", ".py"))]


def test_it_tells_nothing_about_the_machine_that_made_it():
    for name in ("config.json", "processor_config.json", "tokenizer_config.json", "README.md"):
        text = (REFERENCE_MODEL / name).read_text(encoding="utf-8")
        assert "site-packages" not in text and '": "/' not in text and "/tmp/" not in text


def test_its_card_states_what_was_measured():
    card = (REFERENCE_MODEL / "README.md").read_text(encoding="utf-8")
    results = json.loads((REFERENCE_MODEL / "results.json").read_text(encoding="utf-8"))
    for name, row in results["real films"]["wingspan"].items():
        assert f"| Wingspan, 155 films | {name} | {row['iou']:.3f} |" in card
    assert "Not a medical device" in card and "synthetic" in card


def test_scores_of_its_findings_are_calibrated():
    _, processor = load_checkpoint(REFERENCE_MODEL)
    calibrated = set(processor.calibration.image)
    assert "pleural effusion" in calibrated and calibrated <= set(processor.finding_prompts)


def test_it_finds_synthetic_lungs_on_their_own_side(tmp_path):
    pytest.importorskip("numba", reason="the parametric chest needs the extra `synthesis`")
    from anatomy_vlm.synthesis import generate_patient

    examples = [generate_patient(seed, image_size=160)[0] for seed in range(900_000_000, 900_000_012)]
    for index, example in enumerate(examples):
        example["image"].save(tmp_path / f"{index:02d}.png")
    records = predict(tmp_path, device="cpu")
    assert {record["model"] for record in records} == {"phantom-reference"}
    right, left = (REGION_NAMES.index(name) for name in SIDES)
    shown = np.array([example["box_mask"][[right, left]].all() for example in examples])
    assert shown.sum() > 6
    truth = {name: np.array([e["boxes"][REGION_NAMES.index(name)] for e in examples])[shown] * 160 for name in SIDES}
    for own, other in (SIDES, SIDES[::-1]):
        found = boxes(records, own)[shown]
        assert box_iou(found, truth[own]).mean() > 0.75
        assert box_iou(found, truth[other]).mean() < 0.15


def test_it_finds_real_lungs_on_their_own_side(real_data):
    folder = real_data / "cxr_wingspan_ctr"
    if not folder.is_dir():
        pytest.skip("the real radiographs with boxes are not there")
    truth = json.loads((folder / "boxes_xyxy_512.json").read_text())
    names = sorted(truth)[::10]
    records = predict([folder / "png" / name for name in names], device="cpu")
    assert all(Image.open(folder / "png" / name).size == (512, 512) for name in names)
    for own, other in (SIDES, SIDES[::-1]):
        found = boxes(records, own)
        own_iou, other_iou = (
            box_iou(found, np.array([truth[n][side.replace(" ", "_")] for n in names])) for side in (own, other)
        )
        assert own_iou.mean() > 0.8 and (own_iou - other_iou).mean() > 0.6
