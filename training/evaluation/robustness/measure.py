"""One report about what a model's scores survive and rest on."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from anatomy_vlm.training.evaluation.arrays import MetricInputError
from anatomy_vlm.training.evaluation.reader import Reader
from anatomy_vlm.training.evaluation.robustness import sections_of_data as data
from anatomy_vlm.training.evaluation.robustness import sections_of_film as film
from anatomy_vlm.training.evaluation.robustness import sections_of_text as text
from anatomy_vlm.training.evaluation.robustness.combinations import Combination
from anatomy_vlm.training.evaluation.robustness.corruptions import CORRUPTIONS, SEVERITIES
from anatomy_vlm.training.evaluation.robustness.material import Material
from anatomy_vlm.training.evaluation.robustness.report import RobustnessReport, Section


SECTIONS = (
    "negation", "paraphrases", "laterality", "flips", "shortcuts", "corruptions", "groups", "combinations",
    "no_image", "prior", "distance",
)  # fmt: skip
GROUP_COLUMNS = ("source", "view")


@dataclass(frozen=True, kw_only=True)
class RobustnessSettings:
    """What is measured and how.

    Attributes:
        sections: names of `SECTIONS`.
        corruptions: names of corruptions.
        severities: of the corruptions, 1 to 5.
        groups: columns of the dataset whose values are groups of films.
        held_out: combinations that were kept from training, besides those that the training split never states.
        num_resamples, confidence, min_events: of the intervals, as in `evaluate_model`.
        seed: of bootstrap and corruptions.
    """

    sections: tuple[str, ...] = SECTIONS
    corruptions: tuple[str, ...] = tuple(CORRUPTIONS)
    severities: tuple[int, ...] = (1, 3, 5)
    groups: tuple[str, ...] = GROUP_COLUMNS
    held_out: tuple[Combination, ...] = ()
    num_resamples: int = 1000
    confidence: float = 0.95
    min_events: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        _known("section", self.sections, SECTIONS)
        _known("corruption", self.corruptions, tuple(CORRUPTIONS))
        _known("severity", self.severities, SEVERITIES)


def measure_robustness(
    model: Any,
    processor: Any,
    dataset: Any,
    *,
    train: Any | None = None,
    reference: Any | None = None,
    settings: RobustnessSettings | None = None,
    batch_size: int = 32,
    device: str | torch.device | None = None,
    bf16: bool = False,
    progress: bool = True,
) -> RobustnessReport:
    """Measure a model on a dataset.

    Args:
        model: an `AnatomyVLMModel`.
        processor: its processor, with finding prompts.
        dataset: the test split, a `datasets.Dataset` in our schema.
        train: the training split: of the prior, and of the combinations that were seen.
        reference: the split that the distance between datasets is measured to.
        settings: what is measured and how.
        batch_size: films at a time.
        device: of PyTorch; None takes CUDA where there is one.
        bf16: run the vision tower under bfloat16 autocast.
        progress: count films that are read.

    Raises:
        DatasetColumnsError: a split is empty or lacks a column.
        ValueError: an unknown section, corruption, group column or combination.
    """
    settings = settings or RobustnessSettings()
    missing = [name for name in settings.groups if name not in dataset.column_names]
    if missing:
        raise ValueError(f"the dataset has no column {missing[0]!r}; it has {', '.join(dataset.column_names)}")
    reader = Reader(model, processor, texts=processor.prompt_texts(), device=device, bf16=bf16)
    material = Material.read_dataset(
        reader, dataset, batch_size=batch_size, resamples=settings.num_resamples, min_events=settings.min_events,
        confidence=settings.confidence, seed=settings.seed, progress=progress,
    )  # fmt: skip
    trained = None if train is None else data.targets_of(material, train)
    makers: dict[str, Callable[[], Section]] = {
        "negation": lambda: text.negation(material),
        "paraphrases": lambda: text.paraphrases(material),
        "laterality": lambda: text.laterality(material),
        "flips": lambda: text.flips(material),
        "shortcuts": lambda: film.shortcuts(material),
        "corruptions": lambda: film.corruptions(material, settings.severities, settings.corruptions, settings.seed),
        "groups": lambda: data.groups(material, settings.groups),
        "combinations": lambda: data.combinations(material, settings.held_out, trained),
        "no_image": lambda: film.no_image(material),
    }
    left_out: dict[str, str] = {}
    if trained is not None:
        makers["prior"] = lambda: data.prior(material, trained)
    else:
        left_out["prior"] = "no training split was given"
    if trained is None and not settings.held_out:
        del makers["combinations"]
        left_out["combinations"] = "no training split was given, and no combination was named as held out"
    if reference is not None:
        makers["distance"] = lambda: data.distances(material, reference, batch_size)
    else:
        left_out["distance"] = "no reference split was given"
    sections = []
    with material.bar:
        for key in settings.sections:
            if key not in makers:
                continue
            section = makers[key]()
            if section.rows:
                sections.append(section)
            else:
                left_out[key] = f"fewer than {settings.min_events} patients with or without, or a single group"
    wanted = {key: reason for key, reason in left_out.items() if key in settings.sections}
    shown = {key: value for key, value in asdict(settings).items() if key != "sections"}
    return RobustnessReport(len(material.films), material.bootstrap.num_patients, shown, tuple(sections), wanted)


def _known(kind: str, chosen: Sequence[Any], allowed: Sequence[Any]) -> None:
    for name in chosen:
        if name not in allowed:
            raise MetricInputError(f"{kind} {name!r} is not one of {', '.join(map(str, allowed))}")
