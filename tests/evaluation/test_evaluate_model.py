"""The evaluation of a real, tiny model on a tiny dataset, from pictures to tables."""

import math

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, PreTrainedTokenizerFast

from anatomy_vlm.modeling import AnatomyVLMConfig, AnatomyVLMModel, AnatomyVLMVisionConfig
from anatomy_vlm.processing import AnatomyVLMImageProcessorPil, AnatomyVLMProcessor
from anatomy_vlm.processing.schema import features
from anatomy_vlm.processing.vocabulary import FINDING_NAMES, REGION_NAMES
from anatomy_vlm.training.evaluation import Threshold, evaluate_model
from anatomy_vlm.training.evaluation.reader import Reader, Readings
from anatomy_vlm.training.evaluation.targets import collect_targets


PROMPTS = {
    "pneumothorax": {"positive": ["a pneumothorax", "pneumothorax"], "negative": ["no pneumothorax"]},
    "pleural effusion": {"positive": ["an effusion"], "negative": ["no effusion"]},
}


@pytest.fixture(scope="module")
def processor():
    words = ["[UNK]", "[PAD]", "a", "an", "no", "pneumothorax", "effusion", "nodule"]
    backend = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="[UNK]",
        pad_token="[PAD]",
        model_input_names=["input_ids", "attention_mask"],
    )
    image_processor = AnatomyVLMImageProcessorPil(size={"height": 32, "width": 32})
    return AnatomyVLMProcessor(image_processor, tokenizer, anatomy_labels=list(REGION_NAMES), finding_prompts=PROMPTS)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    text = BertConfig(vocab_size=8, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    vision = AnatomyVLMVisionConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8
    )
    return AnatomyVLMModel(AnatomyVLMConfig(vision_config=vision, text_config=text, projection_dim=8)).eval()


def make_example(index, patient):
    rng = np.random.default_rng(index)
    low = rng.random((29, 2)) * 0.4
    labels = np.full(len(FINDING_NAMES), np.nan, dtype=np.float32)
    labels[FINDING_NAMES.index("pneumothorax")] = index % 2
    labels[FINDING_NAMES.index("pleural effusion")] = index % 3 == 0
    statements = [("left lung", "pneumothorax", index % 2), ("right lung", "pneumothorax", index % 3 == 0)]
    return {
        "image": Image.fromarray(rng.integers(0, 255, (40, 30 + index % 7), dtype=np.uint8), mode="L"),
        "boxes": np.concatenate([low, low + 0.3], axis=1).astype(np.float32),
        "box_mask": rng.random(29) < 0.8,
        "region_findings": [
            {"region": region, "finding": finding, "polarity": "present" if positive else "absent", "severity": "",
             "phrase": "a phrase"}
            for region, finding, positive in statements
        ],
        "labels": labels,
        "report": "",
        "patient_id": patient,
        "study_id": f"s{index}",
        "image_id": f"i{index}",
        "view": "PA",
        "source": "test",
    }  # fmt: skip


def make_split(first, count):
    examples = [make_example(index, f"p{index // 2}") for index in range(first, first + count)]
    return datasets.Dataset.from_list(examples, features=features())


@pytest.fixture(scope="module")
def test_split():
    return make_split(0, 24)


@pytest.fixture(scope="module")
def validation_split():
    return make_split(100, 20)


def evaluate(model, processor, dataset, **options):
    options = {"device": "cpu", "bootstrap": 50, "min_events": 3, "progress": False, **options}
    return evaluate_model(model, processor, dataset, **options)


def test_all_scores_come_with_intervals_and_baselines(model, processor, test_split, validation_split):
    result = evaluate(model, processor, test_split, validation=validation_split)
    assert (result.num_images, result.num_patients) == (24, 12)
    for task, metric, name in [
        ("region boxes", "mean_iou", "mean"),
        ("image findings", "roc_auc", "macro"),
        ("image findings", "f1", "macro"),
        ("image findings", "balanced_accuracy", "pneumothorax"),
        ("region findings", "roc_auc", "pooled"),
        ("region findings", "roc_auc", "macro"),
        ("region findings", "roc_auc", "macro over regions"),
    ]:
        score = result.score(task, metric, name)
        assert 0 <= score.low <= score.value <= score.high <= 1, score
        assert not math.isnan(score.baseline), score
    assert result.thresholds["pneumothorax"].source == "validation"
    assert result.score("image findings", "roc_auc", "macro").baseline == 0.5
    assert "| region boxes | box IoU, mean |" in result.to_markdown()


def test_the_same_seed_gives_the_same_numbers_and_batches_do_not_matter(model, processor, test_split):
    first = evaluate(model, processor, test_split, batch_size=24)
    second = evaluate(model, processor, test_split, batch_size=5)
    for one, other in zip(first.scores, second.scores, strict=True):
        assert (one.task, one.metric, one.name) == (other.task, other.metric, other.name)
        assert one.value == pytest.approx(other.value, abs=1e-5, nan_ok=True)
        assert one.low == pytest.approx(other.low, abs=1e-5, nan_ok=True)


def test_what_has_too_few_events_is_left_out_and_named(model, processor, test_split):
    result = evaluate(model, processor, test_split, min_events=9)
    assert result.left_out["image findings"] == ("pleural effusion",)
    assert result.left_out["region findings"] == ("pleural effusion",)
    assert set(REGION_NAMES) - set(result.left_out["region findings over regions"]) == {"left lung"}
    only = result.score("image findings", "roc_auc", "pneumothorax")
    assert result.score("image findings", "roc_auc", "macro").value == only.value
    assert math.isnan(result.score("image findings", "roc_auc", "pleural effusion").low)


def test_thresholds_keep_their_source(model, processor, test_split):
    assert evaluate(model, processor, test_split).thresholds["pneumothorax"] == Threshold(0.5, "fixed")
    given = {"pneumothorax": Threshold(0.3, "oracle")}
    result = evaluate(model, processor, test_split, thresholds=given)
    assert result.thresholds["pneumothorax"].source == "oracle"
    assert result.thresholds["pleural effusion"].source == "fixed"


def test_validation_patients_must_not_be_test_patients(model, processor, test_split):
    with pytest.raises(ValueError, match="'p0' is in the test and in the validation split"):
        evaluate(model, processor, test_split, validation=test_split)


def test_reader_scores_a_finding_as_positive_minus_negative_prompts(model, processor, test_split):
    images = test_split[:3]["image"]
    readings = Reader(model, processor, texts=["a nodule"], device="cpu").read(images)
    inputs = processor(images=images, text=processor.prompt_texts() + ["a nodule"], return_tensors="pt", padding=True)
    with torch.no_grad():
        outputs = model(**inputs)
    texts = processor.prompt_texts()
    positive = [texts.index(text) for text in PROMPTS["pneumothorax"]["positive"]]
    margin = (
        outputs.logits_per_image[:, positive].mean(-1) - outputs.logits_per_image[:, texts.index("no pneumothorax")]
    )
    assert readings.image_scores[:, 0] == pytest.approx(margin.sigmoid().numpy(), abs=1e-5)
    margin = (
        outputs.logits_per_region[..., texts.index("an effusion")]
        - outputs.logits_per_region[..., texts.index("no effusion")]
    )
    assert readings.region_scores[..., 1] == pytest.approx(margin.sigmoid().numpy(), abs=1e-5)
    assert readings.text_image_scores[:, 0] == pytest.approx(
        outputs.logits_per_image[:, -1].sigmoid().numpy(), abs=1e-5
    )
    assert readings.boxes.shape == (3, 29, 4) and (readings.relative_boxes <= 1 + 1e-6).all()


def test_boxes_go_back_through_the_letterbox(model, processor, test_split, monkeypatch):
    reader = Reader(model, processor, device="cpu")
    wide = Image.new("L", (64, 32))
    forward = model.forward

    def whole_film(*args, **kwargs):
        outputs = forward(*args, **kwargs)
        # The film occupies the middle half of the square canvas.
        outputs.pred_boxes = torch.tensor([0.5, 0.5, 1.0, 0.5]).expand(1, 29, 4)
        return outputs

    monkeypatch.setattr(model, "forward", whole_film)
    readings = reader.read([wide])
    assert readings.boxes[0, 0] == pytest.approx([0, 0, 64, 32])
    assert readings.relative_boxes[0, 0] == pytest.approx([0, 0, 1, 1])


def test_readings_of_batches_are_joined(model, processor, test_split):
    reader = Reader(model, processor, device="cpu")
    images = test_split[:4]["image"]
    joined = Readings.concatenate([reader.read(images[:3]), reader.read(images[3:])])
    assert joined.boxes == pytest.approx(reader.read(images).boxes, abs=1e-3)


def test_bf16_reads_about_the_same(model, processor, test_split):
    images = test_split[:4]["image"]
    exact, rounded = (Reader(model, processor, device="cpu", bf16=bf16).read(images) for bf16 in (False, True))
    assert rounded.presence == pytest.approx(exact.presence, abs=0.02)


def test_contradicting_statements_count_as_present_and_uncertain_ones_not_at_all(test_split):
    def change(example):
        base = {"region": "left lung", "finding": "pneumothorax", "severity": "", "phrase": "x"}
        uncertain = {**base, "region": "right lung", "polarity": "uncertain"}
        whole_image = {**base, "region": "", "polarity": "present"}
        both = [{**base, "polarity": polarity} for polarity in ("absent", "present", "absent")]
        return {**example, "region_findings": [uncertain, whole_image, *both]}

    dataset = datasets.Dataset.from_list([change(make_example(0, "p"))], features=features())
    targets = collect_targets(dataset, findings=["pneumothorax"], all_findings=FINDING_NAMES, regions=REGION_NAMES)
    assert targets.pair_labels.tolist() == [1.0]
    assert targets.pair_region.tolist() == [REGION_NAMES.index("left lung")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda split: split.remove_columns("box_mask"), "lacks the column 'box_mask'"),
        (lambda split: split.remove_columns("image"), "lacks the column 'image'"),
        (lambda split: split.select([]), "empty"),
    ],
)
def test_a_dataset_that_cannot_be_evaluated_is_named(model, processor, test_split, change, message):
    with pytest.raises(ValueError, match=message):
        evaluate(model, processor, change(test_split))


def test_unknown_names_are_refused(model, processor, test_split):
    with pytest.raises(ValueError, match="'gout' has no prompts"):
        evaluate(model, processor, test_split, findings=["gout"])
    with pytest.raises(ValueError, match="names 'gout', which is not evaluated"):
        evaluate(model, processor, test_split, thresholds={"gout": Threshold(0.5, "fixed")})
    with pytest.raises(ValueError, match="criterion"):
        evaluate(model, processor, test_split, criterion="accuracy")
