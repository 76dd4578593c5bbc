"""An exported folder where the package is absent: a fresh process, offline, `trust_remote_code=True`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch


READER = Path(__file__).with_name("remote_reader.py")


@pytest.fixture(scope="module")
def remote(hub_folder, tmp_path_factory):
    """What a process without the package read from the folder."""
    scratch = tmp_path_factory.mktemp("remote")
    out = scratch / "results.pt"
    environment = {
        **os.environ,
        "HF_HOME": str(scratch / "hf"),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "OMP_NUM_THREADS": "1",
    }
    environment.pop("HF_MODULES_CACHE", None)
    done = subprocess.run(
        [sys.executable, str(READER), str(hub_folder), str(out)],
        env=environment, cwd=scratch, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(out, weights_only=False)


@pytest.fixture(scope="module")
def here(tiny, film):
    """Inputs and outputs of the model that was exported, in this process."""
    model, processor = tiny
    inputs = processor(images=film, text=processor.prompt_texts(), return_tensors="pt")
    with torch.no_grad():
        return inputs, model(**inputs)


def test_the_processor_makes_the_same_inputs(remote, here):
    inputs, _ = here
    assert remote["inputs"].keys() == inputs.keys()
    for name, value in inputs.items():
        assert torch.equal(remote["inputs"][name], value), name
    assert torch.equal(remote["pixel_values"], inputs["pixel_values"])


@pytest.mark.parametrize(
    "auto", ["AutoModel", "AutoModelForZeroShotImageClassification", "AutoModelForObjectDetection"]
)
def test_every_auto_class_gives_the_same_outputs(remote, here, auto):
    _, outputs = here
    for name, value in remote[auto].items():
        # The last bit depends on where in memory the weights lie.
        torch.testing.assert_close(value, outputs[name], rtol=1e-6, atol=1e-6)


def test_regions_have_the_same_names_boxes_and_findings(remote, here, tiny, film):
    _, outputs = here
    regions = tiny[1].post_process_anatomy(outputs, target_sizes=[(film.height, film.width)], threshold=0.0)[0]
    assert [region["name"] for region in remote["regions"]] == [region["name"] for region in regions]
    for there, expected in zip(remote["regions"], regions, strict=True):
        assert there["box"] == pytest.approx(expected["box"], abs=1e-4)
        assert [finding["name"] for finding in there["findings"]] == ["pleural effusion", "pneumothorax"]


def test_the_classes_came_with_the_folder(remote):
    assert [name.rpartition(".")[2] for name in remote["classes"]] == [
        "AnatomyVLMConfig",
        "AnatomyVLMModel",
        "AnatomyVLMProcessor",
        "AnatomyVLMImageProcessorPil",
    ]
    assert all(name.startswith("transformers_modules.") for name in remote["classes"])


def test_the_example_of_the_card_runs_without_the_package(remote, tiny):
    assert [finding["name"] for finding in remote["card"]["findings"]] == list(tiny[1].finding_prompts)
    assert {region["name"] for region in remote["card"]["regions"]} <= set(tiny[1].anatomy_labels)
