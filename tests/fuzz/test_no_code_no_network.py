"""Nothing of a checkpoint runs, nothing is unpickled, and no socket is opened for what lies on the disk."""

import ast
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch


sys.path.insert(0, str(Path(__file__).parent))

from fuzzing.checkpoints import CODE, MARK, write_model

from anatomy_vlm.modeling.text_source_anatomy_vlm import load_text_model
from anatomy_vlm.training.masks import chexanatomy_npz
from anatomy_vlm.training.masks.chexanatomy_npz import CheXanatomyFileError, read_npz
from anatomy_vlm.training.model_folder import CheckpointError, load_checkpoint
from anatomy_vlm.training.recipe import RecipeError, TextEncoder
from anatomy_vlm.training.text_encoder import load_text_encoder


ROOT = Path(__file__).parents[2]
SOURCES = ("modeling", "processing", "synthesis", "training", "package", "hub_cards")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A tiny checkpoint."""
    folder = tmp_path_factory.mktemp("whole") / "model"
    write_model(folder)
    return folder


@pytest.fixture
def model(whole, tmp_path, monkeypatch):
    """A copy of it, beside code that leaves a mark if it runs; a question on the terminal fails."""

    def asked(*_):
        raise AssertionError("asked on the terminal whether to run code")

    monkeypatch.setattr("builtins.input", asked)
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = shutil.copytree(whole, tmp_path / "model")
    for name in ("evil.py", "configuration_anatomy_vlm.py", "processing_anatomy_vlm.py"):
        (folder / name).write_text(CODE)
    yield folder
    ran = hasattr(sys, MARK)
    if ran:
        delattr(sys, MARK)
    assert not ran, "code of the checkpoint ran"


def change(path, **values):
    content = json.loads(path.read_text())
    content.update(values)
    path.write_text(json.dumps(content))


MAPS = dict.fromkeys(("AutoConfig", "AutoModel", "AutoProcessor", "AutoImageProcessor"), "evil.Evil") | {
    "AutoTokenizer": ["evil.Evil", "evil.Evil"]
}


@pytest.mark.parametrize("name", ["config.json", "processor_config.json", "tokenizer_config.json"])
def test_an_auto_map_runs_nothing(model, name):
    change(model / name, auto_map=MAPS)
    load_checkpoint(model)


def test_an_auto_map_of_a_part_runs_nothing(model):
    config = json.loads((model / "config.json").read_text())
    for part in ("vision_config", "text_config"):
        change(model / "config.json", **{part: {**config[part], "auto_map": MAPS}})
    processor = json.loads((model / "processor_config.json").read_text())
    change(model / "processor_config.json", image_processor={**processor["image_processor"], "auto_map": MAPS})
    load_checkpoint(model)


def test_a_text_tower_of_unknown_kind_is_no_reason_to_run_code(model):
    config = json.loads((model / "config.json").read_text())
    odd = {**config["text_config"], "model_type": "evil", "auto_map": MAPS}
    change(model / "config.json", text_config=odd)
    with pytest.raises(CheckpointError):
        load_checkpoint(model)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"attn_implementation": "evil/kernel"}, "asks for code"),
        ({"quantization_config": {"quant_method": "gptq"}}, "asks for code"),
        ({"num_hidden_layers": 10**7}, "num_hidden_layers of 10000000 is more than 256"),
        ({"vision_config": {"hidden_size": 1e300}}, "hidden_size"),
    ],
)
def test_settings_that_ask_for_code_or_terabytes_are_refused(model, settings, message):
    change(model / "config.json", **settings)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(model)
    assert "\n" not in str(caught.value)


def test_a_tokenizer_that_does_not_fit_is_named(model):
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    word = next(word for word in tokenizer["model"]["vocab"] if word.isalpha())
    tokenizer["model"]["vocab"][word] = 10**6
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(CheckpointError, match="its tokenizer"):
        load_checkpoint(model)
    change(model / "tokenizer_config.json", model_max_length="many")
    with pytest.raises(CheckpointError):
        load_checkpoint(model)


def test_adapters_that_name_another_model_are_refused(model):
    (model / "adapter_config.json").write_text('{"base_model_name_or_path": "evil/repo", "peft_type": "LORA"}')
    with pytest.raises(CheckpointError, match="holds adapters"):
        load_checkpoint(model)


class Evil:
    def __reduce__(self):
        return (exec, (CODE,))


def test_pickled_weights_are_not_read(model):
    (model / "model.safetensors").unlink()
    torch.save({"x": Evil()}, model / "pytorch_model.bin")
    (model / "pytorch_model.pkl").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(CheckpointError):
        load_checkpoint(model)


def test_a_pickle_in_an_npz_of_chexanatomy_runs_nothing(model, tmp_path):
    np.savez(tmp_path / "a.npz", img_array=np.zeros((4, 4), np.uint8), metadata=np.array({"x": Evil()}, dtype=object))
    with pytest.raises(CheXanatomyFileError, match=r"it would run builtins\.exec"):
        read_npz(tmp_path / "a.npz")


def test_an_npz_of_chexanatomy_unpacks_within_bounds(tmp_path, monkeypatch):
    monkeypatch.setattr(chexanatomy_npz, "_MOST_BYTES", 1000)
    np.savez_compressed(tmp_path / "a.npz", img_array=np.zeros((64, 64), np.uint8))
    with pytest.raises(CheXanatomyFileError, match="unpacks to"):
        read_npz(tmp_path / "a.npz")


def test_a_text_encoder_that_needs_code_is_refused(model):
    change(model / "config.json", model_type="evil", auto_map=MAPS)
    change(model / "tokenizer_config.json", tokenizer_class="Evil", auto_map=MAPS)
    with pytest.raises(ValueError, match="cannot be loaded as a text encoder"):
        load_text_model(str(model))
    with pytest.raises(RecipeError, match="cannot load the text encoder"):
        load_text_encoder(TextEncoder(name=str(model)))


# What may not stand in our sources, and the keyword that makes a call harmless.
FORBIDDEN = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
# CheXanatomy's files hold a pickled dictionary; its reader takes no class but those of NumPy's arrays, see above.
EXCEPT = {"training/masks/chexanatomy_npz.py imports pickle"}
WORDS = (*FORBIDDEN, "eval(", "exec(", "os.system", "popen", ".load(", "_load(", "trust_remote_code", "shell")
FORBIDDEN_CALLS = {"eval", "exec", "yaml.unsafe_load", "yaml.full_load", "os.system", "os.popen"}


def test_sources_unpickle_nothing_and_evaluate_nothing():
    wrong = []
    for folder in SOURCES:
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            # Parsing all sources takes seconds, and these words are in few of them.
            if not any(word in text for word in WORDS):
                continue
            for node in ast.walk(ast.parse(text)):
                place = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
                if isinstance(node, ast.Import | ast.ImportFrom):
                    names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                    found = [f"imports {name}" for name in names if name.split(".")[0] in FORBIDDEN]
                    wrong += [f"{place} {what}" for what in found if f"{place.partition(':')[0]} {what}" not in EXCEPT]
                elif isinstance(node, ast.Call):
                    wrong += [f"{place}: {problem}" for problem in _problems(node)]
    assert wrong == []


def _problems(call):
    name = ast.unparse(call.func)
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    if name in FORBIDDEN_CALLS:
        yield name
    if name == "torch.load" and given.get("weights_only") != "True":
        yield "torch.load without weights_only=True"
    if name in ("np.load", "numpy.load") and given.get("allow_pickle", "False") != "False":
        yield "np.load with allow_pickle"
    if name == "yaml.load" and "Safe" not in ast.unparse(call) and given.get("Loader") != "loader":
        yield "yaml.load without a safe loader"
    if given.get("trust_remote_code", "False") != "False":
        yield "trust_remote_code"
    if given.get("shell", "False") != "False":
        yield "a shell"


def test_the_search_finds_what_it_looks_for():
    bad = ["torch.load(p)", "np.load(p, allow_pickle=True)", "yaml.load(t)", "eval(x)", "f(trust_remote_code=True)"]
    assert all(list(_problems(ast.parse(text).body[0].value)) for text in bad)


OFFLINE = """
import socket, sys

def refuse(self, *_):
    raise SystemExit("a socket was opened")

socket.socket.connect = socket.socket.connect_ex = socket.socket.bind = socket.socket.sendto = refuse
socket.create_connection = socket.getaddrinfo = refuse
import anatomy_vlm
from anatomy_vlm.cli import main

records = anatomy_vlm.predict(sys.argv[2], model=sys.argv[1])
assert records[0]["regions"], records
sys.exit(main(["read-report", sys.argv[3], "--json", sys.argv[4]]))
"""


def test_import_and_predict_on_a_local_folder_open_no_socket(whole, tmp_path):
    """With the Hub allowed: what is on the disk must not need the word of an environment variable."""
    from fuzzing.images import large_png

    (tmp_path / "film.png").write_bytes(large_png(96, 64, 8, 0))
    (tmp_path / "report.txt").write_text("FINDINGS: Small left effusion.")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "TRANSFORMERS_"))}
    environment |= {"HF_HOME": str(tmp_path / "hf"), "OMP_NUM_THREADS": "1"}
    files = [str(path) for path in (whole, tmp_path / "film.png", tmp_path / "report.txt", tmp_path / "out.json")]
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, *files], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((tmp_path / "out.json").read_text())[0]["statements"]
