"""What the app does with a film: all of it by the functions behind the command line, one at a time."""

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from anatomy_vlm.app.masks import find_mask_reader
from anatomy_vlm.comparison import Comparison, compare_with
from anatomy_vlm.evidence import Evidence, EvidenceSettings, gather_evidence
from anatomy_vlm.hub_cards import REFERENCE_MODEL
from anatomy_vlm.prediction import DecodedFilm, FileReading, Predictor
from anatomy_vlm.training.evaluation.mask_reading import MaskReader


MAX_PROMPTS = 20
MAX_PROMPT_LENGTH = 200


class FilmService:
    """A loaded model that reads films for several pages, one at a time.

    Args:
        predictor: the model.
        mask_reader: the writer of masks, if there is one.
    """

    def __init__(self, predictor: Predictor, mask_reader: MaskReader | None = None) -> None:
        self.predictor, self.mask_reader = predictor, mask_reader
        # Some readings change the model for a moment (attention weights), so that no two may run at once.
        self._lock = threading.Lock()

    @classmethod
    def load(
        cls,
        model: str | Path = REFERENCE_MODEL,
        *,
        mask_model: str | Path | None = None,
        device: str | None = None,
        bf16: bool = False,
    ) -> "FilmService":
        """Load checkpoints; see `Predictor.load` and `find_mask_reader` for the errors."""
        return cls(Predictor.load(model, device=device, bf16=bf16), find_mask_reader(mask_model, device))

    @property
    def findings(self) -> tuple[str, ...]:
        """Names of the findings that are asked for."""
        return self.predictor.reader.findings

    @property
    def structures(self) -> tuple[str, ...]:
        """Names of the structures that can be drawn as masks."""
        return () if self.mask_reader is None else self.mask_reader.structures

    @property
    def can_compare(self) -> bool:
        """Whether the model is calibrated, without which no change can be told from noise."""
        calibration = self.predictor.reader.processor.calibration
        return calibration is not None and bool(calibration.image)

    def phrases(self) -> dict[str, tuple[str, str]]:
        """By finding, the first of the phrases asked for it and the first of those against it."""
        prompts = self.predictor.reader.processor.finding_prompts
        return {name: (pair["positive"][0], pair["negative"][0]) for name, pair in prompts.items()}

    def read(self, film: DecodedFilm, prompts: Sequence[str] = (), force: bool = False) -> FileReading:
        """Read a film, as `predict` does."""
        with self._lock:
            predictor = self.predictor.with_options(prompts=prompts, force=force)
            return next(iter(predictor.read_files([film])))

    def evidence(self, film: DecodedFilm, findings: Sequence[str] | None, force: bool = False) -> Evidence:
        """The evidence card of a film, as `evidence` makes it; None takes the findings that are called."""
        with self._lock:
            predictor = self.predictor.with_options(force=force)
            return gather_evidence(predictor, film, None, EvidenceSettings(findings=findings))

    def compare(self, prior: DecodedFilm, current: DecodedFilm, force: bool = False) -> Comparison:
        """Two films of one patient, as `compare` compares them."""
        with self._lock:
            return compare_with(self.predictor.with_options(force=force), prior, current)

    def masks(self, film: DecodedFilm, names: Sequence[str]) -> dict[str, tuple[float, np.ndarray]]:
        """By structure, the probability that it is on the film and its mask (height, width)."""
        if self.mask_reader is None:
            raise ValueError("This app has no model that writes masks.")
        with self._lock:
            written = self.mask_reader.read([film.image.to_pil()], list(names))[0]
        return {name: (written.presence[name], written.masks[name]) for name in names}


def split_prompts(text: str) -> tuple[str, ...]:
    """The texts that a user typed, one in a line.

    Raises:
        ValueError: too many or too long ones.

    >>> split_prompts(" a large heart \\n\\nrib fractures\\n")
    ('a large heart', 'rib fractures')
    """
    prompts = tuple(dict.fromkeys(" ".join(line.split()) for line in text.splitlines() if line.strip()))
    if len(prompts) > MAX_PROMPTS:
        raise ValueError(f"These are {len(prompts)} texts; at most {MAX_PROMPTS} are scored at a time.")
    for prompt in prompts:
        if len(prompt) > MAX_PROMPT_LENGTH:
            raise ValueError(f"A text has {len(prompt)} letters; at most {MAX_PROMPT_LENGTH} are scored.")
    return prompts
