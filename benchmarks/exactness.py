"""Largest differences of trained weights between one process with one large batch and everything that shares it.

    python benchmarks/exactness.py [--processes 2 3 4] [--optimizers adamw_torch sgd] [--two-nodes] [--json]

Each row trains the three stages of the paper by `anatomy_vlm.training.run.train`, on the same images: with several
processes (gloo, on the CPU), with steps of accumulation, with a number of images that fills no whole batch, and as two
nodes. The reference is one process whose batch holds the images of all of them. The rows of FSDP2 compare it with DDP
on the same batches, with all losses, since `Trainer` runs FSDP on GPUs only.

Differences are relative: of each tensor, the largest difference over its largest weight. The biases of the attention's
keys are left out: they cancel in the softmax, so their gradient is zero but for rounding, and AdamW, which divides
a gradient by its own size, makes steps of that rounding.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file


STAGES = {"detection": ["anatomy"], "global": ["anatomy", "global"], "fine": ["anatomy", "global", "fine"]}
WHOLE_BATCH = 24
# Name, images, steps of accumulation. With 25 images the last batch has one, and other processes have none of it.
VARIANTS = [
    ("even", 48, 1),
    ("even, accumulation 2", 48, 2),
    ("uneven", 53, 1),
    ("uneven, accumulation 2", 53, 2),
    ("one image left", 25, 1),
]
LEARNING_RATES = {"adamw_torch": 1e-3, "sgd": 1e-2}


def recipe(folder: Path, images: int, processes: int, accumulation: int, optimizer: str) -> dict[str, Any]:
    sizes = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
    return {
        "name": "exactness",
        "model": {
            "text": {"scratch": {**sizes, "num_hidden_layers": 1}, "pooling": "mean"},
            "vision": {**sizes, "num_hidden_layers": 2, "image_size": 64, "patch_size": 16},
            "config": {"projection_dim": 32},
        },
        "data": {"loader": "saved", "arguments": {"path": str(folder / f"images-{images}")}},
        "training": {
            "use_cpu": True,
            "per_device_train_batch_size": WHOLE_BATCH // (processes * accumulation),
            "gradient_accumulation_steps": accumulation,
            "dataloader_drop_last": False,
            "num_train_epochs": 2,
            "learning_rate": LEARNING_RATES[optimizer],
            "optim": optimizer,
            "disable_tqdm": True,
            "save_strategy": "no",
            "logging_strategy": "no",
        },
        "stages": [{"name": name, "losses": losses} for name, losses in STAGES.items()],
    }


def example(index: int, split: str) -> dict[str, Any]:
    """Noise with boxes, of which some are missing, and statements about two findings in both lungs."""
    from anatomy_vlm.processing.statements import Statement, render_statement
    from anatomy_vlm.processing.vocabulary import FINDING_NAMES, REGION_NAMES

    rng = np.random.default_rng([index, len(split)])
    corners = np.sort(rng.random((len(REGION_NAMES), 2, 2)), axis=1)
    labels, entries = np.full(len(FINDING_NAMES), np.nan, dtype=np.float32), []
    for number, finding in enumerate(("pleural effusion", "pneumothorax")):
        there = index % (number + 2) == 0
        labels[FINDING_NAMES.index(finding)] = there
        for side in ("left", "right"):
            severity = ("mild", "moderate", "severe")[index % 3] if there and side == "left" else None
            statement = Statement(finding, "present" if severity else "absent", f"{side} lung", severity)
            words = {"region": statement.region, "finding": finding, "polarity": statement.polarity}
            entries.append({**words, "severity": severity or "", "phrase": render_statement(statement, index)})
    names = dict.fromkeys(("patient_id", "study_id", "image_id"), f"{split}-{index}")
    return {
        "image": Image.fromarray(rng.integers(0, 255, (72, 64)).astype(np.uint8)),
        "boxes": np.clip(corners.reshape(-1, 4) + [0, 0, 0.01, 0.01], 0, 1).astype(np.float32),
        "box_mask": rng.random(len(REGION_NAMES)) > 0.2,
        "region_findings": entries,
        "labels": labels,
        "report": "",
        **names,
        "view": "PA",
        "source": "noise",
    }


def write_images(folder: Path, counts: set[int]) -> None:
    """Saved datasets with so many training images."""
    import datasets

    from anatomy_vlm.processing.schema import features

    datasets.disable_progress_bars()
    for count in counts:
        sizes = {"train": count, "validation": 4, "test": 4}
        splits = {
            split: datasets.Dataset.from_list([example(i, split) for i in range(size)], features=features())
            for split, size in sizes.items()
        }
        datasets.DatasetDict(splits).save_to_disk(folder / f"images-{count}")


def name_of(processes: int, variant: str, optimizer: str) -> str:
    return f"{processes} {variant} {optimizer}".replace(", ", " ").replace(" ", "-")


def train_variants(folder: Path, optimizers: list[str], wanted: list[str]) -> None:
    """Run by every process: train the variants."""
    from anatomy_vlm.training.recipe import parse_recipe
    from anatomy_vlm.training.run import train

    processes = int(os.environ.get("WORLD_SIZE", "1"))
    for variant, images, accumulation in VARIANTS:
        if variant not in wanted:
            continue
        for optimizer in optimizers:
            values = recipe(folder, images, processes, accumulation, optimizer)
            train(parse_recipe(values), folder / name_of(processes, variant, optimizer))


def compare_fsdp2(folder: Path) -> None:
    """Run by every process: some updates with FSDP2 and with DDP on the same batches; the first writes the result."""
    import copy

    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.nn.parallel import DistributedDataParallel

    from anatomy_vlm.training.accumulation import AccumulatedBatch, whole
    from anatomy_vlm.training.batches import TrainingImages, collate
    from anatomy_vlm.training.loaders import load_data
    from anatomy_vlm.training.recipe import parse_recipe
    from anatomy_vlm.training.setup import build_setup
    from anatomy_vlm.training.shared_batches import SharedBatches, shuffled
    from anatomy_vlm.training.trainer import trainable

    dist.init_process_group("gloo")
    rank, processes = dist.get_rank(), dist.get_world_size()
    plan = parse_recipe(recipe(folder, 53, processes, 1, "sgd"))
    splits = load_data(plan.data.loader, plan.data.arguments)
    setup = build_setup(plan, splits["train"], folder / f"fsdp2-{rank}")
    images = TrainingImages(setup.prepared(64), setup.sampler, setup.augmentation)
    batch_of = collate(setup.augmentation, setup.processor.image_processor, images)
    results: dict[str, float] = {}
    for stage, losses in STAGES.items():
        for accumulation in (1, 2):
            for optimizer_class, rate in ((torch.optim.AdamW, 1e-3), (torch.optim.SGD, 1e-2)):
                batches = SharedBatches(
                    shuffled(len(images), 0), len(images), WHOLE_BATCH // (processes * accumulation),
                    accumulation=accumulation, rank=rank, num_processes=processes,
                )  # fmt: skip
                ends = []
                for sharded in (False, True):
                    module = copy.deepcopy(setup.model).train()
                    module.losses_across_ranks = True
                    for name, parameter in module.named_parameters():
                        parameter.requires_grad_(trainable(name, losses, []))
                    if sharded:
                        mesh = init_device_mesh("cpu", (processes,))
                        for layer in module.vision_model.layers:
                            fully_shard(layer, mesh=mesh)
                        model = fully_shard(module, mesh=mesh)
                    else:
                        model = DistributedDataParallel(module, find_unused_parameters=True)
                    optimizer = optimizer_class([p for p in model.parameters() if p.requires_grad], lr=rate)
                    steps = list(batches)
                    for start in range(0, len(steps), accumulation):
                        parts = [batch_of([images[i] for i in step]) for step in steps[start : start + accumulation]]
                        ids = setup.texts.text_ids(parts, losses, gather=True)

                        def targets(part: dict[str, Any], ids=ids, losses=losses) -> dict[str, torch.Tensor]:
                            boxes = {"boxes": part["boxes"], "box_mask": part["box_mask"]}
                            texts = set(losses) & {"global", "fine"}
                            return boxes | (setup.texts.targets(part, losses, ids=ids) if texts else {})

                        accumulated = AccumulatedBatch(parts, targets, across_ranks=True)
                        for number in range(len(parts)):
                            last = number == len(parts) - 1
                            if sharded:
                                model.set_requires_gradient_sync(last)
                            with nullcontext() if sharded or last else model.no_sync():
                                accumulated.loss(model, module)[0].backward()
                        optimizer.step()
                        optimizer.zero_grad()
                    ends.append({name: whole(parameter).clone() for name, parameter in module.named_parameters()})
                start_weights = dict(setup.model.named_parameters())
                if min(difference(start_weights, end) for end in ends) < 1e-4:
                    raise SystemExit(f"{stage}: nothing was learnt, so that nothing is compared")
                name = f"{stage} {accumulation} {optimizer_class.__name__.lower().replace('adamw', 'adamw_torch')}"
                results[name] = difference(*ends)
    if rank == 0:
        (folder / f"fsdp2-{processes}.json").write_text(json.dumps(results), encoding="utf-8")
    dist.destroy_process_group()


def difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Of each tensor the largest difference over the largest weight; the largest of them."""
    return max(
        float((one[name] - other[name]).abs().max() / one[name].abs().max().clamp(min=1e-12))
        for name in one
        if one[name].numel() and not name.endswith("k_proj.bias")
    )


def differences(one: Path, other: Path) -> dict[str, float]:
    """By stage."""
    return {
        stage: difference(*(load_file(run / f"{number}-{stage}" / "trained.safetensors") for run in (one, other)))
        for number, stage in enumerate(STAGES, start=1)
    }


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def launch(processes: int, arguments: list[str], nodes: int = 1) -> None:
    """Run this script in so many processes, of one node or of one each."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    port = free_port()
    commands = []
    for node in range(nodes):
        place = ["--standalone"]
        if nodes > 1:
            place = ["--nnodes", str(nodes), "--node_rank", str(node), "--master_addr", "127.0.0.1"]
            place += ["--master_port", str(port)]
        commands.append(
            [sys.executable, "-m", "torch.distributed.run", *place, "--nproc_per_node", str(processes // nodes)]
            + [__file__, *arguments]
        )
    if processes == 1:
        commands = [[sys.executable, __file__, *arguments]]
    running = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for command in commands
    ]
    for process in running:
        output, _ = process.communicate()
        if process.returncode:
            raise SystemExit(f"{' '.join(process.args)} failed:\n{output[-16000:]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 3, 4])
    parser.add_argument("--optimizers", nargs="+", choices=LEARNING_RATES, default=list(LEARNING_RATES))
    parser.add_argument(
        "--variants", nargs="+", choices=[name for name, *_ in VARIANTS], default=[v[0] for v in VARIANTS]
    )
    parser.add_argument("--two-nodes", action="store_true", help="also as two nodes of one process each")
    parser.add_argument("--fsdp2", action="store_true", help="also FSDP2 against DDP, with two processes")
    parser.add_argument("--folder", type=Path, help="keep the runs there, and go on with those that are there")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--worker-fsdp2", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return train_variants(args.worker, args.optimizers, args.variants)
    if args.worker_fsdp2:
        return compare_fsdp2(args.worker_fsdp2)
    rows: list[dict[str, Any]] = []
    with nullcontext(args.folder) if args.folder else tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        counts_of_images = {images for name, images, _ in VARIANTS if name in args.variants} | {53}
        write_images(folder, {count for count in counts_of_images if not (folder / f"images-{count}").is_dir()})
        arguments = ["--worker", str(folder), "--optimizers", *args.optimizers, "--variants", *args.variants]
        counts = sorted({1, *args.processes})
        for processes in counts:
            launch(processes, arguments)
        for optimizer in args.optimizers:
            for variant, images, _ in VARIANTS:
                whole_run = next(v for v, n, accumulation in VARIANTS if n == images and accumulation == 1)
                for processes in counts if variant in args.variants and whole_run in args.variants else []:
                    if (processes, variant) != (1, whole_run):
                        runs = name_of(1, whole_run, optimizer), name_of(processes, variant, optimizer)
                        by_stage = differences(*(folder / run for run in runs))
                        rows.append({"optimizer": optimizer, "processes": processes, "variant": variant, **by_stage})
        if args.two_nodes:
            for path in folder.glob("2-*"):
                path.rename(folder / f"one-node-{path.name}")
            launch(2, arguments, nodes=2)
            for optimizer in args.optimizers:
                runs = name_of(1, args.variants[0], optimizer), name_of(2, args.variants[0], optimizer)
                by_stage = differences(*(folder / run for run in runs))
                rows.append({"optimizer": optimizer, "processes": 2, "variant": "two nodes", **by_stage})
        if args.fsdp2:
            launch(2, ["--worker-fsdp2", str(folder)])
            results = json.loads((folder / "fsdp2-2.json").read_text(encoding="utf-8"))
            for optimizer in args.optimizers:
                for accumulation in (1, 2):
                    by_stage = {stage: results[f"{stage} {accumulation} {optimizer}"] for stage in STAGES}
                    variant = f"FSDP2 against DDP, uneven, accumulation {accumulation}"
                    rows.append({"optimizer": optimizer, "processes": 2, "variant": variant, **by_stage})
    print(f"{'optimizer':12} {'processes':>9}  {'variant':44} " + " ".join(f"{stage:>10}" for stage in STAGES))
    for row in rows:
        shown = " ".join(f"{row[stage]:10.1e}" for stage in STAGES)
        print(f"{row['optimizer']:12} {row['processes']:9}  {row['variant']:44} {shown}")
    largest = {
        o: max(row[stage] for row in rows if row["optimizer"] == o for stage in STAGES) for o in args.optimizers
    }
    if args.json:
        print(json.dumps({"rows": rows, "largest": largest}))


if __name__ == "__main__":
    main()
