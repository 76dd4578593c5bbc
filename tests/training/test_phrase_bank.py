"""The phrase bank: what it depends on, that it is whole or not there, made once and shared."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from anatomy_vlm.modeling import AnatomyVLMConfig, AnatomyVLMModel
from anatomy_vlm.training import phrase_bank
from anatomy_vlm.training.phrase_bank import PhraseBank, StaleBankError, bank_key, embed_texts
from anatomy_vlm.training.recipe import TextEncoder
from anatomy_vlm.training.text_encoder import load_text_encoder


SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
TEXTS = ["no pneumothorax in the right lung", "large left effusion", "enlarged heart", "effusion"]


def make(pooling: str = "mean", words: tuple[str, ...] = ()) -> tuple:
    spec = TextEncoder(scratch={**SIZES, "hidden_dropout_prob": 0.5}, pooling=pooling)
    encoder, tokenizer = load_text_encoder(spec, [*TEXTS, *words], seed=0)
    config = AnatomyVLMConfig(
        vision_config={**SIZES, "image_size": 32, "patch_size": 8},
        text_config=encoder.config.to_dict(),
        text_pooling=pooling,
        projection_dim=16,
    )
    model = AnatomyVLMModel(config)
    model.text_model.load_state_dict(encoder.state_dict())
    return model, tokenizer


@pytest.fixture
def calls(monkeypatch) -> list[int]:
    """How many texts were embedded, by call."""
    counts: list[int] = []

    def counted(model, tokenizer, texts, **kwargs):
        counts.append(len(texts))
        return embed_texts(model, tokenizer, texts, **kwargs)

    monkeypatch.setattr(phrase_bank, "embed_texts", counted)
    return counts


def test_rows_are_the_sentences_one_by_one(tmp_path):
    model, tokenizer = make()
    bank = PhraseBank.build(model, tokenizer, TEXTS, tmp_path)
    with torch.inference_mode():
        for text, row in zip(TEXTS, bank.features, strict=True):
            inputs = tokenizer(text, return_tensors="pt")
            alone = model.pool_text(model.text_model(**inputs), inputs["attention_mask"])[0]
            assert torch.allclose(row, alone, atol=1e-5)


def test_the_same_bank_is_embedded_once(tmp_path, calls):
    first = PhraseBank.build(*make(), TEXTS, tmp_path)
    again = PhraseBank.build(*make(), TEXTS, tmp_path)
    assert calls == [len(TEXTS)]
    assert torch.equal(first.features, again.features) and first.key == again.key


def change_weights(model, tokenizer):
    with torch.no_grad():
        model.text_model.embeddings.word_embeddings.weight[0, 0] += 1e-3


def change_config(model, tokenizer):
    model.text_model.config.layer_norm_eps = 1e-3


def change_length(model, tokenizer):
    tokenizer.model_max_length = 3


def change_padding_side(model, tokenizer):
    tokenizer.padding_side = "left"


def change_lower_case(model, tokenizer):
    from tokenizers import normalizers

    tokenizer.backend_tokenizer.normalizer = normalizers.NFD()


def change_pooling(model, tokenizer):
    model.config.text_pooling = "cls"


@pytest.mark.parametrize(
    "change",
    [change_weights, change_config, change_length, change_padding_side, change_lower_case, change_pooling],
)
def test_what_changes_the_features_makes_another_bank(change, tmp_path, calls):
    PhraseBank.build(*make(), TEXTS, tmp_path)
    model, tokenizer = make()
    change(model, tokenizer)
    PhraseBank.build(model, tokenizer, TEXTS, tmp_path)
    assert len(calls) == 2


def test_another_vocabulary_makes_another_bank(tmp_path):
    model, tokenizer = make()
    _, longer = make(words=("emphysema",))
    keys = {bank_key(model.text_model, t, "mean", TEXTS) for t in (tokenizer, longer)}
    assert len(keys) == 2


@pytest.mark.parametrize(
    "texts",
    [TEXTS[:-1], TEXTS[::-1], [*TEXTS[:-1], "effusions"], [*TEXTS[:2], TEXTS[2] + TEXTS[3]], [*TEXTS, ""]],
)
def test_other_texts_make_another_bank(texts):
    model, tokenizer = make()
    key = bank_key(model.text_model, tokenizer, "mean", TEXTS)
    assert bank_key(model.text_model, tokenizer, "mean", texts) != key


def test_using_the_tokenizer_changes_nothing(tmp_path, calls):
    model, tokenizer = make()
    for _ in range(2):
        PhraseBank.build(model, tokenizer, TEXTS, tmp_path)
        tokenizer(TEXTS, padding="max_length", max_length=30, truncation=True)
    assert calls == [len(TEXTS)]


def test_where_the_encoder_was_loaded_from_does_not_matter(tmp_path):
    model, tokenizer = make()
    key = bank_key(model.text_model, tokenizer, "mean", TEXTS)
    for folder in ("one", "two"):
        model.text_model.save_pretrained(tmp_path / folder)
        loaded = type(model.text_model).from_pretrained(tmp_path / folder)
        assert bank_key(loaded, tokenizer, "mean", TEXTS) == key


def test_a_bank_of_another_key_under_the_name_is_an_error(tmp_path):
    model, tokenizer = make()
    bank = PhraseBank.build(model, tokenizer, TEXTS, tmp_path)
    (path,) = tmp_path.glob("*.safetensors")
    save_file({"features": bank.features.clone()}, path, metadata={"key": "another"})
    with pytest.raises(StaleBankError, match="delete it and it is made again"):
        PhraseBank.build(model, tokenizer, TEXTS, tmp_path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(StaleBankError, match="not a readable phrase bank"):
        PhraseBank.build(model, tokenizer, TEXTS, tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_features_are_mapped_from_the_file(tmp_path):
    """Pages of a mapped file are shared by all processes of a machine."""
    bank = PhraseBank.build(*make(), TEXTS, tmp_path)
    (path,) = tmp_path.glob("*.safetensors")
    maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(path.name)]
    spans = [tuple(int(end, 16) for end in line[0].split("-")) for line in maps]
    assert any(start <= bank.features.data_ptr() < stop for start, stop in spans)


SCRIPT = """
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_phrase_bank
from anatomy_vlm.training import phrase_bank

def slow(*args, **kwargs):
    time.sleep(2)  # long enough for the other to arrive
    with open({log!r}, "a") as log:
        log.write("embedded\\n")
    return embed(*args, **kwargs)

def half(tensors, path, **kwargs):
    save(tensors, path, **kwargs)
    os.truncate(path, os.path.getsize(path) // 2)
    os.kill(os.getpid(), signal.SIGKILL)

embed, save = phrase_bank.embed_texts, phrase_bank.save_file
phrase_bank.embed_texts = slow
if {kill}:
    phrase_bank.save_file = half
phrase_bank.PhraseBank.build(*test_phrase_bank.make(), test_phrase_bank.TEXTS, Path({folder!r}))
"""


def start(folder: Path, kill: bool = False) -> subprocess.Popen:
    values = {"tests": str(Path(__file__).parent), "log": str(folder) + ".log", "folder": str(folder), "kill": kill}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(**values)], env=environment, stderr=subprocess.PIPE, text=True
    )


def test_a_killed_write_leaves_no_half_bank_and_no_lock(tmp_path):
    folder = tmp_path / "bank"
    process = start(folder, kill=True)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL, errors
    assert not list(folder.glob("[!.]*.safetensors"))
    bank = PhraseBank.build(*make(), TEXTS, folder)
    assert torch.allclose(bank.features, PhraseBank.build(*make(), TEXTS).features)
    assert len(list(folder.glob("*.safetensors")) + list(folder.glob(".*.safetensors"))) == 1


def test_processes_that_race_embed_once(tmp_path):
    folder = tmp_path / "bank"
    processes = [start(folder) for _ in range(2)]
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    assert (tmp_path / "bank.log").read_text() == "embedded\n"


def test_a_step_does_not_run_the_text_encoder(tmp_path, monkeypatch):
    model, tokenizer = make()
    bank = PhraseBank.build(model, tokenizer, TEXTS, tmp_path)
    monkeypatch.setattr(model.text_model, "forward", lambda *_, **__: pytest.fail("the text encoder ran"))
    outputs = model(
        pixel_values=torch.randn(2, 3, 32, 32),
        text_features=bank.features[torch.tensor([2, 0])],
        image_labels=torch.ones(2, 2),
        region_labels=torch.zeros(2, 29, 2),
    )
    outputs.loss.backward()
    assert model.text_projection.weight.grad.abs().sum() > 0
