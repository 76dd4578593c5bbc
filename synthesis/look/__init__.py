"""From path lengths to a film: spectrum, detector, display and marks, each deterministic, with a random twin."""

from anatomy_vlm.synthesis.look.detector import DetectorBlur, LogResponse, QuantumNoise, Scatter
from anatomy_vlm.synthesis.look.display import GreyRange, LocalEqualisation, MultiFrequency, Window
from anatomy_vlm.synthesis.look.film import DOMAINS, FilmLook, RandomFilmLook
from anatomy_vlm.synthesis.look.marks import BurntInText, Collimation, SideMarker
from anatomy_vlm.synthesis.look.spectrum import (
    TubeSpectrum,
    bone_basis,
    linear_attenuation,
    monochromatic_transmission,
    water_basis,
)


__all__ = [
    "DOMAINS",
    "BurntInText",
    "Collimation",
    "DetectorBlur",
    "FilmLook",
    "GreyRange",
    "LocalEqualisation",
    "LogResponse",
    "MultiFrequency",
    "QuantumNoise",
    "RandomFilmLook",
    "Scatter",
    "SideMarker",
    "TubeSpectrum",
    "Window",
    "bone_basis",
    "linear_attenuation",
    "monochromatic_transmission",
    "water_basis",
]
