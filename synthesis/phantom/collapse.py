"""Collapse of a lobe: an airless wedge with a straight border, and what moves into the space it leaves."""

import dataclasses

import numpy as np

from .parameters import PlacedFinding, PoseParameters


COLLAPSE = "lobar/segmental collapse"
# Canonical heights of the hila.
HILUM_Z = {"right": 30.0, "left": 40.0}
BORDER_MM, VEIL_MM = 2.5, 14.0
GRADES = ("mild", "moderate", "severe")


def lose_volume(rng: np.random.Generator, finding: PlacedFinding, side: str, pose: PoseParameters) -> PoseParameters:
    """The pose with hilum, mediastinum and dome drawn towards a collapsed lobe.

    Args:
        rng: Source of randomness.
        finding: The collapse.
        side: Its canonical side.
        pose: The pose without it.
    """
    grade = GRADES.index(finding.severity)
    pull = float(rng.uniform(5, 8) + 4.0 * grade)
    upper = finding.zone == "upper"
    lift = pull if upper else -pull
    shift = (0.4 if upper else 0.8) * pull * (-1.0 if side == "right" else 1.0)
    # Less than what is called an elevated hemidiaphragm.
    rise = (0.3 if upper else 0.7) * pull
    return dataclasses.replace(
        pose,
        mediastinal_shift=pose.mediastinal_shift + shift,
        **{f"hilum_lift_{side}": lift, f"dome_{side}": getattr(pose, f"dome_{side}") + rise},
    )


def collapsed_lobe(
    rng: np.random.Generator, finding: PlacedFinding, sign: float, pose: PoseParameters
) -> dict[str, float]:
    """Numbers of the airless wedge: an ellipsoid cut by a plane (canonical mm).

    The right upper lobe lies above the raised minor fissure, a lower lobe behind the heart and medial to a border from
    hilum to diaphragm; the left upper lobe falls forward and veils the upper field without a lower border.

    Args:
        rng: Source of randomness.
        finding: The collapse.
        sign: -1 on the canonical right, 1 on the left.
        pose: The pose that `lose_volume` gave.
    """
    grade = GRADES.index(finding.severity)
    side = "right" if sign < 0 else "left"
    hilum = HILUM_Z[side] + getattr(pose, f"hilum_lift_{side}")
    density = float(rng.uniform(*((0.72, 0.85), (0.85, 0.95), (0.93, 1.0))[grade]))
    numbers = {"blobs": 1.0, "noise": 0.0, "density": density, "z_low": -400.0, "z_high": 400.0}
    if finding.zone == "upper" and side == "left":
        edge = float(rng.uniform(-48, -30))
        numbers |= {"plane_x": 0.0, "plane_y": 1 / VEIL_MM, "plane_z": 0.0, "plane_offset": -edge / VEIL_MM}
        return numbers | _ellipsoid((sign * 55.0, -5.0, 92.0), (90.0, 110.0, 80.0), sharpness=3.0)
    if finding.zone == "upper":
        slope = float(rng.uniform(*((0.05, 0.25), (0.3, 0.6), (0.7, 1.1))[grade]))
        start = hilum + 10.0 - 25.0 * slope
        numbers |= {"plane_x": -sign * slope / BORDER_MM, "plane_y": 0.0, "plane_z": 1 / BORDER_MM}
        numbers["plane_offset"] = -start / BORDER_MM
        return numbers | _ellipsoid((sign * 55.0, -5.0, 106.0), (80.0, 100.0, 82.0), sharpness=8.0)
    dome = getattr(pose, f"dome_{side}")
    reach = float(rng.uniform(*((78, 92), (62, 76), (48, 60))[grade]))
    top = hilum + 8.0
    slope = (reach - 18.0) / max(top - dome, 20.0)
    numbers |= {"plane_x": -sign / BORDER_MM, "plane_y": 0.0, "plane_z": -slope / BORDER_MM}
    numbers["plane_offset"] = (18.0 + slope * top) / BORDER_MM
    return numbers | _ellipsoid((sign * 30.0, -40.0, 0.5 * (top + dome) - 8.0), (88.0, 72.0, 80.0), sharpness=8.0)


def _ellipsoid(
    centre: tuple[float, float, float], radii: tuple[float, float, float], *, sharpness: float
) -> dict[str, float]:
    places = dict(zip(("x0", "y0", "z0"), centre, strict=True))
    return places | dict(zip(("a0", "b0", "c0"), radii, strict=True)) | {"sharpness": sharpness}
