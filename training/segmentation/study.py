"""The study of segmentation transfer: networks x numbers of training films x folds, each run kept on disk."""

import copy
import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file, save_file
from torch import nn
from tqdm import tqdm
from transformers import PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_NAME

from anatomy_vlm.processing.atomic_files import replacing, write_json
from anatomy_vlm.training.segmentation.batches import CanvasFilms, mirror_structures
from anatomy_vlm.training.segmentation.films import MaskedFilms
from anatomy_vlm.training.segmentation.networks import METHODS, Encoder
from anatomy_vlm.training.segmentation.scores import canvas_dice, score_films
from anatomy_vlm.training.segmentation.training import SegmentationSettings, train_network


@dataclass(frozen=True, kw_only=True)
class StudySettings:
    """
    Args:
        methods: Networks of `METHODS`.
        train_films: Numbers of films to train on; 0 stands for all.
        folds: Of the cross-validation by patient; 0 takes the splits of the data.
        validation_share: Share of the patients outside the first fold's test films who are set aside: no fold trains
            or tests on them.
        learning_rates: To choose from, once for each network, by the Dice on the films that were set aside.
        selection_films: Each learning rate is tried on so many training films of the first fold; the best serves all
            folds and numbers of films.
        seed: Of folds, networks and training.
        training: What all networks are trained with.
    """

    methods: Sequence[str] = tuple(METHODS)
    train_films: Sequence[int] = (5, 20, 0)
    folds: int = 5
    validation_share: float = 0.2
    learning_rates: Sequence[float] = (3e-4, 1e-3, 3e-3)
    selection_films: int = 20
    seed: int = 0
    training: SegmentationSettings = field(default_factory=SegmentationSettings)

    def __post_init__(self) -> None:
        unknown = [method for method in self.methods if method not in METHODS]
        if unknown or not self.methods:
            raise ValueError(f"unknown method {unknown[:1]}; choose from {', '.join(METHODS)}")
        if self.folds < 0 or self.folds == 1 or not 0 < self.validation_share < 1:
            raise ValueError(f"folds ({self.folds}) must be 0 or at least 2, the share of validation within (0, 1)")
        if not self.learning_rates or min(self.learning_rates) <= 0 or min(self.train_films, default=-1) < 0:
            raise ValueError("name learning rates above 0, and numbers of training films (0: all)")


@dataclass(frozen=True)
class Fold:
    """Indices of films: to train on, in the order in which smaller sets take them; set aside; to test on."""

    name: str
    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]


def make_folds(films: MaskedFilms, settings: StudySettings) -> list[Fold]:
    """
    Folds by patient, with the same films set aside in all, or the data's own splits as the one fold there is.

    Raises:
        ValueError: too few patients, or no splits to go by.
    """
    rng = np.random.default_rng(settings.seed)
    of_patient: dict[str, list[int]] = {}
    for index, patient in enumerate(films.patients):
        of_patient.setdefault(patient, []).append(index)
    patients = sorted(of_patient)
    order = [patients[place] for place in rng.permutation(len(patients))]
    if settings.folds == 0:
        parts: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
        for patient in order:
            for index in of_patient[patient]:
                if films.splits[index] in parts:
                    parts[films.splits[index]].append(index)
        missing = [name for name, part in parts.items() if not part]
        if missing:
            raise ValueError(f"the data has no films in the split '{missing[0]}'; cross-validate with --folds 5")
        return [Fold("splits", *(tuple(part) for part in parts.values()))]
    if len(order) < 2 * settings.folds:
        raise ValueError(f"{len(order)} patients are too few for {settings.folds} folds")
    tested = [order[number :: settings.folds] for number in range(settings.folds)]
    others = [patient for patient in order if patient not in tested[0]]
    aside = others[: max(1, round(settings.validation_share * len(others)))]
    folds = []
    for number, group in enumerate(tested):
        test = [patient for patient in group if patient not in aside]
        train = [patient for patient in order if patient not in group and patient not in aside]
        films_of = (tuple(index for patient in part for index in of_patient[patient]) for part in (train, aside, test))
        folds.append(Fold(f"fold{number}", *films_of))
    return folds


@dataclass(frozen=True)
class Run:
    """One training: a network on the first `films` films of a fold (0: all)."""

    method: str
    films: int
    fold: Fold

    @property
    def name(self) -> str:
        return f"{self.method}-{self.films or 'all'}-{self.fold.name}"


class Study:
    """What the runs share: films on the canvas, the encoder, and the folder of their results."""

    def __init__(
        self,
        films: MaskedFilms,
        encoder: Encoder,
        processor: Any,
        settings: StudySettings,
        folder: Path,
        keep_models: bool = False,
    ):
        self.keep_models = keep_models
        self.films, self.encoder, self.settings, self.folder = films, encoder, settings, folder
        self.canvas = CanvasFilms(films, processor, encoder.side)
        self.folds = make_folds(films, settings)
        if settings.training.flip:
            mirror_structures(films.structures)
        smallest = min(len(fold.train) for fold in self.folds)
        if max(settings.train_films) > smallest:
            raise ValueError(
                f"{max(settings.train_films)} training films are asked for, a fold has {smallest}; 0 stands for all"
            )

    def runs(self) -> Iterator[Run]:
        """All runs, fold after fold."""
        for fold in self.folds:
            for method in self.settings.methods:
                for films in self.settings.train_films:
                    yield Run(method, films, fold)

    @cached_property
    def key(self) -> str:
        """Stands for all that a result depends on, besides the code; files count by their names."""
        settings = asdict(self.settings)
        # Not the list of runs: more of them may be added to a study.
        settings.pop("methods"), settings.pop("train_films")
        settings["training"].pop("save_steps"), settings["training"].pop("use_cpu")
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=list).encode())
        digest.update(json.dumps([list(self.films.film_ids), self.films.structures]).encode())
        digest.update(self.canvas.image_processor.to_json_string().encode())
        for name, tensor in sorted(self.encoder.weights.items()):
            digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def result(self, run: Run) -> dict[str, Any] | None:
        """What an earlier session measured, if it was the same run."""
        try:
            kept = json.loads(self._file(run.name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return kept if kept.get("key") == self.key else None

    def do(self, run: Run) -> dict[str, Any]:
        """Train and test one network."""
        started, chosen = time.time(), self._selection(run)
        indices = run.fold.train[: run.films or None]
        if run.fold == self.folds[0] and chosen["films"] == list(indices):
            # This very network has been trained to choose the learning rate.
            network = self.encoder.build(run.method, self.films.structures, self._seed(run))
            network.load_state_dict(load_file(self._weights(run)))
            trained = chosen["trained"]
        else:
            network, trained = self._train(run, indices, chosen["learning_rate"], run.name)
        if self.keep_models:
            save_network(network, self.canvas, self.folder / "models" / run.name)
        return {
            "key": self.key,
            "method": run.method,
            "train_films": len(indices),
            "all_films": run.films == 0,
            "fold": run.fold.name,
            "learning_rate": chosen["learning_rate"],
            "validation_dice_by_learning_rate": chosen["tried"],
            **trained,
            "seconds": round(time.time() - started, 1),
            "films": score_films(network, self.canvas, run.fold.test),
        }

    def save(self, run: Run, result: dict[str, Any]) -> None:
        write_json(self._file(run.name), result)

    def _selection(self, run: Run) -> dict[str, Any]:
        """
        The learning rate of a network, with what was `tried` in the first fold: that with the best Dice on the films
        that were set aside. Its weights are kept, for they are those of the run on the same `films`.
        """
        rates = self.settings.learning_rates
        if len(rates) == 1:
            return {"learning_rate": rates[0], "tried": {}, "films": [], "trained": {}}
        name, run = f"{run.method}-rates", Run(run.method, self.settings.selection_films, self.folds[0])
        try:
            kept = json.loads(self._file(name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            kept = {}
        if kept.get("key") == self.key and self._weights(run).is_file():
            return kept
        indices = run.fold.train[: self.settings.selection_films]
        tried: dict[str, float] = {}
        for rate in rates:
            network, trained = self._train(run, indices, rate, f"{name}-{rate:g}")
            score = canvas_dice(network, self.canvas, run.fold.validation)
            if score > max(tried.values(), default=-1.0):
                kept = {"key": self.key, "learning_rate": rate, "films": list(indices), "trained": trained}
                weights = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
                with replacing(self._weights(run)) as beside:
                    save_file(weights, beside)
            tried[f"{rate:g}"] = score
        kept["tried"] = tried
        write_json(self._file(name), kept)
        return kept

    def _train(
        self, run: Run, indices: Sequence[int], learning_rate: float, name: str
    ) -> tuple[nn.Module, dict[str, Any]]:
        seed, scratch = self._seed(run), self.folder / "checkpoints" / f"{name}-{self.key}"
        network = self.encoder.build(run.method, self.films.structures, seed)
        trained = train_network(
            network,
            self.canvas,
            indices,
            self.settings.training,
            learning_rate=learning_rate,
            folder=scratch,
            seed=seed,
            encoder_factor=self._encoder_factor(run),
        )
        shutil.rmtree(scratch, ignore_errors=True)
        return network, trained

    def _encoder_factor(self, run: Run) -> float:
        return self.settings.training.encoder_factor if run.method.startswith("tuned") else 1.0

    def _seed(self, run: Run) -> int:
        return self.settings.seed + self.folds.index(run.fold)

    def _weights(self, run: Run) -> Path:
        return self.folder / "runs" / f"{run.method}-rates.safetensors"

    def _file(self, name: str) -> Path:
        return self.folder / "runs" / f"{name}.json"


def save_network(network: nn.Module, canvas: CanvasFilms, folder: Path) -> None:
    """A folder that `from_pretrained` loads, with the image processor; a plain U-Net as its weights alone."""
    if isinstance(network, PreTrainedModel):
        network.save_pretrained(folder)
        processor = copy.deepcopy(canvas.image_processor)
        processor.size = {"height": canvas.side, "width": canvas.side}
        processor.save_pretrained(folder)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(
            {name: tensor.contiguous() for name, tensor in network.state_dict().items()}, folder / SAFE_WEIGHTS_NAME
        )


def run_study(study: Study) -> list[dict[str, Any]]:
    """
    All runs of a study; those that are on disk are taken from there, so that an interrupted study goes on.

    Returns:
        Per run what `Study.do` gives.
    """
    results = []
    runs = list(study.runs())
    for run in (bar := tqdm(runs, desc="segmentation", unit="run", disable=None)):
        bar.set_postfix_str(run.name)
        result = study.result(run)
        if result is None:
            result = study.do(run)
            study.save(run, result)
        results.append(result)
    return results
