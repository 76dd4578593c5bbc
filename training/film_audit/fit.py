"""Train the network of the film auditor and choose its limits, on drawn films only.

    python -m anatomy_vlm.training.film_audit.fit --work FOLDER [--patients 2400] [--steps 1200] [--out FOLDER]

Writes `film_audit.safetensors` and `film_audit.json` to `--out` (default: where the package reads them). Needs the
extra `synthesis`. On one CPU core some five minutes after the films are drawn.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from anatomy_vlm.processing.atomic_files import replacing, write_json
from anatomy_vlm.processing.film_audit import FLAGS, KINDS, WEIGHTS, FilmAuditNetwork, evidence_of
from anatomy_vlm.training.film_audit.batches import FilmPool, audit_losses, film_batches
from anatomy_vlm.training.film_audit.pool import draw_pools


FALSE_ALARMS = 0.01
_MIRRORED = 4
_OTHER_POSES = 4
_BATCH = 24
_LEARNING_RATE = 2e-3


def train(pool: FilmPool, steps: int, seed: int, start: Path | None = None) -> FilmAuditNetwork:
    """
    A network trained on a pool, from random weights or from those of the file `start`. Each step looks at the film as
    it is, mirrored, and in four other poses.
    """
    torch.manual_seed(seed)
    network = FilmAuditNetwork()
    if start is not None:
        network.load_state_dict({name: tensor.float() for name, tensor in load_file(start).items()})
    optimizer = torch.optim.AdamW(network.parameters(), lr=_LEARNING_RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=steps, pct_start=0.1)
    others = [pose for pose in range(16) if pose not in (0, _MIRRORED)]
    generator = torch.Generator().manual_seed(seed)
    bar = tqdm(film_batches(pool, _BATCH, steps, seed), total=steps, desc="film audit", unit="step")
    for step, batch in enumerate(bar):
        order = torch.randperm(len(others), generator=generator)[:_OTHER_POSES].tolist()
        losses = audit_losses(network(batch.grids, [0, _MIRRORED, *(others[index] for index in order)]), batch)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            bar.set_postfix({name: f"{float(loss.detach()):.2f}" for name, loss in losses.items()})
    return network.eval()


@torch.inference_mode()
def validation_evidence(network: FilmAuditNetwork, pool: FilmPool, steps: int, seed: int) -> dict[str, np.ndarray]:
    """Evidence by flag for upright, whole frontal chests of a pool, warped and soiled as in training."""
    parts = []
    for batch in film_batches(pool, 60, steps, seed):
        good = batch.posed & (batch.cropped == 0) & (batch.kinds == KINDS.index("frontal"))
        parts.append(evidence_of(*network(batch.grids[good])))
    return {flag: np.concatenate([part[flag] for part in parts]) for flag in FLAGS}


def choose_limits(evidence: dict[str, np.ndarray], false_alarms: float) -> dict[str, float]:
    """Log-odds that the share `false_alarms` of good films exceeds, and at least 0: a doubt has to be likelier than
    not."""
    return {
        flag: round(max(float(np.quantile(values, 1 - false_alarms)), 0.0), 3) for flag, values in evidence.items()
    }


def _history(start: Path | None) -> dict[str, Any]:
    """What the weights that were gone on from were trained on."""
    if start is None:
        return {}
    return {"before": json.loads(start.with_suffix(".json").read_text(encoding="utf-8"))["training"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of the drawn films")
    parser.add_argument("--out", type=Path, default=WEIGHTS.parent)
    parser.add_argument("--patients", type=int, default=2400)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--start", type=Path, metavar="FILE", help="weights to go on from")
    parser.add_argument("--seed", type=int, default=4242)
    args = parser.parse_args()
    pools = draw_pools(args.work, args.patients, args.seed)
    network = train(pools["train"], args.steps, args.seed, args.start)
    evidence = validation_evidence(network, pools["validation"], 60, args.seed + 1)
    limits = choose_limits(evidence, FALSE_ALARMS)
    half = {name: tensor.half().contiguous() for name, tensor in network.state_dict().items()}
    with replacing(args.out / WEIGHTS.name) as beside:
        save_file(half, beside)
    write_json(
        args.out / WEIGHTS.with_suffix(".json").name,
        {
            "limits": limits,
            "false_alarms": FALSE_ALARMS,
            "source": f"{len(evidence['flipped'])} views of {len(pools['validation'].chests)} drawn validation films",
            "training": {"patients": args.patients, "steps": args.steps, "seed": args.seed} | _history(args.start),
        },
    )
    print(limits)


if __name__ == "__main__":
    main()
