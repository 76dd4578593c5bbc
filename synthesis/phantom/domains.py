"""Named film looks. Training on some and testing on others measures the shift between scanners."""

from collections.abc import Callable

import numpy as np

from .parameters import LookParameters


def _base(rng: np.random.Generator) -> dict[str, object]:
    marker = rng.choice(["", "R", "L"], p=[0.35, 0.4, 0.25])
    trim = [0.0, 0.0, 0.0, 0.0]
    if rng.random() < 0.35:
        for index in rng.choice(4, size=int(rng.integers(1, 4)), replace=False):
            trim[index] = float(rng.uniform(0.01, 0.07))
    if rng.random() < 0.10:
        # Padded to a square: bars above and below, or at both sides.
        bar = float(rng.uniform(0.03, 0.12))
        for index in (1, 3) if rng.random() < 0.6 else (0, 2):
            trim[index] = bar
    return {
        "scatter": float(rng.uniform(0.3, 1.2)),
        "scatter_sigma": float(rng.uniform(0.05, 0.12)),
        "photons": float(np.exp(rng.uniform(np.log(3e4), np.log(1e6)))),
        "blur": float(rng.uniform(0.2, 0.55)),
        "low_gain": float(rng.uniform(0.3, 1.0)),
        "mid_gain": float(rng.uniform(0.9, 1.4)),
        "high_gain": float(rng.uniform(1.0, 2.4)),
        "equalisation": 0.0,
        "floor": float(rng.uniform(0.0, 1.1)),
        "window_low": float(rng.uniform(0.2, 2.5)),
        "window_high": float(rng.uniform(97.0, 99.9)),
        "gamma": float(np.exp(rng.normal(0, 0.22))),
        "contrast": float(rng.uniform(1.5, 4.5)),
        "black": 0.0 if rng.random() < 0.7 else float(rng.uniform(0, 0.12)),
        "white": float(rng.uniform(0.85, 1.0)),
        "film_shading_x": float(rng.normal(0, 0.12)),
        "film_shading_y": float(rng.normal(0, 0.15)),
        "grid_lines": 0.0,
        "collimation": tuple(trim),
        "collimation_roll": float(rng.normal(0, 1.2)) if rng.random() < 0.4 else 0.0,
        "collimation_grey": 0.0 if rng.random() < 0.85 else float(rng.uniform(0.0, 1.0)),
        "marker": str(marker),
        "marker_style": int(rng.integers(3)),
        "letters": int(rng.choice([0, 1, 2], p=[0.6, 0.25, 0.15])),
        "look_seed": int(rng.integers(2**31)),
    }


def _default(rng: np.random.Generator) -> dict[str, object]:
    return _base(rng)


def _portable(rng: np.random.Generator) -> dict[str, object]:
    letters = int(rng.choice([0, 1, 2, 3], p=[0.3, 0.3, 0.25, 0.15]))
    return _base(rng) | {
        "scatter": float(rng.uniform(0.6, 1.8)),
        "photons": float(np.exp(rng.uniform(np.log(1e4), np.log(1e5)))),
        "blur": float(rng.uniform(0.3, 0.75)),
        "high_gain": float(rng.uniform(1.4, 2.8)),
        "film_shading_x": float(rng.normal(0, 0.3)),
        "collimation_roll": float(rng.normal(0, 4.0)),
        "letters": letters,
    }


def _film(rng: np.random.Generator) -> dict[str, object]:
    return _base(rng) | {
        "low_gain": 1.0,
        "mid_gain": 1.0,
        "high_gain": float(rng.uniform(0.9, 1.2)),
        "contrast": float(rng.uniform(4.0, 7.0)),
        "window_low": float(rng.uniform(0.5, 4.0)),
        "window_high": float(rng.uniform(90.0, 98.0)),
        "blur": float(rng.uniform(0.35, 0.8)),
    }


def _equalised(rng: np.random.Generator) -> dict[str, object]:
    return _base(rng) | {
        "low_gain": float(rng.uniform(0.30, 0.55)),
        "mid_gain": float(rng.uniform(1.2, 1.8)),
        "high_gain": float(rng.uniform(1.8, 3.0)),
        "equalisation": float(rng.uniform(0.4, 1.0)),
    }


def _low_dose(rng: np.random.Generator) -> dict[str, object]:
    return _base(rng) | {
        "photons": float(np.exp(rng.uniform(np.log(3e3), np.log(1.2e4)))),
        "scatter": float(rng.uniform(0.3, 0.8)),
        "grid_lines": float(rng.uniform(0, 0.02)),
        "white": float(rng.uniform(0.4, 0.9)),
    }


_LOOKS: dict[str, Callable[[np.random.Generator], dict[str, object]]] = {
    "default": _default,
    "portable": _portable,
    "film": _film,
    "equalised": _equalised,
    "low_dose": _low_dose,
}
DOMAINS = (*_LOOKS, "mixed")
_MIX = (0.42, 0.18, 0.12, 0.18, 0.10)


def sample_look(rng: np.random.Generator, domain: str = "default") -> LookParameters:
    """A look of a named domain; "mixed" draws the domain too.

    Raises:
        ValueError: For a domain that does not exist.
    """
    if domain not in DOMAINS:
        raise ValueError(f"unknown domain {domain!r}; choose one of {', '.join(DOMAINS)}")
    if domain == "mixed":
        domain = str(rng.choice(list(_LOOKS), p=_MIX))
    return LookParameters(domain=domain, **_LOOKS[domain](rng))  # type: ignore[arg-type]
