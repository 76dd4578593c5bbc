"""The pipelines of Transformers on an exported folder."""

import pytest
import torch
from transformers import pipeline


def test_zero_shot_image_classification(hub_folder, tiny, film):
    classify = pipeline("zero-shot-image-classification", model=str(hub_folder))
    texts = ["pleural effusion", "no pleural effusion", "pneumothorax"]
    scores = {
        entry["label"]: entry["score"] for entry in classify(film, candidate_labels=texts, hypothesis_template="{}")
    }
    model, processor = tiny
    with torch.no_grad():
        logits = model(**processor(images=film, text=texts, return_tensors="pt")).logits_per_image[0]
    assert [scores[text] for text in texts] == pytest.approx(logits.softmax(-1).tolist(), abs=1e-5)
    batch = classify([film, film], candidate_labels=texts, hypothesis_template="{}")
    assert [len(entry) for entry in batch] == [3, 3]


def test_object_detection(tiny, film):
    model, processor = tiny
    detect = pipeline("object-detection", model=model, image_processor=processor.image_processor)
    found = detect(film, threshold=0.0)
    with torch.no_grad():
        outputs = model(**processor(images=film, return_tensors="pt"))
    expected = processor.post_process_anatomy(outputs, target_sizes=[(film.height, film.width)], threshold=0.0)[0]
    assert {entry["label"] for entry in found} == set(processor.anatomy_labels)
    boxes = {entry["label"]: entry for entry in found}
    for region in expected:
        entry = boxes[region["name"]]
        assert entry["score"] == pytest.approx(region["score"], abs=1e-5)
        corners = [entry["box"][key] for key in ("xmin", "ymin", "xmax", "ymax")]
        assert corners == pytest.approx(region["box"], abs=1.0)


def test_image_feature_extraction(tiny, film):
    model, processor = tiny
    embed = pipeline("image-feature-extraction", model=model, image_processor=processor.image_processor)
    embedding = torch.tensor(embed(film))
    with torch.no_grad():
        expected = model(**processor(images=film, return_tensors="pt")).image_embeds
    torch.testing.assert_close(embedding, expected, rtol=0, atol=1e-5)
