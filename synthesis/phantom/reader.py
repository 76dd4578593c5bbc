"""The reader of a film: how reports are written, and which findings are missed or overcalled."""

import numpy as np

from anatomy_vlm.processing.vocabulary import FINDING_NAMES

from .findings import ENLARGED_HEART, PREVALENCE, SEVERITY_SHARES, SEVERITY_WORDS, ZONES
from .parameters import PlacedFinding, ReaderParameters
from .truth import DRAWN, PARENTS, SHOWN_BY


REPORT_STYLES = ("narrative", "structured", "terse")
READER_STYLES = (*REPORT_STYLES, "mixed")


def check_reader(label_noise: float, reader_style: str) -> None:
    """Refuse what no reader can be.

    Raises:
        ValueError: For a share outside of 0 to 1 or a style that does not exist.
    """
    if not 0.0 <= label_noise <= 1.0:
        raise ValueError(f"label_noise is {label_noise}; it is a share from 0 to 1")
    if reader_style not in READER_STYLES:
        raise ValueError(f"unknown reader_style {reader_style!r}; choose one of {', '.join(READER_STYLES)}")


def sample_reader(
    rng: np.random.Generator, labels: np.ndarray, *, label_noise: float = 0.0, reader_style: str = "narrative"
) -> ReaderParameters:
    """A reader of a film with these true labels.

    Args:
        rng: Source of randomness.
        labels: True labels of the film, (number of findings,).
        label_noise: Chance that a finding of the film is missed, and chance that one absent finding is overcalled.
        reader_style: One of `READER_STYLES`; "mixed" draws one of the others.
    """
    check_reader(label_noise, reader_style)
    style = str(rng.choice(REPORT_STYLES)) if reader_style == "mixed" else reader_style
    value = dict(zip(FINDING_NAMES, labels.tolist(), strict=True))
    seen = [name for name in DRAWN if value[name] == 1 and name not in (*PARENTS, *SHOWN_BY)]
    missed = tuple(name for name in seen if rng.random() < label_noise)
    overcalled: tuple[PlacedFinding, ...] = ()
    absent = [name for name in (*PREVALENCE, ENLARGED_HEART) if value[name] == 0]
    if absent and rng.random() < label_noise:
        side = str(rng.choice(["right", "left"]))
        severity = str(rng.choice(SEVERITY_WORDS, p=SEVERITY_SHARES))
        overcalled = (PlacedFinding(str(rng.choice(absent)), side, severity, str(rng.choice(list(ZONES)))),)
    return ReaderParameters(style, label_noise, missed, overcalled)
