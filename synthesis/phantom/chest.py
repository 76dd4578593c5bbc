"""From parameters to the arrays that the compiled kernels read."""

from dataclasses import dataclass
from typing import cast

import numpy as np

from .fields import SCALARS
from .parameters import BodyParameters, PlacedFinding, PoseParameters, canonical_side
from .profiles import build_profiles


NOISE_SIDE = 24


@dataclass(frozen=True)
class Chest:
    """A posed chest: profile table, scalar record, opacity blobs (n, 16), noise lattice."""

    table: np.ndarray
    scalars: np.void
    blobs: np.ndarray
    noise: np.ndarray


def build_chest(
    body: BodyParameters,
    pose: PoseParameters,
    findings: tuple[PlacedFinding, ...] = (),
    *,
    study_seed: int = 0,
) -> Chest:
    """Arrays for one study."""
    values = _anatomy(body, pose)
    blobs: list[list[float]] = []
    for finding in findings:
        numbers = finding.values
        key = "r" if canonical_side(finding.side, body) == "right" else "l"
        if finding.name == "pleural effusion":
            for kind, number in (("layer_", "layer"), ("fluid_", "level")):
                if number in numbers:
                    values[kind + key] = numbers[number]
        elif finding.name == "pneumothorax":
            values["gap_" + key] = numbers["gap"]
            values["gap_base"] = numbers["base"]
        elif finding.name == "pulmonary edema/hazy opacity":
            values["edema"] = numbers["amount"]
        count = int(numbers.get("blobs", 0))
        for index in range(count):
            row = [numbers[f"{axis}{index}"] for axis in ("x", "y", "z", "a", "b", "c")]
            row += [numbers["density"], numbers["noise"], numbers["sharpness"], numbers["z_low"], numbers["z_high"]]
            # A plane that cuts it off: without one it is kept everywhere.
            row += [numbers.get(f"plane_{axis}", 0.0) for axis in "xyz"]
            row += [numbers.get("plane_offset", 1.0), -1.0 if key == "r" else 1.0]
            blobs.append(row)
    for inverse, name in (("heart_ir", "heart_sr"), ("heart_il", "heart_sl"), ("heart_iz", "heart_sz")):
        values[inverse] = 1.0 / values[name]
    scalars = np.zeros((), SCALARS)
    for name, value in values.items():
        scalars[name] = value
    noise = np.random.default_rng(study_seed).standard_normal((NOISE_SIDE,) * 3).astype(np.float32)
    return Chest(
        table=build_profiles(body, pose),
        scalars=cast(np.void, scalars[()]),
        blobs=np.array(blobs, float).reshape(-1, 16),
        noise=noise,
    )


def _heart_floor(pose: PoseParameters) -> float:
    """Height that carries the heart: the mean of the domes, less where one of them is raised alone."""
    alone = max(abs(pose.dome_right - pose.dome_left) - 25.0, 0.0)
    return 0.5 * (pose.dome_right + pose.dome_left) - 0.35 * alone


def _anatomy(body: BodyParameters, pose: PoseParameters) -> dict[str, float]:
    tilt = np.radians(body.heart_tilt)
    unfold = body.aortic_unfolding
    return {
        "dome_rx": -68.0, "dome_ry": 0.0, "dome_rz": pose.dome_right, "dome_ra": 1 / 78.0, "dome_rb": 1 / 118.0,
        "dome_lx": 72.0, "dome_ly": 0.0, "dome_lz": pose.dome_left, "dome_la": 1 / 75.0, "dome_lb": 1 / 116.0,
        "dome_drop": pose.dome_drop,
        "heart_z": body.heart_height + _heart_floor(pose),
        "heart_sr": pose.heart_right / 46.0, "heart_sl": pose.heart_left / 85.0,
        "heart_sz": 0.98 + 0.30 * (pose.heart_left / 85.0 - 1.0),
        "heart_side": -1.0 if body.dextrocardia else 1.0,
        "heart_cos": float(np.cos(tilt)), "heart_sin": float(np.sin(tilt)),
        "arch_x0": -10.0, "arch_y0": 20.0, "arch_z0": 72.0,
        "arch_x1": 24.0 + 7.0 * unfold, "arch_y1": -28.0, "arch_z1": 74.0 + 5.0 * unfold, "arch_r": 14.0 * body.aorta,
        "breast": body.breast, "breast_x": 84.0, "breast_z": 12.0 - body.breast_drop,
        "breast_rx": 48.0 + 0.55 * body.breast, "breast_rz": 24.0 + 0.62 * body.breast,
        "fluid_r": -999.0, "fluid_l": -999.0, "layer_r": -999.0, "layer_l": -999.0, "gap_base": 0.3,
        "lung_rho": body.lung_density, "edema_z": 22.0,
        "hilum_lift_r": pose.hilum_lift_right, "hilum_lift_l": pose.hilum_lift_left,
    }  # fmt: skip
