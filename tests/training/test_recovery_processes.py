"""Two processes that are stopped, and two of which one is lost."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from anatomy_vlm.training.checkpoints import last_complete_checkpoint


pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
SETTINGS = (
    "training.save_strategy=steps",
    "training.save_steps=1",
    "training.ddp_timeout=60",
    "training.per_device_train_batch_size=2",
)


def start(recipe: str, output: Path) -> subprocess.Popen:
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    return subprocess.Popen(
        [*launcher, str(ROOT / "training" / "run.py"), "--recipe", recipe, "--output", str(output), *settings],
        env=ENVIRONMENT,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def workers(launcher: subprocess.Popen) -> list[int]:
    """The processes of the run, by rank."""
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    ranks = {}
    for child in children:
        environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        rank = [entry for entry in environment if entry.startswith(b"RANK=")]
        if rank:
            ranks[int(rank[0].removeprefix(b"RANK="))] = int(child)
    return [ranks[rank] for rank in sorted(ranks)]


def wait_for_a_checkpoint(process: subprocess.Popen, folder: Path) -> None:
    deadline = time.monotonic() + 300
    while last_complete_checkpoint(folder) is None:
        assert process.poll() is None and time.monotonic() < deadline, process.stderr.read()[-3000:]
        time.sleep(0.005)


def test_a_signal_to_one_process_and_a_lost_process_end_the_run_and_it_goes_on(write_recipe, tmp_path):
    recipe, cut = write_recipe(), tmp_path / "cut"
    # One process is asked to stop; both save the same step.
    process = start(recipe, cut)
    wait_for_a_checkpoint(process, cut / "1-detection")
    os.kill(workers(process)[1], signal.SIGTERM)
    said = process.communicate(timeout=120)[1]
    assert "run.py: stopped by SIGTERM: step" in said and said.count("run.py: stopped by") == 1, said[-3000:]
    # One process is gone; the other one ends, and says so, well before the launcher would kill it.
    process = start(recipe, cut)
    wait_for_a_checkpoint(process, cut / "2-global")
    begin = time.monotonic()
    os.kill(workers(process)[1], signal.SIGKILL)
    said = process.communicate(timeout=120)[1]
    assert time.monotonic() - begin < 120
    assert "another process of this run is gone or silent" in said and "the last good checkpoint is" in said, said
    for output in (cut, tmp_path / "whole"):
        process = start(recipe, output)
        said = process.communicate(timeout=600)[1]
        assert process.returncode == 0, said[-3000:]
    for stage in ("1-detection", "2-global", "3-fine"):
        one, other = (load_file(out / stage / "trained.safetensors") for out in (cut, tmp_path / "whole"))
        assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
