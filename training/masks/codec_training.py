"""Train a mask codec on bent shapes of synthetic chests and on shadows of voxels.

python -m anatomy_vlm.training.masks.codec_training anatomy --out codec.safetensors
python -m anatomy_vlm.training.masks.codec_training paligemma --out vq.safetensors
"""

import argparse
import math
import os
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn
from tqdm.auto import tqdm

from anatomy_vlm.modeling.mask_codecs_anatomy_vlm import load_codec
from anatomy_vlm.modeling.mask_fsq_anatomy_vlm import AnatomyMaskCodec
from anatomy_vlm.modeling.mask_vq_anatomy_vlm import PaliGemmaMaskCodec
from anatomy_vlm.training.masks.shapes import KEPT_SIDE, Shapes, batches, draw_shapes, load_shapes, save_shapes
from anatomy_vlm.training.masks.voxel_shapes import SIDE, draw_voxel_shapes, mixed_batches


CODECS = ("anatomy", "paligemma")
# A code that hardly any shape uses is moved to where shapes are.
RARE, DECAY = 0.05, 0.99


def shape_loss(logits: torch.Tensor, coverage: torch.Tensor) -> torch.Tensor:
    """Cross-entropy plus the soft Dice loss, means over shapes; both `(N, 64, 64)`."""
    probability = logits.sigmoid()
    overlap = (probability * coverage).sum((1, 2))
    total = probability.square().sum((1, 2)) + coverage.square().sum((1, 2))
    return nn.functional.binary_cross_entropy_with_logits(logits, coverage) + (1 - 2 * overlap / (total + 1)).mean()


class CodeUse:
    """Moving averages of how much each code of a VQ is used and of what it stands for (van den Oord et al., 2017)."""

    def __init__(self, codebook: torch.Tensor):
        self.count, self.total = torch.ones(len(codebook)), codebook.detach().clone()

    @torch.no_grad()
    def update(self, codebook: torch.Tensor, latents: torch.Tensor, codes: torch.Tensor) -> None:
        flat, chosen = latents.detach().float().flatten(0, -2), codes.flatten()
        hits = torch.bincount(chosen, minlength=len(codebook)).float()
        sums = torch.zeros_like(self.total).index_add_(0, chosen, flat)
        self.count = DECAY * self.count + (1 - DECAY) * hits
        self.total = DECAY * self.total + (1 - DECAY) * sums
        codebook.copy_(self.total / self.count.clamp(min=1e-5)[:, None])
        rare = self.count < RARE * self.count.mean()
        if rare.any():
            fresh = flat[torch.randint(len(flat), (int(rare.sum()),))]
            codebook[rare] = fresh
            self.total[rare], self.count[rare] = fresh * self.count.mean(), self.count.mean()


def train_codec(
    codec: AnatomyMaskCodec | PaliGemmaMaskCodec,
    shapes: Shapes,
    steps: int,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    seed: int = 0,
    progress: bool = True,
    voxels: Shapes | None = None,
) -> float:
    """
    Train in place; the mean loss of the last hundred steps.

    Args:
        codec: What is trained.
        shapes: What it shall code.
        steps: How long; the learning rate falls as a cosine.
        batch_size, learning_rate, seed: As usual.
        progress: Show a progress bar.
        voxels: Shadows of voxels (`draw_voxel_shapes`), more than half of every batch; without, `shapes` alone.
    """
    torch.manual_seed(seed)
    use = None
    if isinstance(codec, PaliGemmaMaskCodec):
        codec.codebook.requires_grad_(False)
        use = CodeUse(codec.codebook)
    parameters = [p for p in codec.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, learning_rate, betas=(0.9, 0.99), weight_decay=0.01)
    stream = mixed_batches(shapes, voxels, batch_size, seed) if voxels else batches(shapes, batch_size, seed)
    losses = []
    codec.train()
    bar = tqdm(range(steps), desc="codec", disable=not progress)
    for step in bar:
        for group in optimizer.param_groups:
            cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
            group["lr"] = learning_rate * min(1, (step + 1) / 200) * (0.98 * cosine + 0.02)
        coverage = next(stream)
        with torch.autocast("cpu", torch.bfloat16):
            if use is not None:
                latents = codec.latents(coverage).float()
                codes = codec.nearest(latents.detach())
                nearest = codec.codebook[codes]
                # The published decoder ends in [-1, 1]; as a logit a few times that.
                logits = 4 * codec.rasters(latents + (nearest - latents).detach())
                commitment = (latents - nearest.detach()).square().mean()
                use.update(codec.codebook, latents, codes)
            else:
                logits, commitment = codec(coverage), torch.zeros(())
        loss = shape_loss(logits.float(), coverage)
        optimizer.zero_grad()
        (loss + 0.25 * commitment).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        losses.append(loss.item())
        if step % 100 == 99:
            bar.set_postfix(loss=f"{sum(losses[-100:]) / 100:.4f}")
    codec.eval()
    return sum(losses[-100:]) / len(losses[-100:])


def build_codec(name: str, seed: int = 0) -> AnatomyMaskCodec | PaliGemmaMaskCodec:
    """A codec to be trained, small enough to travel with the package."""
    torch.manual_seed(seed)
    if name == "anatomy":
        return AnatomyMaskCodec()
    return PaliGemmaMaskCodec((16, 32, 64, 96), 96, 64)


def save_codec(codec: nn.Module, path: Path) -> None:
    """The weights in half precision, written beside their place and renamed."""
    scratch = path.with_name(f".{path.name}")
    save_file({name: tensor.detach().half().contiguous() for name, tensor in codec.state_dict().items()}, scratch)
    os.replace(scratch, path)


def _kept(path: Path | None, draw: Callable[[], Shapes], side: int) -> Shapes:
    """The shapes in a file, or else drawn and put there."""
    if path and path.is_file():
        try:
            shapes = load_shapes(path)
        except (SafetensorError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: no file of shapes ({error}); delete it, and they are drawn again") from None
        if shapes.rasters.shape[1:] != (side, side):
            raise ValueError(f"{path}: shapes of {shapes.rasters.shape[-1]} cells a side where {side} are needed")
        return shapes
    shapes = draw()
    if path:
        save_shapes(shapes, path)
    return shapes


def main(arguments: list[str] | None = None) -> int:
    """Train and save a codec."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("codec", choices=CODECS)
    parser.add_argument("--out", type=Path, required=True, help="where the weights go, a .safetensors file")
    parser.add_argument("--shapes", type=Path, help="keep the bent shapes in this file, or take them from it")
    parser.add_argument("--voxel-shapes", type=Path, help="the same for the shadows of voxels")
    parser.add_argument("--patients", type=int, default=400, help="synthetic patients (default: %(default)s)")
    parser.add_argument("--voxels", type=int, default=40_000, help="shadows of voxels (default: %(default)s)")
    parser.add_argument("--init", type=Path, help="weights to go on from")
    parser.add_argument("--steps", type=int, default=20_000, help="default: %(default)s")
    parser.add_argument("--batch-size", type=int, default=64, help="default: %(default)s")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="default: %(default)s")
    parser.add_argument("--workers", type=int, default=2, help="processes that draw (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    try:
        return _run(args)
    except (OSError, ValueError) as error:
        parser.error(" ".join(str(error).split()))


def _run(args: argparse.Namespace) -> int:
    # Before anything takes time: a folder that cannot be made is no place for what was trained.
    args.out.parent.mkdir(parents=True, exist_ok=True)
    codec = load_codec(args.codec, args.init).requires_grad_(True) if args.init else build_codec(args.codec, args.seed)
    shapes = _kept(
        args.shapes, lambda: draw_shapes(args.patients, 7_000_000 + args.seed, num_workers=args.workers), KEPT_SIDE
    )
    voxels = _kept(args.voxel_shapes, lambda: draw_voxel_shapes(args.voxels, 1000 * args.seed, args.workers), SIDE)
    loss = train_codec(codec, shapes, args.steps, args.batch_size, args.learning_rate, args.seed, voxels=voxels)
    save_codec(codec, args.out)
    print(f"{args.out}: loss {loss:.4f} over {len(shapes.families)} bent shapes and {len(voxels.families)} of voxels")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
