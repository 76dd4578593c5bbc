"""Configurations of accelerate, and runs of fewer processes than were asked for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser

from anatomy_vlm.modeling.vision_anatomy_vlm import AnatomyVLMVisionModel
from anatomy_vlm.training.accelerate_configs import config_names, config_path
from anatomy_vlm.training.launching import check_processes
from anatomy_vlm.training.recipe import RecipeError


ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", config_names())
def test_accelerate_takes_every_key(name):
    path = str(config_path(name))
    config = load_config_from_file(path)  # refuses unknown keys
    known = {action.dest for action in launch_command_parser()._actions}
    values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    for part in ("fsdp_config", "deepspeed_config"):
        assert set(values.get(part) or {}) <= known, part
    arguments = launch_command_parser().parse_args(["--config_file", path, "run.py"])
    arguments, _, _ = _validate_launch_command(arguments)
    assert arguments.num_processes == config.num_processes > 1
    chosen = arguments.multi_gpu, arguments.use_fsdp, arguments.use_deepspeed
    assert chosen == (name in ("cpu-2", "ddp", "multi_node"), name == "fsdp2", name == "deepspeed_zero2")
    if name == "fsdp2":
        assert arguments.fsdp_version == 2
        assert arguments.fsdp_transformer_layer_cls_to_wrap in AnatomyVLMVisionModel._no_split_modules


def test_an_unknown_configuration_is_named():
    with pytest.raises(ValueError, match="fsdp3: no such configuration of accelerate; there are cpu-2, ddp"):
        config_path("fsdp3")


def test_one_process_in_the_place_of_several_is_refused():
    left_behind = {"ACCELERATE_MIXED_PRECISION": "no", "MASTER_ADDR": "127.0.0.1"}
    with pytest.raises(RecipeError, match="asked for several processes and started one; start them by `torchrun"):
        check_processes(1, environment=left_behind)
    check_processes(1, environment={**left_behind, "WORLD_SIZE": "1"})
    check_processes(1, environment={"MASTER_ADDR": "127.0.0.1"})
    check_processes(2, 2, environment={})
    with pytest.raises(RecipeError, match="FSDP keeps in shards; use the configuration ddp"):
        check_processes(2, environment={"ACCELERATE_USE_FSDP": "true"})
    with pytest.raises(RecipeError, match="--processes 4: there are 2"):
        check_processes(2, 4, environment={})


def launched(*arguments: str) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ACCELERATE")}
    environment |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "accelerate.commands.launch", *arguments]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=500)


@pytest.mark.slow
def test_accelerate_launch_starts_two_processes_or_is_refused(write_recipe, tmp_path):
    run = ["training/run.py", "--recipe", write_recipe(), "--processes", "2", "--output"]
    alone = launched("--cpu", "--num_processes", "2", "training/run.py", *run[1:3], "--output", str(tmp_path / "one"))
    assert alone.returncode != 0 and "asked for several processes and started one" in alone.stderr
    both = launched(
        "--config_file", str(config_path("cpu-2")), "--main_process_port", "0", *run, str(tmp_path / "two")
    )
    assert both.returncode == 0, both.stderr[-3000:]
    assert (tmp_path / "two" / "model" / "config.json").is_file()
