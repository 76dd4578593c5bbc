"""Pairs of phantoms that differ in one planted finding: same patient, pose, exposure and look, with it and without."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from anatomy_vlm.synthesis.phantom.domains import sample_look
from anatomy_vlm.synthesis.phantom.findings import ENLARGED_HEART, adjust_pose, settle
from anatomy_vlm.synthesis.phantom.parameters import PhantomParameters, PlacedFinding
from anatomy_vlm.synthesis.phantom.patient import Study, draw_study, settle_heart
from anatomy_vlm.synthesis.phantom.sampling import frame, sample_body, sample_pose


FINDINGS = (
    "consolidation", "pleural effusion", "pulmonary edema/hazy opacity", ENLARGED_HEART, "mediastinal widening",
    "elevated hemidiaphragm", "hyperaeration",
)  # fmt: skip
SEVERITIES = ("moderate", "severe")
ONE_SIDED = ("consolidation", "pleural effusion", "elevated hemidiaphragm")
# Millimetres and amounts as `findings.sample_findings` draws them.
WIDTH = {"moderate": (15.0, 19.0), "severe": (21.0, 28.0)}
DROP = {"moderate": (17.0, 24.0), "severe": (26.0, 36.0)}
AMOUNT = {"moderate": (0.30, 0.42), "severe": (0.50, 0.72)}


@dataclass(frozen=True)
class Pair:
    """A film with a planted finding and its twin without.

    Args:
        finding: Name.
        severity: Of the finding.
        planted: The study with it.
        twin: The study without it.
    """

    finding: str
    severity: str
    planted: Study
    twin: Study

    @property
    def signal(self) -> np.ndarray:
        """Change of the line integral of attenuation by the finding, (S, S); below a tenth of its most it is 0."""
        change = np.abs(self.planted.exposure.line - self.twin.exposure.line)
        return np.where(change > 0.1 * change.max(), change, 0.0)

    @property
    def stated_regions(self) -> set[str]:
        """Regions of which the truth of the film states the finding to be present."""
        return {
            statement.region
            for statement in self.planted.truth.statements
            if statement.finding == self.finding and statement.polarity == "present" and statement.region
        }


def plant(seed: int, finding: str, severity: str, image_size: int = 160) -> Pair:
    """One pair; the same arguments give the same pixels."""
    body = sample_body(np.random.default_rng((seed, 7001)))
    rng = np.random.default_rng((seed, 7002, 0))
    look = sample_look(rng, "mixed")
    pose = sample_pose(np.random.default_rng((seed, 1)), body, view="PA", enlarged=False)
    placed = _place(rng, finding, severity)
    if finding == ENLARGED_HEART:
        large = sample_pose(np.random.default_rng((seed, 1)), body, view="PA", enlarged=True)
        changed = dataclasses.replace(pose, heart_right=large.heart_right, heart_left=large.heart_left)
    else:
        changed = adjust_pose(rng, [placed], body, pose)
    framed = frame(np.random.default_rng((seed, 2)), body, changed)
    kept = {name: getattr(framed, name) for name in ("field_of_view", "centre_x", "centre_z")}
    study_seed = int(rng.integers(2**31))
    with_it = PhantomParameters(body, framed, look, (settle(rng, placed, body, framed),), study_seed, image_size)
    without = PhantomParameters(body, dataclasses.replace(pose, **kept), look, (), study_seed, image_size)
    planted = draw_study(with_it)
    if finding == ENLARGED_HEART:
        planted = draw_study(settle_heart(with_it, planted.regions.cardiothoracic_ratio))
    return Pair(finding, severity, planted, draw_study(without))


def pairs(count: int, first_seed: int) -> list[Pair]:
    """`count` pairs that go through the findings in turn, half of them moderate and half severe."""
    return [
        plant(first_seed + index, FINDINGS[index % len(FINDINGS)], SEVERITIES[index // len(FINDINGS) % 2])
        for index in range(count)
    ]


def _place(rng: np.random.Generator, finding: str, severity: str) -> PlacedFinding:
    side = str(rng.choice(["right", "left"])) if finding in ONE_SIDED else ""
    zone = str(rng.choice(["upper", "mid", "lower"])) if finding == "consolidation" else ""
    values: dict[str, float] = {}
    if finding == "mediastinal widening":
        values = {"width": float(rng.uniform(*WIDTH[severity]))}
    elif finding == "hyperaeration":
        values = {"drop": float(rng.uniform(*DROP[severity]))}
    elif finding == "pulmonary edema/hazy opacity":
        values = {"amount": float(rng.uniform(*AMOUNT[severity])), "congestion": 1.0, "lines": 1.0}
    return PlacedFinding(finding, side, severity if finding != ENLARGED_HEART else "", zone, values)
