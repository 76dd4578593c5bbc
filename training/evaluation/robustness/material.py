"""What the sections work on: films, truth and readings of one dataset, with every text read once."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from anatomy_vlm.processing.vocabulary import FINDING_NAMES, REGION_NAMES, get_region
from anatomy_vlm.training.evaluation.arrays import FloatArray
from anatomy_vlm.training.evaluation.bootstrap import PatientBootstrap
from anatomy_vlm.training.evaluation.reader import Reader, Readings
from anatomy_vlm.training.evaluation.targets import Targets, collect_targets


@dataclass(frozen=True)
class Material:
    """A dataset as a model reads it.

    Attributes:
        reader: of the model; its free texts are the processor's prompts.
        dataset: in our schema.
        findings: F names, those that the model has prompts for and the vocabulary knows.
        films: n arrays (height, width) of uint8.
        targets: ground truth.
        readings: of the films.
        bootstrap: over patients.
        batch_size: films at a time.
        min_events: patients with and without for an interval.
        confidence: of the intervals.
        bar: counts films that are read.
    """

    reader: Reader
    dataset: Any
    findings: tuple[str, ...]
    films: tuple[np.ndarray, ...]
    targets: Targets
    readings: Readings
    bootstrap: PatientBootstrap
    batch_size: int
    min_events: int
    confidence: float
    bar: Any

    @classmethod
    def read_dataset(
        cls, reader: Reader, dataset: Any, *, batch_size: int, resamples: int, min_events: int, confidence: float,
        seed: int, progress: bool,
    ) -> "Material":  # fmt: skip
        """Read the films of a dataset."""
        findings = tuple(name for name in reader.findings if name in FINDING_NAMES)
        targets = collect_targets(dataset, findings=findings, all_findings=FINDING_NAMES, regions=reader.regions)
        films = tuple(np.asarray(image.convert("L")) for image in dataset["image"])
        bar = tqdm(desc="robustness", unit="film", disable=not progress)
        readings = read_films(reader, films, batch_size, bar)
        bootstrap = PatientBootstrap.draw(targets.patient_ids, num_resamples=resamples, seed=seed)
        return cls(
            reader, dataset, findings, films, targets, readings, bootstrap, batch_size, min_events, confidence, bar
        )

    def read(self, films: Sequence[np.ndarray]) -> Readings:
        """Read other films."""
        return read_films(self.reader, films, self.batch_size, self.bar)

    def margins(self, films: Sequence[np.ndarray]) -> FloatArray:
        """(b, F), image margins of other films."""
        return self.read(films).image_margins[:, self.columns]

    @cached_property
    def columns(self) -> np.ndarray:
        """(F,) int, place of each finding among the reader's."""
        return np.array([self.reader.findings.index(name) for name in self.findings], dtype=int)

    @cached_property
    def image_margins(self) -> FloatArray:
        """(n, F)."""
        return self.readings.image_margins[:, self.columns]

    @cached_property
    def region_margins(self) -> FloatArray:
        """(n, R, F)."""
        return self.readings.region_margins[:, :, self.columns]

    @cached_property
    def mirror(self) -> np.ndarray:
        """(R,) int, the region that takes a region's place in a mirrored film; its own index if unpaired."""
        regions = self.reader.regions
        mirrored = [get_region(name).mirror if name in REGION_NAMES else name for name in regions]
        return np.array([regions.index(name) if name in regions else index for index, name in enumerate(mirrored)])

    def prompt_logits(self, finding: str, side: str) -> FloatArray:
        """(n, T), logits of a finding's prompts for the film, each alone.

        Args:
            finding: its name.
            side: "positive" or "negative".
        """
        texts = self.reader.processor.prompt_texts()
        chosen = [texts.index(text) for text in self.reader.processor.finding_prompts[finding][side]]
        return self.readings.text_image_logits[:, chosen]

    def known(self, column: int) -> np.ndarray:
        """Rows whose label of a finding is known."""
        return np.flatnonzero(~np.isnan(self.targets.image_labels[:, column]))

    def enough(self, column: int) -> bool:
        """Whether enough patients are with and without a finding."""
        labels, patients = self.targets.image_labels[:, column], self.bootstrap.patient_of_row
        return all(len(np.unique(patients[labels == label])) >= self.min_events for label in (0, 1))

    @cached_property
    def judged(self) -> tuple[int, ...]:
        """Columns of the findings with enough patients with and without."""
        return tuple(column for column in range(len(self.findings)) if self.enough(column))


def read_films(reader: Reader, films: Sequence[np.ndarray], batch_size: int, bar: Any) -> Readings:
    """Readings of films (height, width) of uint8."""
    parts = []
    for start in range(0, len(films), batch_size):
        batch = films[start : start + batch_size]
        parts.append(reader.read([Image.fromarray(film) for film in batch]))
        bar.update(len(batch))
    return Readings.concatenate(parts)
