"""Publishing on a Hub of the loopback interface, and loading from it: by id, by tag, offline, without the package."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save_file

from anatomy_vlm.training.export_hub import export


HERE = Path(__file__).parent
# `--import-mode=importlib` leaves the folders of tests off the path.
sys.path.insert(0, str(HERE))

from loopback_hub import LoopbackHub  # noqa: E402


def environment(url: str, home: Path, **changes: str) -> dict[str, str]:
    values = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return {
        **values,
        "HF_ENDPOINT": url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "OMP_NUM_THREADS": "1",
        **changes,
    }


@pytest.fixture(scope="module")
def hub():
    with LoopbackHub() as server:
        yield server


@pytest.fixture(scope="module")
def push(hub, tmp_path_factory):
    """Call `anatomy-vlm push` in one process for all tests."""
    scratch = tmp_path_factory.mktemp("push")
    driver = subprocess.Popen(
        [sys.executable, str(HERE / "push_driver.py")],
        env=environment(hub.url, scratch / "home"), cwd=scratch, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=(scratch / "stderr.txt").open("w"),
    )  # fmt: skip

    def call(*arguments: object, token: str = "hf_writer") -> dict:
        driver.stdin.write(json.dumps({"arguments": ["push", *map(str, arguments)], "token": token}) + "\n")
        driver.stdin.flush()
        line = driver.stdout.readline()
        assert line, (scratch / "stderr.txt").read_text()[-3000:]
        answer = json.loads(line)
        assert not list(scratch.glob(".push-*")), "what was to be sent is still there"
        return answer

    yield call
    driver.stdin.close()
    driver.wait(timeout=30)


def read(url: str, home: Path, package: str, *names: str, **changes: str) -> dict:
    done = subprocess.run(
        [sys.executable, str(HERE / "hub_reader.py"), package, *names],
        env=environment(url, home, **changes), cwd=home, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def expected(model, processor) -> dict[str, list[float]]:
    inputs = processor(text=processor.prompt_texts(), return_tensors="pt")
    with torch.no_grad():
        outputs = model(pixel_values=torch.linspace(-1, 1, 3 * 32 * 32).reshape(1, 3, 32, 32), **inputs)
    return {"boxes": outputs.pred_boxes.flatten().tolist(), "scores": outputs.logits_per_region.flatten().tolist()}


def test_published_and_loaded_by_id_by_tag_and_offline(push, hub, hub_folder, tiny, tmp_path):
    done = push(hub_folder, "ada/tiny", "--tag", "v1.0")
    assert done["status"] == 0, done["err"]
    assert "tag v1.0" in done["out"]
    files = hub.repositories["ada/tiny"].files("main")[1]
    assert {"README.md", "config.json", "model.safetensors", "modeling_anatomy_vlm.py"} <= set(files)
    # Nothing that could hold a pickle, and no path of this machine.
    assert {Path(name).suffix for name in files} <= {".safetensors", ".json", ".md", ".py", ".txt", ".jinja", ""}
    card = files["README.md"].decode()
    assert '"ada/tiny"' in card and str(hub_folder) not in files["config.json"].decode()

    # A second version, whose weights differ; the first one stays where its tag points.
    changed, processor = tiny[0].__class__(tiny[0].config).eval(), tiny[1]
    export(changed, tmp_path / "second", processor, card=card)
    assert push(tmp_path / "second", "ada/tiny", "--message", "Second")["status"] == 0
    home = tmp_path / "home"
    home.mkdir()
    results = read(hub.url, home, "without-package", "ada/tiny", "ada/tiny@v1.0")
    assert {result["module"] for result in results.values()} == {"transformers_modules"}
    for name, model in (("ada/tiny@v1.0", tiny[0]), ("ada/tiny", changed)):
        for key, values in expected(model, processor).items():
            assert results[name][key] == pytest.approx(values, abs=1e-5), name
    # From the cache, with an address where nobody answers.
    offline = read("http://127.0.0.1:9", home, "with-package", "ada/tiny@v1.0", HF_HUB_OFFLINE="1")
    assert offline["ada/tiny@v1.0"]["module"] == "anatomy_vlm"
    assert offline["ada/tiny@v1.0"]["boxes"] == pytest.approx(results["ada/tiny@v1.0"]["boxes"], abs=1e-5)


def test_an_upload_that_broke_off_goes_on(push, hub, hub_folder):
    hub.faults.uploads_left = 1
    arguments = (hub_folder, "ada/broken", "--max-shard-size", "30KB")
    try:
        first = push(*arguments)
    finally:
        hub.faults.uploads_left = None
    assert first["status"] == 2 and "the same command goes on" in first["err"]
    assert "Traceback" not in first["err"] and len(first["err"].strip().splitlines()) == 1
    # The repository holds no half model.
    assert set(hub.repositories["ada/broken"].files("main")[1]) == {".gitattributes"}
    assert push(*arguments)["status"] == 0
    files = hub.repositories["ada/broken"].files("main")[1]
    shards = [name for name in files if name.endswith(".safetensors")]
    assert len(shards) > 2 and "model.safetensors.index.json" in files
    assert len(hub.uploads) == len(set(hub.uploads)), "a file that had arrived was sent again"
    # In one piece again: the shards are gone.
    assert push(hub_folder, "ada/broken")["status"] == 0
    assert [n for n in hub.repositories["ada/broken"].files("main")[1] if n.endswith(".safetensors")] == [
        "model.safetensors"
    ]


def test_every_stage_is_a_tagged_commit(push, hub, hub_folder, tiny, tmp_path):
    run = tmp_path / "run"
    export(hub_folder, run / "model")
    state = {name: t for name, t in tiny[0].state_dict().items() if not name.startswith("text_model.")}
    for number, name in ((1, "detection"), (2, "fine")):
        folder = run / f"{number}-{name}"
        folder.mkdir()
        (folder / "stage.json").write_text(json.dumps({"name": name}))
        shifted = {**state, "logit_bias": state["logit_bias"] - (2 - number)}
        save_file({key: value.contiguous().clone() for key, value in shifted.items()}, folder / "trained.safetensors")
    done = push(run, "ada/run", "--stages", "--tag", "done")
    assert done["status"] == 0, done["err"]
    repository = hub.repositories["ada/run"]
    biases = {
        name: load(repository.files(name)[1]["model.safetensors"])["logit_bias"].item()
        for name in ("stage-1-detection", "stage-2-fine", "done", "main")
    }
    last = state["logit_bias"].item()
    assert biases == {"stage-1-detection": last - 1, "stage-2-fine": last, "done": last, "main": last}
    assert "After the stage detection" in repository.files("stage-1-detection")[1]["README.md"].decode()


def test_a_mask_writer_is_published_too(push, hub, writer_folder, film, tmp_path):
    done = push(writer_folder, "ada/writer", "--half")
    assert done["status"] == 0, done["err"]
    files = hub.repositories["ada/writer"].files("main")[1]
    assert {"README.md", "model.safetensors", "preprocessor_config.json", "mask_writer_anatomy_vlm.py"} <= set(files)
    assert '"ada/writer"' in files["README.md"].decode() and str(writer_folder) not in files["README.md"].decode()
    assert {tensor.dtype for tensor in load(files["model.safetensors"]).values()} == {torch.float16}
    read = "import sys; from anatomy_vlm.training.model_folder import load_mask_writer as load; "
    read += "model, _ = load(sys.argv[1]); print(type(model).__name__, *model.config.structures)"
    loaded = subprocess.run(
        [sys.executable, "-c", read, "ada/writer"],
        env=environment(hub.url, tmp_path), cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert loaded.stdout.strip() == "AnatomyVLMForMaskGeneration left lung heart", loaded.stderr[-2000:]
    # Stages are those of a run of the other model.
    assert "no finished stages" in push(writer_folder, "ada/writer", "--stages")["err"]


def test_private_gated_and_on_a_branch(push, hub, hub_folder):
    arguments = (hub_folder, "ada/gated", "--private", "--gated", "manual", "--branch", "dev")
    assert push(*arguments)["status"] == 0
    repository = hub.repositories["ada/gated"]
    assert repository.private and repository.gated == "manual"
    assert "config.json" in repository.files("dev")[1] and "config.json" not in repository.files("main")[1]


@pytest.mark.parametrize(
    ("repo_id", "token", "options", "message"),
    [
        ("ada/new", "hf_wrong", (), "the token is not valid; run `hf auth login`"),
        ("ada/new", "hf_reader", (), "your token may not write to ada"),
        ("bob/new", "hf_writer", (), "your token may not write to bob"),
        ("ada/new", "", (), "no token of the Hub"),
        ("ada", "hf_writer", (), "write it as owner/name"),
        ("ada/a b", "hf_writer", (), "write it as owner/name"),
        ("ada/new", "hf_writer", ("--tag", "v 1"), "no name of a tag"),
        ("ada/new", "hf_writer", ("--stages",), "no finished stages"),
        ("ada/taken", "hf_writer", ("--tag", "v1"), "Reference v1 exists already"),
    ],
)
def test_what_the_hub_refuses_is_one_line(push, hub_folder, repo_id, token, options, message):
    if repo_id == "ada/taken":
        assert push(hub_folder, repo_id, *options, token=token)["status"] == 0
    done = push(hub_folder, repo_id, *options, token=token)
    assert done["status"] == 2
    (line,) = done["err"].strip().splitlines()
    assert line.startswith("anatomy-vlm: error: ") and message in line


def test_without_a_network(hub_folder, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "anatomy_vlm.cli", "push", str(hub_folder), "ada/new"],
        env=environment("http://127.0.0.1:9", tmp_path, HF_TOKEN="hf_writer"),
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 2
    assert "the connection to http://127.0.0.1:9 failed" in done.stderr and "Traceback" not in done.stderr
