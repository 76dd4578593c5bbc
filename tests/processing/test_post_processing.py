"""From raw outputs to named regions in pixels of the film."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anatomy_vlm.processing.finding_prompts_anatomy_vlm import check_finding_prompts, score_findings, unique_texts
from anatomy_vlm.processing.image_processing_pil_anatomy_vlm import AnatomyVLMImageProcessorPil
from anatomy_vlm.processing.letterbox_anatomy_vlm import boxes_to_canvas, corners_to_center, fit_letterbox


PROMPTS = {
    "pneumothorax": {"positive": ["a pneumothorax"], "negative": ["no pneumothorax"]},
    "pleural effusion": {"positive": ["an effusion", "pleural fluid"], "negative": ["no effusion", "clear lungs"]},
    "consolidation": {"positive": ["a consolidation"], "negative": ["clear lungs"]},
    "fracture": {"positive": ["a rib fracture"], "negative": []},
}


def outputs_for(boxes: torch.Tensor, sizes, canvas, presence, keep_aspect=True):
    """Outputs of a perfect model: `boxes` (batch, regions, 4) in pixels of films of `sizes`."""
    normalised = []
    for image_boxes, size in zip(boxes, sizes):
        place = fit_letterbox(size, canvas, keep_aspect)
        on_canvas = boxes_to_canvas(image_boxes, place)
        normalised.append(on_canvas / torch.tensor([canvas[1], canvas[0], canvas[1], canvas[0]]))
    return SimpleNamespace(pred_boxes=corners_to_center(torch.stack(normalised)), presence_logits=presence)


@given(st.integers(50, 4000), st.integers(50, 4000), st.booleans(), st.sampled_from([(224, 224), (320, 256)]))
def test_boxes_come_back_in_pixels_of_the_film(height, width, do_pad, canvas):
    fractions = torch.tensor([[[0.1, 0.2, 0.4, 0.9], [0.6, 0.2, 0.95, 0.8]]], dtype=torch.float64)
    boxes = fractions * torch.tensor([width, height, width, height])
    outputs = outputs_for(boxes, [(height, width)], canvas, torch.full((1, 2), 4.0), do_pad)
    processor = AnatomyVLMImageProcessorPil(size={"height": canvas[0], "width": canvas[1]}, do_pad=do_pad)
    found = processor.post_process_object_detection(outputs, target_sizes=[(height, width)])[0]
    assert torch.allclose(found["boxes"].double(), boxes[0], atol=1e-5 * max(height, width))
    assert found["labels"].tolist() == [0, 1]
    assert found["boxes"][0, 2] < width / 2 < found["boxes"][1, 0], "the right lung stays on the image's left"


def test_scores_threshold_and_batch():
    outputs = SimpleNamespace(
        pred_boxes=torch.full((2, 3, 4), 0.5),
        presence_logits=torch.tensor([[4.0, -4.0, 0.1], [-4.0, -4.0, -4.0]]),
    )
    processor = AnatomyVLMImageProcessorPil()
    first, second = processor.post_process_object_detection(outputs, target_sizes=torch.tensor([[100, 80], [50, 50]]))
    assert first["labels"].tolist() == [0, 2] and torch.allclose(first["scores"], torch.tensor([4.0, 0.1]).sigmoid())
    assert second["boxes"].shape == (0, 4)
    assert len(processor.post_process_object_detection(outputs, threshold=0.0)[1]["labels"]) == 3


def test_logits_stand_in_for_presence():
    logits = torch.tensor([[[5.0, 0.0, 0.0], [0.0, 0.0, 5.0]]])
    outputs = SimpleNamespace(pred_boxes=torch.full((1, 2, 4), 0.5), logits=logits, presence_logits=None)
    found = AnatomyVLMImageProcessorPil().post_process_object_detection(outputs)[0]
    assert found["labels"].tolist() == [0]


def test_another_canvas_than_the_processors_own():
    boxes = torch.tensor([[[10.0, 20.0, 60.0, 90.0]]])
    outputs = outputs_for(boxes, [(101, 73)], (448, 448), torch.full((1, 1), 9.0))
    found = AnatomyVLMImageProcessorPil().post_process_object_detection(outputs, target_sizes=[(101, 73)], size=448)
    assert torch.allclose(found[0]["boxes"], boxes[0], atol=1e-4)


def test_boxes_do_not_leave_the_film():
    outputs = SimpleNamespace(pred_boxes=torch.tensor([[[0.5, 0.5, 3.0, 3.0]]]), presence_logits=torch.ones(1, 1))
    found = AnatomyVLMImageProcessorPil().post_process_object_detection(outputs, target_sizes=[(100, 50)])[0]
    assert found["boxes"].tolist() == [[0, 0, 50, 100]]


def test_target_sizes_must_match_the_batch():
    outputs = SimpleNamespace(pred_boxes=torch.zeros(2, 3, 4), presence_logits=torch.zeros(2, 3))
    with pytest.raises(ValueError, match="target_sizes"):
        AnatomyVLMImageProcessorPil().post_process_object_detection(outputs, target_sizes=[(10, 10)])


def test_texts_are_read_once_each():
    texts = unique_texts(PROMPTS)
    assert len(texts) == len(set(texts)) == 8 and texts[:2] == ["a pneumothorax", "no pneumothorax"]


def test_scores_are_the_difference_of_mean_logits():
    texts = unique_texts(PROMPTS)
    torch.manual_seed(0)
    image, region = torch.randn(2, len(texts)), torch.randn(2, 29, len(texts))
    scored = score_findings(SimpleNamespace(logits_per_image=image, logits_per_region=region), PROMPTS)
    assert scored.names == tuple(PROMPTS)
    assert scored.image_scores.shape == (2, 4) and scored.region_scores.shape == (2, 29, 4)

    def logit(values, text):
        return values[..., texts.index(text)]

    for values, scores in ((image, scored.image_scores), (region, scored.region_scores)):
        pair = logit(values, "a pneumothorax") - logit(values, "no pneumothorax")
        assert torch.allclose(scores[..., 0], pair.sigmoid(), atol=1e-6)
        positive = (logit(values, "an effusion") + logit(values, "pleural fluid")) / 2
        negative = (logit(values, "no effusion") + logit(values, "clear lungs")) / 2
        assert torch.allclose(scores[..., 1], (positive - negative).sigmoid(), atol=1e-6)
        assert torch.allclose(scores[..., 3], logit(values, "a rib fracture").sigmoid(), atol=1e-6)


def test_outputs_of_other_prompts_are_refused():
    with pytest.raises(ValueError, match="prompt_texts"):
        score_findings(SimpleNamespace(logits_per_image=torch.zeros(1, 3), logits_per_region=None), PROMPTS)


@pytest.mark.parametrize(
    "pair",
    [{}, {"positive": []}, {"positive": "a text"}, {"positive": ["a"], "neg": ["b"]}, {"positive": [" "]}, ["a"]],
)
def test_prompts_of_another_shape_are_refused(pair):
    with pytest.raises(ValueError, match="pneumonia"):
        check_finding_prompts({"pneumonia": pair})
