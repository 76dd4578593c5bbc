"""The card of a mask writer: its header is valid, its numbers are those of the study."""

from huggingface_hub import ModelCard

from anatomy_vlm.hub_cards import writer_card


def score(structure, method, value):
    return {
        "structure": structure, "method": method, "films": "all", "metric": "dice", "value": value,
        "low": value - 0.1, "high": value + 0.1, "count": 3,
    }  # fmt: skip


def test_a_card_says_what_was_measured_and_what_was_not():
    scores = [score("left lung", "writer", 0.8), score("left lung", "U-Net", 0.9)]
    table = {"structures": ["left lung"], "scores": scores}
    card = ModelCard(writer_card(["left lung"], {"steps": "5"}, model_id="me/writer", tables={"synthetic": table}))
    assert card.data.pipeline_tag == "mask-generation"
    result = card.data.eval_results[0]
    assert (result.metric_name, result.metric_value, result.dataset_name) == ("Dice, left lung", 0.8, "synthetic")
    assert "| left lung | 0.800 (0.700 to 0.900) | 0.900 (0.800 to 1.000) |" in card.text
    assert "| steps | 5 |" in card.text and '"me/writer", trust_remote_code=True' in card.text
    assert "not a\nmedical device" in card.text
    bare = ModelCard(writer_card(["heart"], {}, code=False))
    assert "Not evaluated." in bare.text and "trust_remote_code" not in bare.text
