"""How much of the beam gets through: one energy, or the spectrum of a tube."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import yaml

from anatomy_vlm.synthesis.projection import Attenuation


# Above this number of Hounsfield units what exceeds soft tissue is taken for bone.
BONE_KNEE_HU = 130.0
_REFERENCE_KEV = 70.0


@lru_cache(maxsize=1)
def _tables() -> tuple[np.ndarray, dict[str, dict]]:
    data = yaml.safe_load((Path(__file__).parent / "attenuation_tables.yaml").read_text(encoding="utf-8"))
    return np.array(data["energies_kev"], np.float64), data["materials"]


def linear_attenuation(material: str, energy_kev: float | np.ndarray) -> np.ndarray:
    """Linear attenuation in 1/mm at photon energies in keV, log-log interpolated in NIST's table.

    Raises:
        ValueError: for a material that is not in the table, or energies outside 10 to 150 keV.

    Example:
        >>> float(linear_attenuation("water", 60.0).round(5))
        0.02059
    """
    energies, materials = _tables()
    if material not in materials:
        raise ValueError(f"no attenuation table for {material!r}; there are {', '.join(materials)}")
    given = np.asarray(energy_kev, np.float64)
    if given.min() < energies[0] or given.max() > energies[-1]:
        raise ValueError(f"energies must lie between 10 and 150 keV, got {given.min():g} to {given.max():g}")
    entry = materials[material]
    log = np.interp(np.log(given), np.log(energies), np.log(entry["coefficients"]))
    return np.exp(log) * entry["density"] / 10


def water_basis() -> Attenuation:
    """Millimetres of water per millimetre of tissue; bone counts as the soft tissue it replaces."""
    return Attenuation(below=1.0, above=-1.0, knee=BONE_KNEE_HU)


def bone_basis() -> Attenuation:
    """Millimetres of cortical bone per millimetre of tissue, so that both bases add up to the Hounsfield scale."""
    ratio = linear_attenuation("water", _REFERENCE_KEV) / linear_attenuation("bone", _REFERENCE_KEV)
    return Attenuation(below=0.0, above=float(ratio), knee=BONE_KNEE_HU)


@dataclass(frozen=True)
class TubeSpectrum:
    """An analytic tungsten spectrum: Kramers' law, aluminium filtration, the K lines, energy-weighted by the detector.

    A stand-in for a measured spectrum (good to some percent in hardening, not for dosimetry).

    Args:
        kilovolts: peak tube voltage, 40 to 150. Erect chest films use 110 to 130, bedside films 80 to 100.
        filtration_mm_al: total filtration.

    Raises:
        ValueError: for values out of range.
    """

    kilovolts: float = 120.0
    filtration_mm_al: float = 3.0

    def __post_init__(self) -> None:
        if not 40 <= self.kilovolts <= 150:
            raise ValueError(f"kilovolts must lie between 40 and 150, got {self.kilovolts}")
        if self.filtration_mm_al < 0:
            raise ValueError(f"filtration_mm_al must not be negative, got {self.filtration_mm_al}")

    def weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Energies in keV (N,), and the share of the detector's signal without a patient at each (N,)."""
        energy = np.arange(12.0, np.ceil(self.kilovolts))
        photons = self.kilovolts / energy - 1
        over = self.kilovolts / 69.5
        if over > 1:
            # K-alpha and K-beta of tungsten; their yield over the edge after Green and Cosslett (1961).
            lines = 0.9 * (over - 1) ** 1.63
            for line, share in ((59.3, 0.6), (58.0, 0.35), (67.2, 0.25)):
                photons[np.argmin(np.abs(energy - line))] += lines * share
        photons = photons * np.exp(-linear_attenuation("aluminium", energy) * self.filtration_mm_al)
        signal = photons * energy
        return energy, signal / signal.sum()

    def transmission(self, water_mm: np.ndarray, bone_mm: np.ndarray) -> np.ndarray:
        """Share of the detector's signal that gets through, float32 in (0, 1], from paths in mm of water and bone."""
        water_at, bone_at, table = _hardening_table(self)
        x = np.clip(np.maximum(water_mm, 0) / water_at[1], 0, len(water_at) - 1.001).astype(np.float32)
        y = np.clip(np.maximum(bone_mm, 0) / bone_at[1], 0, len(bone_at) - 1.001).astype(np.float32)
        i, j = x.astype(np.int32), y.astype(np.int32)
        f, g = x - i, y - j
        near = (1 - g) * table[i, j] + g * table[i, j + 1]
        far = (1 - g) * table[i + 1, j] + g * table[i + 1, j + 1]
        return np.exp(-((1 - f) * near + f * far))


@lru_cache(maxsize=16)
def _hardening_table(spectrum: TubeSpectrum) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """-log transmission over a grid of water (0 to 1000 mm) and bone (0 to 300 mm)."""
    energy, weight = spectrum.weights()
    water, bone = np.linspace(0, 1000, 251), np.linspace(0, 300, 151)
    path = (
        water[:, None, None] * linear_attenuation("water", energy)
        + bone[None, :, None] * linear_attenuation("bone", energy)
        - np.log(weight)
    )
    least = path.min(axis=-1)
    total = least - np.log(np.exp(least[..., None] - path).sum(axis=-1))
    return water, bone, total.astype(np.float32)


def monochromatic_transmission(water_mm: np.ndarray, bone_mm: np.ndarray, energy_kev: float = 70.0) -> np.ndarray:
    """Beer-Lambert at one energy: exp(-mu_water water - mu_bone bone), float32."""
    path = linear_attenuation("water", energy_kev) * water_mm + linear_attenuation("bone", energy_kev) * bone_mm
    return np.exp(-path).astype(np.float32)
