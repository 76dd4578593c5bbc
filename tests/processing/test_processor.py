"""The processor: what it saves, and named regions with findings."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from anatomy_vlm.processing.finding_prompts_anatomy_vlm import score_findings
from anatomy_vlm.processing.image_processing_pil_anatomy_vlm import AnatomyVLMImageProcessorPil
from anatomy_vlm.processing.processing_anatomy_vlm import AnatomyVLMProcessor


LABELS = ["right lung", "left lung", "cardiac silhouette"]
PROMPTS = {"pneumothorax": {"positive": ["pneumothorax"], "negative": ["no pneumothorax"]}}


@pytest.fixture
def processor() -> AnatomyVLMProcessor:
    words = ["[PAD]", "[UNK]", "no", "pneumothorax"]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return AnatomyVLMProcessor(
        AnatomyVLMImageProcessorPil(size={"height": 32, "width": 32}),
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]"),
        anatomy_labels=LABELS,
        finding_prompts=PROMPTS,
        finding_thresholds={"pneumothorax": 0.3},
    )


def outputs() -> SimpleNamespace:
    # On a canvas of 32x32 a film of 100x50 takes columns 8 to 24.
    boxes = torch.tensor([[[12.0, 16.0, 8.0, 16.0], [20.0, 16.0, 8.0, 16.0], [16.0, 20.0, 8.0, 8.0]]]) / 32
    return SimpleNamespace(
        pred_boxes=boxes,
        presence_logits=torch.tensor([[3.0, 3.0, -3.0]]),
        logits_per_image=torch.tensor([[1.0, -1.0]]),
        logits_per_region=torch.tensor([[[-2.0, 2.0], [2.0, -2.0], [0.0, 0.0]]]),
    )


def test_one_call_makes_images_and_texts(processor):
    batch = processor(images=[np.zeros((50, 40), dtype=np.uint8)], text=processor.prompt_texts(), return_tensors="pt")
    assert batch["pixel_values"].shape == (1, 3, 32, 32) and batch["input_ids"].tolist() == [[3, 0], [2, 3]]


def test_everything_is_restored_from_disk(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    loaded = AnatomyVLMProcessor.from_pretrained(tmp_path)
    assert loaded.anatomy_labels == LABELS and loaded.finding_prompts == PROMPTS
    assert loaded.finding_thresholds == {"pneumothorax": 0.3}
    assert loaded.to_dict() == processor.to_dict()


def test_named_regions_with_findings_on_the_patients_side(processor):
    (regions,) = processor.post_process_anatomy(outputs(), target_sizes=[(100, 50)])
    assert [region["name"] for region in regions] == ["right lung", "left lung"]
    right, left = regions
    assert np.allclose(right["box"], [0, 25, 25, 75]) and np.allclose(left["box"], [25, 25, 50, 75])
    assert right["findings"][0]["score"] < 0.1 and left["findings"][0]["score"] > 0.9
    assert left["findings"][0]["name"] == "pneumothorax" and left["label"] == 1
    assert all(isinstance(value, float) for value in [*right["box"], right["score"]])


def test_regions_without_prompts_have_no_findings(processor):
    processor.finding_prompts = None
    assert processor.post_process_anatomy(outputs())[0][0]["findings"] == []
    with pytest.raises(ValueError, match="finding_prompts"):
        processor.prompt_texts()


def test_findings_of_the_image_carry_their_thresholds(processor):
    ((finding,),) = processor.post_process_findings(outputs())
    assert finding == {"name": "pneumothorax", "score": pytest.approx(torch.tensor(2.0).sigmoid()), "threshold": 0.3}


def test_object_detection_is_delegated(processor):
    found = processor.post_process_object_detection(outputs(), 0.5, [(100, 50)])[0]
    assert found["labels"].tolist() == [0, 1] and np.allclose(found["boxes"][0], [0, 25, 25, 75])


def test_without_labels_regions_are_numbered(processor):
    processor.anatomy_labels = None
    assert processor.post_process_anatomy(outputs())[0][1]["name"] == "LABEL_1"
    processor.anatomy_labels = ["right lung"]
    with pytest.raises(ValueError, match="anatomy_labels"):
        processor.post_process_anatomy(outputs())


def test_thresholds_of_unknown_findings_are_refused(processor):
    with pytest.raises(ValueError, match="edema"):
        AnatomyVLMProcessor(processor.image_processor, processor.tokenizer, finding_thresholds={"edema": 0.5})


def test_regions_add_to_the_score_of_the_image_on_request():
    prompts = {"pneumothorax": {"positive": ["pneumothorax"], "negative": ["no pneumothorax"]}}
    outputs = SimpleNamespace(
        logits_per_image=torch.tensor([[0.5, 1.0], [0.5, 1.0]]),
        logits_per_region=torch.tensor([[[0.0, 3.0], [4.0, 1.0]], [[0.0, 3.0], [0.0, 3.0]]]),
    )
    alone = score_findings(outputs, prompts).image_scores[:, 0]
    assert torch.allclose(alone, torch.sigmoid(torch.tensor([-0.5, -0.5])))
    both = score_findings(outputs, prompts, region_evidence=True).image_scores[:, 0]
    margins = torch.tensor([[-3.0, 3.0], [-3.0, -3.0]]).exp().sum(1).log() - 0.5
    assert torch.allclose(both, torch.sigmoid(margins)) and both[0] > both[1]
