"""Kill a training at random moments, start it again each time, and compare the end with an undisturbed run.

    python benchmarks/interruptions.py [--kills 20] [--seed 0] [--workers 0] [--fp32] [--out DIR] [--json]

A small run on synthetic films: drawing and preparing them, the phrase bank, three stages with dropout, bfloat16, a
checkpoint every second step and logs every third, and the export. Its process is ended by SIGKILL after a time drawn
at random: some lives within the setup, the others after they have got on with the work. It is the code of
`training/run.py`, in a process that is forked from one which has imported the libraries, so that the kills fall into
the work and not into the imports.

After each kill: was a good checkpoint lost? At the end: are weights, exported weights and logged losses those of the
undisturbed run, bit for bit? The exit status is 1 if not.
"""

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file

from anatomy_vlm.training.checkpoints import finished_stage, last_complete_checkpoint


STAGES = ("1-detection", "2-global", "3-fine")
FRESH_SETUPS = 4  # kills before anything is prepared
SETUP_SHARE = 0.25  # of the later ones, in the setup of a restart
STEPS = 15  # of each stage
EXPORTS = 3  # kills that are kept for the export
EXPORT_S = 0.5  # kills within the export fall into so many seconds after its begin
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
DROPOUT = {"hidden_dropout": 0.1, "attention_dropout": 0.1, "drop_path_rate": 0.1}


def write_recipe(folder: Path, args: argparse.Namespace) -> Path:
    """The recipe of a run that keeps its films in `folder`."""
    values = {
        "name": "interruptions",
        "seed": args.seed,
        "model": {
            "text": {"scratch": {**SIZES, "hidden_dropout_prob": 0.1}, "pooling": "mean"},
            "vision": {**SIZES, "image_size": 64, "patch_size": 8, **DROPOUT},
            "config": {"projection_dim": 32},
        },
        "data": {
            "loader": "phantom",
            "arguments": {"num_patients": 30, "image_size": 64, "out": str(folder / "films"), "num_workers": 1},
        },
        "training": {
            "use_cpu": True,
            "bf16": not args.fp32,
            "per_device_train_batch_size": 4,
            "num_train_epochs": 3,
            "save_strategy": "steps",
            "save_steps": 2,
            "logging_steps": 3,
            "dataloader_num_workers": args.workers,
            "disable_tqdm": True,
        },
        "stages": [
            {"name": "detection", "losses": ["anatomy"]},
            {"name": "global", "losses": ["anatomy", "global"]},
            {"name": "fine", "losses": ["anatomy", "global", "fine"]},
        ],
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def live(recipe: str, output: str, log: str) -> None:
    """One life of the run, in a process and session of its own."""
    os.setsid()
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    torch.set_num_threads(1)
    from anatomy_vlm.training.run import main

    sys.exit(main(["--recipe", recipe, "--output", output]))


def progress(output: Path) -> tuple[int, int, bool]:
    """What is safe: finished stages, step of the last good checkpoint of the next one, whether there is a model."""
    done = sum(finished_stage(output / stage) is not None for stage in STAGES)
    step = 0
    if done < len(STAGES):
        checkpoint = last_complete_checkpoint(output / STAGES[done])
        step = int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0
    return done, step, (output / "model" / "config.json").is_file()


def phase(output: Path) -> str:
    """Where a run is, told from its files."""
    if not (output / STAGES[0]).is_dir():
        return "first setup"
    if any(output.glob(".model.*")):
        return "export"
    done = sum((output / stage / "stage.json").is_file() for stage in STAGES)
    stage = STAGES[min(done, len(STAGES) - 1)]
    if any((output / stage).glob(".writing/checkpoint-*")):
        return f"{stage}, writing a checkpoint"
    return stage if done < len(STAGES) else "after the stages"


def marks(output: Path) -> set[tuple[str, int]]:
    """Traces of work; they change as soon as a life has got on."""
    patterns = ("[0-9]-*/checkpoint-*", "[0-9]-*/stage.json", "[0-9]-*/.writing", ".model.*")
    found = set()
    for pattern in patterns:
        for path in output.glob(pattern):
            try:
                found.add((str(path), path.stat().st_mtime_ns))
            except FileNotFoundError:
                continue
    return found


class Lives:
    """
    Lives of one run.

    Args:
        folder: Folder for its films, recipe, output and log.
        args: The command line.
    """

    def __init__(self, folder: Path, args: argparse.Namespace):
        folder.mkdir(parents=True)
        self.output, self.log = folder / "run", folder / "log.txt"
        self.recipe = write_recipe(folder, args)
        self.context = multiprocessing.get_context("forkserver")

    def start(self) -> Any:
        process = self.context.Process(target=live, args=(str(self.recipe), str(self.output), str(self.log)))
        process.start()
        return process

    def wait_for_work(self, process: Any, before: set[tuple[str, int]]) -> None:
        while process.is_alive() and marks(self.output) == before:
            time.sleep(0.002)

    def check(self, process: Any) -> None:
        if process.exitcode != 0:
            tail = "\n".join(self.log.read_text(encoding="utf-8").splitlines()[-30:])
            raise SystemExit(f"a life ended with status {process.exitcode}:\n{tail}")


def undisturbed(lives: Lives) -> tuple[float, float]:
    """Run to the end; seconds of the setup and of the rest."""
    # The first process waits until the libraries are imported, which is not what is measured.
    first = lives.context.Process(target=int)
    first.start()
    first.join()
    start = time.monotonic()
    process = lives.start()
    while process.is_alive() and not (lives.output / STAGES[0]).is_dir():
        time.sleep(0.005)
    setup = time.monotonic() - start
    process.join()
    lives.check(process)
    return setup, time.monotonic() - start - setup


def killed(lives: Lives, args: argparse.Namespace, first_setup: float, work: float) -> dict[str, Any]:
    """Kill the run `args.kills` times, then let it end; what was seen."""
    rng = random.Random(args.seed)
    where: Counter[str] = Counter()
    lost, kills, setups = 0, 0, [first_setup / 2]
    while kills < args.kills:
        before, fraction, begin = progress(lives.output), rng.random(), time.monotonic()
        in_setup = kills < min(FRESH_SETUPS, args.kills // 3) or rng.random() < SETUP_SHARE
        traces = marks(lives.output)
        process = lives.start()
        if in_setup:
            time.sleep(fraction * (sum(setups) / len(setups) if traces else first_setup))
        else:
            lives.wait_for_work(process, traces)
            setups.append(time.monotonic() - begin)
            # On average an equal share of what is left, with some kills kept for the export.
            done, step, _ = progress(lives.output)
            left = work * (1 - (done + step / STEPS) / len(STAGES))
            share = 2 * left / max(1, (1 - SETUP_SHARE) * (args.kills - kills) - EXPORTS)
            time.sleep(fraction * (EXPORT_S if done == len(STAGES) else share))
        if not process.is_alive():
            process.join()
            lives.check(process)
            first_setup, setups = first_setup / 2, [min(setups) / 2]
            continue  # It came to its end first; such a run loads its stages and exports them again.
        name = phase(lives.output)
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
        if process.exitcode != -signal.SIGKILL:
            lives.check(process)
            continue
        kills += 1
        where["setup of a restart" if in_setup and traces else name] += 1
        lost += progress(lives.output)[:2] < before[:2]
        done, step, _ = progress(lives.output)
        print(f"  kill {kills}: {name}; safe: {done} stages, step {step} of the next", flush=True)
    process = lives.start()
    process.join()
    lives.check(process)
    return {"kills": kills, "checkpoints_lost": lost, "where": dict(sorted(where.items()))}


def same_weights(one: Path, other: Path) -> bool:
    """Bit for bit."""
    a, b = load_file(one), load_file(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def losses(output: Path) -> list[dict[str, float]]:
    """What was logged of the losses, without times."""
    entries = [entry for stage in STAGES for entry in (finished_stage(output / stage) or {})["log"]]
    timed = ("train_runtime", "train_samples_per_second", "train_steps_per_second", "total_flos", "train_loss")
    return [{key: value for key, value in entry.items() if key not in timed} for entry in entries if "loss" in entry]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0, help="workers of the data loader")
    parser.add_argument("--fp32", action="store_true", help="without bfloat16")
    parser.add_argument("--out", type=Path, help="keep the runs here; a temporary folder by default")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    args = parser.parse_args()
    multiprocessing.set_forkserver_preload(["anatomy_vlm.training.run", "anatomy_vlm.synthesis"])
    folder = args.out or Path(tempfile.mkdtemp(prefix="interruptions-"))
    try:
        whole, cut = Lives(folder / "undisturbed", args), Lives(folder / "killed", args)
        setup, work = undisturbed(whole)
        print(f"undisturbed: setup {setup:.1f} s, stages and export {work:.1f} s")
        result = killed(cut, args, setup, work)
        result["weights_equal"] = all(
            same_weights(whole.output / stage / "trained.safetensors", cut.output / stage / "trained.safetensors")
            for stage in STAGES
        )
        result["model_equal"] = same_weights(
            whole.output / "model" / "model.safetensors", cut.output / "model" / "model.safetensors"
        )
        result["logs_equal"] = losses(whole.output) == losses(cut.output)
    finally:
        if args.out is None:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"{result['kills']} kills, every restart came to its end")
    for name, count in result["where"].items():
        print(f"  {count:3d} in {name}")
    for key in ("checkpoints_lost", "weights_equal", "model_equal", "logs_equal"):
        print(f"{key}: {result[key]}")
    if args.json:
        print(json.dumps({"benchmark": "interruptions", **result}))
    equal = result["weights_equal"] and result["model_equal"] and result["logs_equal"]
    return 0 if equal and not result["checkpoints_lost"] else 1


if __name__ == "__main__":
    sys.exit(main())
