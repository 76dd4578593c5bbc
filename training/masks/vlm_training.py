"""Teach a vision-language model to write masks, as CheXanatomy (arXiv 2606.08420) does.

    python -m anatomy_vlm.training.masks.vlm_training --model google/paligemma2-3b-pt-224 --films phantom:2000 \\
        --codec vae-oid.npz --out outputs/paligemma2

Any image-text-to-text model of Transformers: PaliGemma, PaliGemma 2, Florence-2, SmolVLM, Qwen2-VL, Qwen2.5-VL, ...
What else can be set is in a recipe (`--recipe`), whose keys are those of `VLMRecipe`; flags come before it.
"""

import argparse
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from anatomy_vlm.processing.atomic_files import write_json
from anatomy_vlm.training.masks.vlm_adapters import HOW_VISION, adapt
from anatomy_vlm.training.masks.vlm_batches import VLMBatcher
from anatomy_vlm.training.masks.vlm_examples import ExampleMaker, VLMExamples
from anatomy_vlm.training.masks.vlm_films import open_films
from anatomy_vlm.training.masks.vlm_generation import VLMWriter
from anatomy_vlm.training.masks.vlm_model import MaskVLM, load_vlm
from anatomy_vlm.training.masks.vlm_recipe import VLMRecipe, read_recipe
from anatomy_vlm.training.masks.vlm_scores import score_films


# Patients to score, whom training never sees however many it draws.
EVALUATION_SEED = 5_000_000


def train_vlm(
    recipe: VLMRecipe, out: str | Path, *, max_steps: int = -1, use_cpu: bool = False, progress: bool = True
) -> MaskVLM:
    """
    Train a model by a recipe, from the last checkpoint in `out` if there is one.

    Args:
        recipe: What to do.
        out: Folder; checkpoints are in `out/checkpoints`.
        max_steps: End after so many steps; -1 for all epochs.
        use_cpu: Leave a GPU alone.
        progress: Show progress bars.

    Returns:
        The trained model, saved in `out/model`: an adapter if the recipe has a rank, else the model itself.

    Raises:
        ValueError: for a model, films or codec that cannot be had.
    """
    torch.manual_seed(recipe.seed)
    films = open_films(recipe.films, recipe.seed, recipe.image_size)
    vlm = load_vlm(recipe.model, recipe.codec, dtype=recipe.dtype, image_options=recipe.image_options)
    if hasattr(vlm.model, "peft_config"):
        # Training goes on: the adapter becomes a part of the model, and a new one is made.
        vlm = vlm.merged()
    vlm.model = adapt(vlm.model, recipe.adapters, vlm.new_ids)
    batcher = VLMBatcher(vlm.processor, vlm.encoder_decoder, vlm.image_options)
    examples = VLMExamples(films, ExampleMaker(vlm.codec, recipe.examples), recipe.epochs, recipe.seed)
    folder = Path(out) / "checkpoints"
    trainer = Trainer(
        model=vlm.model,
        args=_arguments(recipe, folder, max_steps, use_cpu, progress),
        train_dataset=examples,
        data_collator=batcher.train_batch,
    )
    checkpoint = get_last_checkpoint(str(folder)) if recipe.save_steps and folder.is_dir() else None
    trainer.train(resume_from_checkpoint=checkpoint)
    vlm.model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False).eval()
    if trainer.is_world_process_zero():
        vlm.save(Path(out) / "model")
        write_json(Path(out) / "losses.json", [entry for entry in trainer.state.log_history if "loss" in entry])
    return vlm


def _arguments(recipe: VLMRecipe, folder: Path, max_steps: int, use_cpu: bool, progress: bool) -> TrainingArguments:
    cpu = use_cpu or not torch.cuda.is_available()
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=1,  # the examples are those of all epochs, one after the other
        max_steps=max_steps,
        per_device_train_batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.accumulation,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        adam_beta2=recipe.adam_beta2,
        warmup_steps=recipe.warmup_steps,
        lr_scheduler_type="linear",
        optim="adamw_torch",
        bf16=recipe.dtype == "bfloat16",
        **_checkpointing(recipe.gradient_checkpointing),
        save_strategy="steps" if recipe.save_steps else "no",
        save_steps=recipe.save_steps or 500,
        save_total_limit=1,
        logging_steps=10 if max_steps < 0 else max(1, min(10, max_steps)),
        report_to="none",
        seed=recipe.seed,
        remove_unused_columns=False,
        label_names=["labels"],
        train_sampling_strategy="sequential",
        dataloader_num_workers=recipe.num_workers,
        dataloader_pin_memory=False,
        disable_tqdm=not progress,
        use_cpu=cpu,
    )


def _checkpointing(wanted: bool) -> dict[str, Any]:
    """Its argument has been renamed in Transformers 5.24."""
    known = {field.name for field in fields(TrainingArguments)}
    name = "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing"
    return {name: True} if wanted else {}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--recipe", type=Path, help="YAML file with the keys of VLMRecipe")
    made.add_argument("--model", help="model to start from, folder or Hub id")
    made.add_argument("--films", help="phantom:NUMBER, a folder of CheXanatomy's cases or NPZ files, or kept shapes")
    made.add_argument("--codec", help="weights of the mask codec: vae-oid.npz, or a safetensors file of ours")
    made.add_argument("--out", type=Path, required=True, help="folder for the model, in `model`, and checkpoints")
    made.add_argument("--epochs", type=int)
    made.add_argument("--batch-size", type=int)
    made.add_argument("--learning-rate", type=float)
    made.add_argument("--image-size", type=int, help="side of synthetic films")
    made.add_argument("--dtype", choices=("float32", "bfloat16", "float16"))
    made.add_argument("--rank", type=int, help="of the adapters; 0 trains the model itself")
    made.add_argument("--vision", choices=HOW_VISION, help="what becomes of the vision model")
    made.add_argument("--save-steps", type=int, help="steps between checkpoints")
    made.add_argument("--num-workers", type=int, help="processes that draw films")
    made.add_argument("--seed", type=int)
    made.add_argument("--max-steps", type=int, default=-1, help="end after so many steps")
    made.add_argument("--merge", action="store_true", help="also save the model with the adapter in it, in `merged`")
    made.add_argument("--evaluate", metavar="FILMS", help="score these films, as --films names them, afterwards")
    made.add_argument("--cpu", action="store_true", help="leave a GPU alone")
    made.add_argument("--quiet", action="store_true", help="no progress bars")
    return made


def _recipe(args: argparse.Namespace) -> VLMRecipe:
    keys = ("model", "films", "codec", "epochs", "batch_size", "learning_rate", "image_size", "dtype", "save_steps")
    values: dict[str, Any] = {key: getattr(args, key) for key in (*keys, "num_workers", "seed")}
    recipe = read_recipe(args.recipe, **values)
    given = {key: getattr(args, key) for key in ("rank", "vision") if getattr(args, key) is not None}
    if not given:
        return recipe
    return replace(recipe, adapters=replace(recipe.adapters, **given))


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    args = parser().parse_args(arguments)
    try:
        recipe = _recipe(args)
        evaluation = open_films(args.evaluate, EVALUATION_SEED, recipe.image_size) if args.evaluate else None
        vlm = train_vlm(recipe, args.out, max_steps=args.max_steps, use_cpu=args.cpu, progress=not args.quiet)
        print(f"The model is in {args.out / 'model'}")
        if evaluation is not None:
            scores = score_films(VLMWriter(vlm), evaluation, batch_size=recipe.batch_size, progress=not args.quiet)
            write_json(args.out / "scores.json", scores)
            print(f"Its scores are in {args.out / 'scores.json'}")
        if args.merge:
            vlm.merged().save(args.out / "merged")
            print(f"Merged it is in {args.out / 'merged'}")
    except (ValueError, OSError) as error:
        print(f"vlm_training: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
