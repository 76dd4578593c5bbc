"""Tasks: what a receipt can be about. Each turns a model and named data into numbers, and tables for reading."""

import re
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

from anatomy_vlm.training.receipts.data import DataSource, describe_split, portable_path
from anatomy_vlm.training.receipts.environment import describe_code, describe_libraries, describe_machine
from anatomy_vlm.training.receipts.errors import ReceiptError, UnverifiableError
from anatomy_vlm.training.receipts.model import describe_model, find_model
from anatomy_vlm.training.receipts.receipt import Number, Receipt


@dataclass(frozen=True)
class SplitSource:
    """
    A split that a task uses.

    Args:
        source: Where it comes from.
        split: Its name there.
        with_images: Whether the task looks at the images; else they are not hashed.
    """

    source: DataSource
    split: str
    with_images: bool = True


@dataclass
class TaskInputs:
    """
    What a task is given; model and data are loaded when they are asked for.

    Args:
        model_folder: Folder or Hub id; None for a task without a model.
        sources: Splits by the name under which the task knows them.
        settings: Of the task.
        data_root: Folder to look for data in that is not where it was.
        films: Folder that keeps drawn films.
        device: Of PyTorch.
        progress: Show progress bars.
    """

    model_folder: str | None
    sources: Mapping[str, SplitSource]
    settings: Mapping[str, Any]
    data_root: Path | None = None
    films: Path | None = None
    device: str | None = None
    progress: bool = True
    _loaded: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def checkpoint(self) -> tuple[Any, Any]:
        """Model and processor."""
        from anatomy_vlm.training.model_folder import load_checkpoint

        if self.model_folder is None:
            raise ReceiptError("this task needs a model")
        return load_checkpoint(self.model_folder)

    def hold(self, source: DataSource, splits: Any) -> None:
        """Take splits that were loaded before for those of `source`."""
        self._loaded[source.key] = splits

    def split(self, name: str) -> Any:
        """A split, `datasets.Dataset`. Raises `UnverifiableError` where it is not here."""
        wanted = self.sources[name]
        key = wanted.source.key
        if key not in self._loaded:
            self._loaded[key] = wanted.source.load(self.data_root, self.films, self.progress)
        if wanted.split not in self._loaded[key]:
            raise UnverifiableError(f"data {name}: there is no split '{wanted.split}' in it")
        return self._loaded[key][wanted.split]


@dataclass(frozen=True)
class Outcome:
    """
    What a task gives.

    Args:
        numbers: For the receipt.
        table: For reading; None where the numbers say it all.
        pictures: Images by name.
    """

    numbers: tuple[Number, ...]
    table: Any = None
    pictures: Mapping[str, Any] = field(default_factory=dict)


# What is not here and looks like one may still be fetched.
HUB_ID = re.compile(r"(?!outputs/)[\w-][\w.-]*/[\w-][\w.-]*")
Task = Callable[[TaskInputs], Outcome]
# Where the function of each task lives: module and name.
TASKS = {
    "evaluation": ("anatomy_vlm.training.receipts.evaluation", "run_evaluation"),
    "study-run": ("anatomy_vlm.training.studies.scores", "run_scores"),
    "table-zero-shot": ("anatomy_vlm.training.tables.zero_shot", "zero_shot_table"),
    "table-regions": ("anatomy_vlm.training.tables.regions", "regions_table"),
    "table-detection": ("anatomy_vlm.training.tables.detection", "detection_table"),
    "table-queries": ("anatomy_vlm.training.tables.queries", "queries_table"),
    "table-probing": ("anatomy_vlm.training.tables.probing", "probing_table"),
    "table-study": ("anatomy_vlm.training.tables.studies", "study_table"),
}


def task_of(name: str) -> Task:
    """The function of a task. Raises `ReceiptError` for an unknown one."""
    if name not in TASKS:
        raise ReceiptError(f"unknown task '{name}'; this package knows {', '.join(TASKS)}")
    module, function = TASKS[name]
    task: Task = getattr(import_module(module), function)
    return task


def measure(task: str, inputs: TaskInputs, command: str = "") -> tuple[Receipt, Outcome]:
    """Run a task and write down everything that its numbers depend on."""
    outcome = task_of(task)(inputs)
    return receipt_of(task, inputs, outcome.numbers, command), outcome


def receipt_of(task: str, inputs: TaskInputs, numbers: tuple[Number, ...], command: str = "") -> Receipt:
    """The receipt of numbers that a task gave for `inputs`."""
    data = {
        name: {
            "loader": wanted.source.loader,
            "arguments": dict(wanted.source.arguments),
            "split": wanted.split,
            **describe_split(inputs.split(name), with_pixels=wanted.with_images),
        }
        for name, wanted in inputs.sources.items()
    }
    return Receipt(
        task=task,
        command=command,
        settings=dict(inputs.settings),
        model=None if inputs.model_folder is None else describe_model(inputs.model_folder),
        data=data,
        numbers=numbers,
        code=describe_code(),
        libraries=describe_libraries(),
        machine=describe_machine(inputs.device or "cpu"),
    )


def measure_again(
    receipt: Receipt,
    *,
    model: Path | None = None,
    data_root: Path | None = None,
    films: Path | None = None,
    device: str | None = None,
    progress: bool = True,
) -> Receipt:
    """
    Measure what a receipt is about once more.

    Args:
        receipt: To verify.
        model: Folder of its model, where that is not where the receipt says.
        data_root: Likewise of its data.
        films: Folder that keeps drawn films.
        device: Of PyTorch.
        progress: Show progress bars.

    Raises:
        UnverifiableError: model or data are not here.
    """
    sources = {
        name: SplitSource(DataSource(row["loader"], row["arguments"]), row["split"], row["pixels"] is not None)
        for name, row in receipt.data.items()
    }
    folder = None if receipt.model is None else find_model(receipt.model["source"], model)
    if folder is not None and not Path(folder).is_dir() and not HUB_ID.fullmatch(folder):
        raise UnverifiableError(
            f"the model '{folder}' is not here; name its folder by --model, or make it again by: {receipt.command}"
        )
    inputs = TaskInputs(folder, sources, receipt.settings, data_root, films, device, progress)
    return measure(receipt.task, inputs, receipt.command)[0]


def typed_command() -> str:
    """The command of this process as it may travel: with the program's bare name, and no paths of this machine."""
    words = [portable_path(Path(word)) if Path(word).is_absolute() else word for word in sys.argv[1:]]
    return shlex.join([Path(sys.argv[0]).name, *words])
