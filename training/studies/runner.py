"""Run a study: every variant with every seed, one after another; what is finished is not run again."""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from anatomy_vlm.training.checkpoints import DONE_FILE
from anatomy_vlm.training.receipts.data import PHANTOM, PHANTOM_ARGUMENTS, DataSource
from anatomy_vlm.training.receipts.model import describe_model
from anatomy_vlm.training.receipts.receipt import Receipt, load_receipt
from anatomy_vlm.training.receipts.tasks import SplitSource, TaskInputs, measure
from anatomy_vlm.training.recipe import Recipe, RecipeError
from anatomy_vlm.training.run import RunResult, train
from anatomy_vlm.training.stages import DEFAULTS, WEIGHTS_FILE
from anatomy_vlm.training.studies.scores import losses_of
from anatomy_vlm.training.studies.study import Study, Variant


BANK, RECEIPT = "phrase_bank", "receipt.json"
# Options of the labels that nothing but the loss "fine" reads.
OF_FINE = ("perturbation_probability", "perturbations", "attribute_negatives", "unmentioned_is_absent")


@dataclass(frozen=True)
class StudyRun:
    """
    One run of a study.

    Args:
        variant: What it trains.
        seed: Of its initialisation, sampling and augmentation.
        folder: Where it is kept.
    """

    variant: Variant
    seed: int
    folder: Path

    @property
    def title(self) -> str:
        return f"{self.variant.name}, seed {self.seed}"


def planned_runs(study: Study, out: Path, seeds: Sequence[int], variants: Sequence[str] = ()) -> list[StudyRun]:
    """The runs in the order in which they are made: all variants of one seed before the next seed.

    Raises:
        RecipeError: no or repeated seeds, or an unknown variant.
    """
    if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise RecipeError(f"study {study.name}: seeds {list(seeds)} are not distinct whole numbers, 0 or above")
    chosen = [study.variant(name) for name in variants] or study.variants
    return [StudyRun(variant, seed, out / "runs" / f"{variant.name}-{seed}") for seed in seeds for variant in chosen]


def train_runs(study: Study, runs: Sequence[StudyRun], out: Path) -> Iterator[tuple[StudyRun, RunResult]]:
    """Train the runs, giving each when it is there; a finished one is loaded, an interrupted one goes on."""
    # A mistake in the last variant should not show after hours.
    recipes = [study.recipe_of(run.variant, run.seed) for run in runs]
    for run, recipe in zip(runs, recipes, strict=True):
        _share_bank(out / BANK, run.folder / BANK)
        for other, of_other in zip(runs, recipes, strict=True):
            _share_stages(of_other, other.folder, recipe, run.folder)
        result = train(recipe, run.folder)
        _share_bank(run.folder / BANK, out / BANK)
        yield run, result


def _share_bank(source: Path, target: Path) -> None:
    """Copy embedded texts that `target` lacks; each file is named by what it depends on, so none can be mistaken."""
    if not source.is_dir():
        return
    target.mkdir(parents=True, exist_ok=True)
    for path in source.glob("*.safetensors"):
        if not path.name.startswith(".") and not (target / path.name).exists():
            scratch = target / f".{path.name}"
            shutil.copyfile(path, scratch)
            scratch.replace(target / path.name)


def stage_key(recipe: Recipe, number: int) -> str:
    """What the weights after stage `number` (from 1) depend on, as text: equal keys, equal weights."""
    values = {k: v for k, v in recipe.to_dict().items() if k not in ("name", "description", "evaluation", "processor")}
    values["stages"] = values["stages"][:number]
    if not any("fine" in stage["losses"] for stage in values["stages"]):
        values["labels"] = {k: v for k, v in values["labels"].items() if k not in OF_FINE}
    return json.dumps(values, sort_keys=True, default=str)


def _share_stages(source: Recipe, source_folder: Path, target: Recipe, target_folder: Path) -> None:
    """Take over the finished stages that two runs have in common from their start."""
    for number, (one, other) in enumerate(zip(source.stages, target.stages), start=1):
        if stage_key(source, number) != stage_key(target, number):
            return
        done, here = source_folder / f"{number}-{one.name}", target_folder / f"{number}-{other.name}"
        if not (done / DONE_FILE).is_file() or here.exists():
            continue
        scratch = here.with_name(f".{here.name}")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        for name in (WEIGHTS_FILE, DONE_FILE):
            shutil.copyfile(done / name, scratch / name)
        scratch.replace(here)


def score_run(study: Study, run: StudyRun, result: RunResult, *, device: str | None = None) -> Receipt:
    """Score a finished run on its test split and keep the receipt beside it; a receipt of these weights is kept.

    Args:
        study: The study.
        run: The run.
        result: What training gave.
        device: Of PyTorch.
    """
    recipe = result.recipe
    sources = {
        "test": SplitSource(_source(recipe), recipe.data.test),
        "train": SplitSource(_source(recipe), recipe.data.train, with_images=False),
    }
    settings = {
        "study": study.name,
        "variant": run.variant.name,
        "seed_of_training": run.seed,
        "losses": losses_of(recipe.stages),
        "epochs": study.epochs,
        "optimizer_steps": optimizer_steps(recipe, len(result.splits[recipe.data.train])),
        "seed": 0,
        **study.scoring,
    }
    path = run.folder / RECEIPT
    if path.is_file():
        held = load_receipt(path)
        same_weights = held.model is not None and held.model["weights"] == describe_model(result.model)["weights"]
        if same_weights and held.settings == settings:
            return held
    inputs = TaskInputs(str(result.model), sources, settings, device=device, progress=True)
    for wanted in sources.values():
        inputs.hold(wanted.source, result.splits)
    command = f"anatomy-vlm study {study.name} --variants {run.variant.name} --seeds {run.seed}"
    receipt, _ = measure("study-run", inputs, command)
    receipt.save(path)
    return receipt


def run_study(
    study: Study,
    out: Path | str,
    seeds: Sequence[int] | None = None,
    variants: Sequence[str] = (),
    *,
    device: str | None = None,
) -> list[tuple[StudyRun, Receipt]]:
    """
    Train and score the runs of a study; what an earlier call finished is not done again.

    Args:
        study: What to compare.
        out: Folder of the study: `runs/VARIANT-SEED` with the model and `receipt.json`.
        seeds: Those of the study by default.
        variants: Names; all by default.
        device: Of PyTorch, for scoring.

    Raises:
        RecipeError: a variant, recipe or its data cannot be used, or its budget is not the study's.
    """
    out = Path(out)
    runs = planned_runs(study, out, study.seeds if seeds is None else seeds, variants)
    return [(run, score_run(study, run, result, device=device)) for run, result in train_runs(study, runs, out)]


def optimizer_steps(recipe: Recipe, num_images: int) -> int:
    """Steps of the optimizer over all stages, from epochs and batch size; incomplete batches are dropped."""
    total = 0
    for stage in recipe.stages:
        settings = {**DEFAULTS, **recipe.training, **stage.training}
        batches = num_images // int(settings["per_device_train_batch_size"])
        steps = batches // int(settings.get("gradient_accumulation_steps", 1))
        total += round(steps * float(settings["num_train_epochs"]))
    return total


def _source(recipe: Recipe) -> DataSource:
    """The recipe's data as a receipt names it."""
    arguments = dict(recipe.data.arguments)
    if recipe.data.loader != PHANTOM:
        return DataSource(recipe.data.loader, arguments)
    # The loader's name for it, and what is no property of the films.
    if "studies_per_patient" in arguments:
        arguments["num_studies"] = arguments["studies_per_patient"]
    return DataSource(PHANTOM, {name: arguments[name] for name in PHANTOM_ARGUMENTS if name in arguments})
