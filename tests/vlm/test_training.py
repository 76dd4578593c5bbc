"""One command for every kind of model: it trains, writes, is read, saved and loaded, and learns what it is shown."""

import json

import numpy as np
import pytest
import torch
import yaml

from anatomy_vlm.processing.mask_text_anatomy_vlm import read_answer
from anatomy_vlm.training.masks.vlm_batches import VLMBatcher
from anatomy_vlm.training.masks.vlm_films import CaseFolders
from anatomy_vlm.training.masks.vlm_generation import VLMWriter
from anatomy_vlm.training.masks.vlm_model import load_vlm
from anatomy_vlm.training.masks.vlm_parts import find_parts
from anatomy_vlm.training.masks.vlm_training import main


KINDS = ["paligemma", "florence2", "smolvlm"]
SLOW = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("paligemma2", "smolvlm2", "qwen2_vl", "qwen2_5_vl")]


@pytest.mark.parametrize("kind", KINDS + SLOW)
def test_one_step_by_the_command(kind, tiny_model, cases, codec_file, tmp_path, capsys, logits_of):
    recipe = {
        "model": str(tiny_model(kind)), "films": str(cases), "codec": str(codec_file), "batch_size": 2,
        "learning_rate": "1e-2", "warmup_steps": 0, "adapters": {"rank": 2},
    }  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    command = ["--recipe", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "out"), "--max-steps", "1"]
    scored = ["--evaluate", str(cases)] if kind == "paligemma" else []
    assert main([*command, "--cpu", "--quiet", "--merge", *scored]) == 0
    assert f"The model is in {tmp_path / 'out' / 'model'}" in capsys.readouterr().out
    assert np.isfinite(json.loads((tmp_path / "out" / "losses.json").read_text())[0]["loss"])

    if scored:
        scores = json.loads((tmp_path / "out" / "scores.json").read_text())
        assert scores["films"] == 2 and scores["structures"]["heart"]["films"] == 2
        for row in scores["structures"].values():
            assert 0 <= row["dice"] <= 1 and 0 < row["ceiling"] <= 1
    base = load_vlm(recipe["model"], codec_file)
    adapter, merged = load_vlm(tmp_path / "out" / "model"), load_vlm(tmp_path / "out" / "merged")
    # The one was loaded into the base model again, the other is what had been trained.
    torch.testing.assert_close(logits_of(adapter), logits_of(merged), rtol=1e-4, atol=1e-4)
    before, after = base.model.state_dict(), merged.model.state_dict()
    parts = find_parts(base.model)
    rows = min(len(base.model.get_input_embeddings().weight) - len(base.new_ids), len(before))
    changed = {name for name in after if not torch.equal(before[name][:rows], after[name][:rows])}
    assert changed and not any(name.startswith(parts.vision) and parts.projector not in name for name in changed)
    assert any(name.startswith(f"{parts.text}.") and "proj" in name for name in changed)
    assert any(name.startswith(parts.projector) for name in changed)
    if base.new_ids:
        new, embeddings = base.new_ids, merged.model.get_input_embeddings().weight
        head = merged.model.get_output_embeddings().weight
        assert (embeddings[new] != base.model.get_input_embeddings().weight[new]).any()
        if base.model.config.tie_word_embeddings:
            assert torch.equal(embeddings, head)

    writer = VLMWriter(adapter)
    film = np.zeros((30, 50), np.uint8)
    prompts = ["segment heart", "segment heart ; liver", "caption <loc0001><loc0002><loc0003><loc0004>"]
    # Not compared with each other: a random model's best tokens are nearly ties, which rounding decides.
    texts, others = writer.answer([film] * 3, prompts), VLMWriter(merged).answer([film] * 3, prompts)
    for text in (*texts[:2], *others[:2]):
        assert all(not answer.problems and len(answer.codes) == 20 for answer in read_answer(text))
    free = VLMWriter(adapter, well_formed=False).answer([film], prompts[:1], max_new_tokens=30)
    read_answer(free[0])
    masks = writer.masks(film, ["cardiac shadow", "left lung"])
    assert list(masks) == ["cardiac silhouette", "left lung"] and {m.shape for m in masks.values()} == {(30, 50)}


@pytest.mark.parametrize("kind", ["paligemma", "florence2", pytest.param("smolvlm", marks=pytest.mark.slow), *SLOW])
def test_it_learns_what_it_is_shown_and_writes_it_as_it_learned_it(
    kind, tiny_model, cases, coverage_codec, codec_file
):
    """Prompts, labels, the tokens that begin and end answers, positions and padding agree in training and writing."""
    from anatomy_vlm.training.masks.vlm_adapters import AdapterOptions, adapt
    from anatomy_vlm.training.masks.vlm_examples import ExampleMaker

    vlm = load_vlm(tiny_model(kind), codec_file)
    vlm.codec = coverage_codec
    film = CaseFolders(cases)[1]
    maker, batcher = ExampleMaker(coverage_codec), VLMBatcher(vlm.processor, vlm.encoder_decoder)
    asked = [["heart"], ["liver"], ["left lung", "right lung"]]
    examples = [maker.ask(film, names) for names in asked]
    vlm.model = adapt(vlm.model, AdapterOptions(rank=0, vision="full"), vlm.new_ids).train()
    optimizer = torch.optim.Adam(vlm.model.parameters(), 1e-2)
    batch = batcher.train_batch(examples)
    for _ in range(300):
        loss = vlm.model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss.item() < 0.02:
            break
    vlm.model.eval()
    writer = VLMWriter(vlm)
    prompts = [example.prompt for example in examples]
    # In a batch, where prompts are padded, and one by one.
    assert writer.answer([film.image] * 3, prompts) == [example.answer for example in examples]
    free = VLMWriter(vlm, well_formed=False)
    assert free.answer([film.image] * 3, prompts, batch_size=1) == [example.answer for example in examples]
    masks = writer.masks(film.image, ["heart", "liver"])
    found, true = masks["heart"], film.masks["heart"]
    assert 2 * (found & true).sum() / (found.sum() + true.sum()) > 0.95 and not masks["liver"].any()
    together = writer.masks(film.image, ["left lung", "right lung"], together=2)
    left, right = (np.flatnonzero(together[f"{side} lung"].any(0)).mean() for side in ("left", "right"))
    assert left > 30 > 18 > right, "the patient's left is on the right"


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_paligemma_gets_what_its_own_processor_makes_of_a_suffix(tiny_model, codec_file, cases):
    from anatomy_vlm.training.masks.vlm_examples import ExampleMaker

    vlm = load_vlm(tiny_model("paligemma"), codec_file)
    assert vlm.new_ids == [], "its vocabulary has the tokens"
    film = CaseFolders(cases)[1]
    examples = [ExampleMaker(vlm.codec).ask(film, names) for names in (["heart"], ["left lung", "heart"])]
    ours = VLMBatcher(vlm.processor, False).train_batch(examples)
    for row, example in enumerate(examples):
        theirs = vlm.processor(
            text=["<image>" + example.prompt], images=[film.image[..., None].repeat(3, 2)], suffix=[example.answer],
            return_tensors="pt",
        )  # fmt: skip
        length = theirs["input_ids"].shape[1]
        for name in ("input_ids", "token_type_ids", "attention_mask", "labels"):
            assert torch.equal(ours[name][row, :length], theirs[name][0]), name
        assert not ours["attention_mask"][row, length:].any() and (ours["labels"][row, length:] == -100).all()


def test_an_interrupted_training_goes_on_where_it_was(tiny_model, cases, codec_file, tmp_path):
    from anatomy_vlm.training.masks.vlm_recipe import read_recipe
    from anatomy_vlm.training.masks.vlm_training import train_vlm

    recipe = read_recipe(
        None, model=str(tiny_model("paligemma")), films=str(cases), codec=str(codec_file), epochs=4, batch_size=2,
        save_steps=2, learning_rate=1e-2, warmup_steps=0,
    )  # fmt: skip
    whole = train_vlm(recipe, tmp_path / "whole", use_cpu=True, progress=False)
    from transformers import TrainerCallback

    import anatomy_vlm.training.masks.vlm_training as module

    class Stop(TrainerCallback):
        def on_save(self, args, state, control, **kwargs):
            raise KeyboardInterrupt

    class Stopped(module.Trainer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs, callbacks=[Stop()])

    original, module.Trainer = module.Trainer, Stopped
    try:
        with pytest.raises(KeyboardInterrupt):
            train_vlm(recipe, tmp_path / "parts", use_cpu=True, progress=False)
    finally:
        module.Trainer = original
    parts = train_vlm(recipe, tmp_path / "parts", use_cpu=True, progress=False)
    assert [path.name for path in (tmp_path / "parts" / "checkpoints").iterdir()] == ["checkpoint-4"]
    for (name, one), (_, other) in zip(whole.model.named_parameters(), parts.model.named_parameters(), strict=True):
        torch.testing.assert_close(one, other, msg=name)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "model is missing"),
        (["--model", "{x}/none", "--films", "{cases}", "--codec", "{codec}"], "there is no such folder"),
        (["--model", "{model}", "--films", "nothing", "--codec", "{codec}"], "name phantom:NUMBER"),
        (["--model", "{model}", "--films", "{cases}", "--codec", "{x}/no.npz"], "there is no such file"),
        (
            ["--model", "{model}", "--films", "{cases}", "--codec", "{codec}", "--recipe", "{x}/r.yaml"],
            "unknown key lr",
        ),
        (["--model", "{model}", "--films", "{cases}", "--codec", "{codec}", "--rank", "-1"], "rank -1"),
    ],
)
def test_mistakes_are_told_in_one_line(flags, message, tiny_model, cases, codec_file, tmp_path, capsys):
    (tmp_path / "r.yaml").write_text("lr: 1\n", encoding="utf-8")
    names = {"x": str(tmp_path), "cases": str(cases), "codec": str(codec_file), "model": str(tiny_model("paligemma"))}
    assert main([*(flag.format(**names) for flag in flags), "--out", str(tmp_path / "out"), "--cpu", "--quiet"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("vlm_training: error: ") and message in error and error.count("\n") == 1
