"""Findings: which a study has, where they lie, and the small bodies they are drawn with."""

import dataclasses
import math

import numpy as np

from .chest import Chest
from .collapse import COLLAPSE, collapsed_lobe, lose_volume
from .march import lung_field_at
from .parameters import BodyParameters, PhantomParameters, PlacedFinding, PoseParameters, canonical_side
from .skeleton import Chain, chain, curve


SEVERITY_WORDS = ("mild", "moderate", "severe")
SEVERITY_SHARES = (0.40, 0.37, 0.23)
ZONES = {"upper": 82.0, "mid": 30.0, "lower": -14.0}
# Share of studies with each finding among those that are not wholly normal; the heart is decided with the pose.
PREVALENCE = {
    "pleural effusion": 0.32,
    "pneumothorax": 0.20,
    "consolidation": 0.28,
    "linear/patchy atelectasis": 0.24,
    "pulmonary edema/hazy opacity": 0.27,
    "mass/nodule (not otherwise specified)": 0.24,
    "elevated hemidiaphragm": 0.22,
    "mediastinal widening": 0.21,
    "hyperaeration": 0.22,
    "rib fracture": 0.18,
    "lobar/segmental collapse": 0.14,
}
ENLARGED_HEART = "enlarged cardiac silhouette"
ENLARGED_HEART_SHARE = 0.36
NORMAL_SHARE = 0.25


def sample_findings(rng: np.random.Generator) -> list[PlacedFinding]:
    """Findings of a study that is not wholly normal; places are drawn later, when the pose is known."""
    out: list[PlacedFinding] = []
    taken: set[str] = set()
    for name, share in PREVALENCE.items():
        if rng.random() >= share:
            continue
        severity = str(rng.choice(SEVERITY_WORDS, p=SEVERITY_SHARES))
        if name == "pulmonary edema/hazy opacity":
            if "hyperaeration" not in taken:
                out.append(_edema(rng, severity))
        elif name == "mediastinal widening":
            out.append(
                PlacedFinding(name, "", severity, "", {"width": _grade(rng, severity, (11, 14), (15, 19), (21, 28))})
            )
        elif name == "hyperaeration":
            if not {"elevated hemidiaphragm", "pulmonary edema/hazy opacity"} & taken:
                out.append(
                    PlacedFinding(
                        name, "", severity, "", {"drop": _grade(rng, severity, (10, 15), (17, 24), (26, 36))}
                    )
                )
        else:
            sides = (
                ["right", "left"]
                if rng.random() < 0.25 and name == "pleural effusion"
                else [str(rng.choice(["right", "left"]))]
            )
            for side in sides:
                if name == "pneumothorax" and any(f.name == "pleural effusion" and f.side == side for f in out):
                    side = "left" if side == "right" else "right"
                    if any(f.name == "pleural effusion" and f.side == side for f in out):
                        continue
                if name == "elevated hemidiaphragm" and any(
                    f.name == "pleural effusion" and f.side == side for f in out
                ):
                    continue
                if name == COLLAPSE and _hides_collapse(out, side):
                    continue
                out.append(PlacedFinding(name, side, severity, _zone(rng, name), {}))
        if out and out[-1].name == name:
            taken.add(name)
    return out


def _hides_collapse(findings: list[PlacedFinding], side: str) -> bool:
    """Whether other opacities or a gap of its side would keep a collapsed lobe from being told."""
    return any(
        f.name == "pulmonary edema/hazy opacity" or (f.name in ("consolidation", "pneumothorax") and f.side == side)
        for f in findings
    )


def _grade(rng: np.random.Generator, severity: str, *ranges: tuple[float, float]) -> float:
    return float(rng.uniform(*ranges[SEVERITY_WORDS.index(severity)]))


def _zone(rng: np.random.Generator, name: str) -> str:
    if name == "linear/patchy atelectasis":
        return str(rng.choice(["mid", "lower"], p=[0.25, 0.75]))
    if name == COLLAPSE:
        return str(rng.choice(["upper", "lower"], p=[0.45, 0.55]))
    if name in ("consolidation", "mass/nodule (not otherwise specified)"):
        return str(rng.choice(["upper", "mid", "lower"], p=[0.3, 0.3, 0.4]))
    return ""


def _edema(rng: np.random.Generator, severity: str) -> PlacedFinding:
    amount = _grade(rng, severity, (0.16, 0.22), (0.30, 0.42), (0.50, 0.72))
    return PlacedFinding(
        "pulmonary edema/hazy opacity",
        "",
        severity,
        "",
        {
            "amount": amount,
            "congestion": _grade(rng, severity, (0.6, 0.8), (0.8, 1.1), (1.0, 1.4)),
            "lines": float(rng.random() < 0.6),
        },
    )


def adjust_pose(
    rng: np.random.Generator, findings: list[PlacedFinding], body: BodyParameters, pose: PoseParameters
) -> PoseParameters:
    """The pose with the findings that change the shape of the chest itself."""
    for finding in findings:
        side = canonical_side(finding.side, body)
        if finding.name == "mediastinal widening":
            pose = dataclasses.replace(pose, mediastinal_widening=finding.values["width"])
        elif finding.name == "hyperaeration":
            fall = -64.0 - finding.values["drop"] - 0.5 * (pose.dome_right + pose.dome_left)
            pose = dataclasses.replace(
                pose,
                dome_right=pose.dome_right + fall,
                dome_left=pose.dome_left + fall,
                dome_drop=pose.dome_drop * 0.62,
                heart_right=pose.heart_right * 0.9,
                heart_left=pose.heart_left * 0.9,
            )
        elif finding.name == "elevated hemidiaphragm":
            lift = _grade(rng, finding.severity, (0, 8), (14, 26), (34, 50))
            if side == "right":
                pose = dataclasses.replace(pose, dome_right=pose.dome_left + 44.0 + lift)
            else:
                pose = dataclasses.replace(pose, dome_left=pose.dome_right + 24.0 + lift)
        elif finding.name == "pneumothorax" and finding.severity == "severe":
            away = 1.0 if side == "right" else -1.0
            pose = dataclasses.replace(
                pose, mediastinal_shift=pose.mediastinal_shift + away * float(rng.uniform(2, 13))
            )
        elif finding.name == COLLAPSE:
            pose = lose_volume(rng, finding, side, pose)
    return pose


def settle(
    rng: np.random.Generator, finding: PlacedFinding, body: BodyParameters, pose: PoseParameters
) -> PlacedFinding:
    """The finding with the numbers that its drawing needs (canonical mm)."""
    numbers = dict(finding.values)
    sign = -1.0 if canonical_side(finding.side, body) == "right" else 1.0
    dome = pose.dome_right if sign < 0 else pose.dome_left
    if finding.name == "pleural effusion":
        sulcus = dome - pose.dome_drop * 0.85
        if pose.supine:
            numbers["layer"] = _grade(rng, finding.severity, (-72, -64), (-56, -44), (-38, -18))
            numbers["level"] = sulcus + _grade(rng, finding.severity, (2, 10), (6, 18), (10, 30))
        else:
            numbers["level"] = sulcus + _grade(rng, finding.severity, (2, 14), (38, 62), (90, 140))
    elif finding.name == "pneumothorax":
        numbers["gap"] = _grade(rng, finding.severity, (9, 15), (20, 32), (42, 66))
        numbers["base"] = _grade(rng, finding.severity, (0.0, 0.15), (0.2, 0.5), (0.5, 0.8))
    elif finding.name == "consolidation":
        numbers |= _consolidation(rng, finding, sign, dome)
    elif finding.name == COLLAPSE:
        numbers |= collapsed_lobe(rng, finding, sign, pose)
    elif finding.name == "mass/nodule (not otherwise specified)":
        numbers |= _position(rng, finding, sign, dome)
        numbers["radius"] = _grade(rng, finding.severity, (5.5, 8), (9, 14), (16, 30))
    elif finding.name == "linear/patchy atelectasis":
        numbers |= _position(rng, finding, sign, dome)
        numbers["bands"] = float({"mild": 1, "moderate": 2, "severe": 4}[finding.severity])
        numbers["length"] = _grade(rng, finding.severity, (34, 46), (44, 62), (52, 76))
        numbers["width"] = _grade(rng, finding.severity, (2.0, 2.6), (2.4, 3.4), (3.0, 4.6))
    elif finding.name == "rib fracture":
        numbers["rib"] = float(rng.integers(3, 10))
        numbers["angle"] = float(rng.uniform(0.9, 1.75))
    return PlacedFinding(finding.name, finding.side, finding.severity, finding.zone, numbers)


def _position(rng: np.random.Generator, finding: PlacedFinding, sign: float, dome: float) -> dict[str, float]:
    base, top = dome - 6.0, 138.0
    share = {"upper": (0.68, 0.86), "mid": (0.38, 0.62), "lower": (0.08, 0.30)}[finding.zone]
    z = base + (top - base) * rng.uniform(*share)
    width = float(np.interp(z, [-60, 0, 40, 95, 118, 140], [122, 116, 105, 78, 58, 30]))
    return {"x": sign * rng.uniform(0.52, 0.88) * width, "y": float(rng.uniform(-46, 26)), "z": float(z)}


def _consolidation(rng: np.random.Generator, finding: PlacedFinding, sign: float, dome: float) -> dict[str, float]:
    low, high = {"mild": (1, 1), "moderate": (1, 2), "severe": (2, 3)}[finding.severity]
    count = int(rng.integers(low, high + 1))
    numbers = {
        "blobs": float(count),
        "noise": float(rng.uniform(0.18, 0.42)),
        "sharpness": float(rng.uniform(3.0, 7.0)),
    }
    numbers["density"] = _grade(rng, finding.severity, (0.75, 0.9), (0.82, 0.95), (0.88, 1.0))
    numbers["z_low"], numbers["z_high"] = -400.0, 400.0
    if finding.zone == "upper" and rng.random() < 0.5:
        # Lobar: the minor fissure cuts the opacity off sharply below.
        numbers["z_low"] = float(rng.uniform(24, 40))
    first = _position(rng, finding, sign, dome)
    for index in range(count):
        size = _grade(rng, finding.severity, (24, 32), (32, 44), (40, 58))
        numbers[f"x{index}"] = first["x"] * float(rng.uniform(0.8, 1.0)) + (float(rng.normal(0, 14)) if index else 0.0)
        numbers[f"y{index}"] = first["y"] + (float(rng.normal(0, 18)) if index else 0.0)
        numbers[f"z{index}"] = first["z"] + (float(rng.normal(0, 16)) if index else 0.0)
        for axis in "abc":
            numbers[f"{axis}{index}"] = size * float(rng.uniform(0.8, 1.25))
    return numbers


def finding_chains(parameters: PhantomParameters, chest: Chest) -> list[Chain]:
    """Small bodies of the findings: nodules, bands, septal lines."""
    out: list[Chain] = []
    for index, finding in enumerate(parameters.findings):
        rng = np.random.default_rng((parameters.study_seed, index))
        if finding.name.startswith("mass/nodule"):
            out.append(_nodule(rng, finding, index))
        elif finding.name == "linear/patchy atelectasis":
            out += _bands(rng, finding, chest, index)
        elif finding.name.startswith("pulmonary edema") and finding.values["lines"] > 0:
            out += _septal_lines(rng, chest, index)
    return out


def _nodule(rng: np.random.Generator, finding: PlacedFinding, index: int) -> Chain:
    v = finding.values
    radius = v["radius"]
    count = 1 if finding.severity == "mild" else int(rng.integers(3, 7))
    centre = np.array([v["x"], v["y"], v["z"]])
    points = centre + (rng.normal(0, 0.28 * radius, (count, 3)) if count > 1 else np.zeros((1, 3)))
    radii = np.full(count, radius) * (rng.uniform(0.55, 0.95, count) if count > 1 else 1.0)
    volume = 4 / 3 * math.pi * radii**3 * (1.0 if count == 1 else 1.3 / count)
    return Chain(f"finding_{index}", points, radii, radii * rng.uniform(0.85, 1.15), 1.5 * volume)


def _bands(rng: np.random.Generator, finding: PlacedFinding, chest: Chest, index: int) -> list[Chain]:
    v, out = finding.values, []
    for number in range(int(v["bands"])):
        angle = rng.normal(0.15, 0.22) * np.sign(v["x"]) * -1
        half = 0.5 * v["length"] * rng.uniform(0.8, 1.1)
        middle = np.array([v["x"], v["y"], v["z"] + (number * rng.uniform(7, 12) if number else 0.0)])
        along = np.array([math.cos(angle), 0.25 * rng.normal(), math.sin(angle)])
        points, t = curve(
            np.stack([middle - along * half, middle + np.array([0, 0, rng.normal(0, 2)]), middle + along * half]), 1.2
        )
        inside = lung_field_at(points, chest.table, chest.scalars) < -1.0
        if inside.sum() < 8:
            continue
        points, t = points[inside], t[inside]
        item = chain(f"finding_{index}", points, v["width"] * (0.5 + 0.5 * np.sin(np.pi * t)))
        # A band is a plate seen edge-on: it reaches in depth, so it is denser than a rod of its width.
        out.append(Chain(item.name, item.points, item.radius_x, item.radius_z, item.volume * rng.uniform(1.6, 3.4)))
    return out


def _septal_lines(rng: np.random.Generator, chest: Chest, index: int) -> list[Chain]:
    out = []
    for sign in (-1.0, 1.0):
        for _ in range(int(rng.integers(6, 14))):
            z = rng.uniform(-40, 10)
            wall = float(chest.table[int((z + 300) * 2), 0])
            start = np.array([sign * (wall - rng.uniform(2, 5)), rng.uniform(-30, 30), z])
            stop = start + np.array([-sign * rng.uniform(12, 22), 0, rng.normal(0, 1.5)])
            points, _ = curve(np.stack([start, (start + stop) / 2, stop]), 1.5)
            points = points[lung_field_at(points, chest.table, chest.scalars) < 0.0]
            if len(points) > 3:
                item = chain(f"septal_{index}", points, 0.7)
                out.append(Chain(item.name, item.points, item.radius_x, item.radius_z, item.volume * 4.0))
    return out
