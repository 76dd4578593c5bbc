"""What describes a phantom: frozen dataclasses that turn into JSON and back, so a manifest can redraw any film."""

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class BodyParameters:
    """A patient. Scales are relative to an average adult; lengths are canonical millimetres."""

    sex: str
    age: float
    scale_x: float
    scale_y: float
    scale_z: float
    cage_taper: float
    base_flare: float
    wall: float
    wall_low: float
    belly: float
    shoulder: float
    neck: float
    arm: float
    kyphosis: float
    scoliosis: float
    mediastinum_r: float
    mediastinum_l: float
    aorta: float
    aortic_unfolding: float
    svc: float
    breast: float
    breast_drop: float
    bone_density: float
    rib_slope: float
    clavicle_lift: float
    scapula_out: float
    situs_inversus: bool
    dextrocardia: bool
    azygos_lobe: bool
    heart_tilt: float
    heart_height: float
    dome_gap: float
    lung_density: float
    vessel_scale: float
    calcified_cartilage: float
    anatomy_seed: int


@dataclass(frozen=True)
class PoseParameters:
    """How the patient stands or lies, and the geometry of the exposure (mm, degrees)."""

    view: str
    source_detector: float
    source_isocentre: float
    rotation: float
    lordosis: float
    roll: float
    inspiration: float
    dome_right: float
    dome_left: float
    dome_drop: float
    heart_right: float
    heart_left: float
    mediastinal_shift: float
    mediastinal_widening: float
    supine: bool
    arms_down: bool
    arm_gap: float
    arm_abduction: float
    gas: float
    field_of_view: float
    centre_x: float
    centre_z: float
    hilum_lift_right: float = 0.0
    hilum_lift_left: float = 0.0


@dataclass(frozen=True)
class PlacedFinding:
    """One finding as it was drawn.

    Args:
        name: Finding name of the vocabulary.
        side: "left", "right" or "" (midline, both).
        severity: "mild", "moderate", "severe" or "".
        zone: "upper", "mid", "lower" or "".
        values: Numbers that the drawing needs.
    """

    name: str
    side: str = ""
    severity: str = ""
    zone: str = ""
    values: dict[str, float] = dataclasses.field(default_factory=dict)


def canonical_side(side: str, body: BodyParameters) -> str:
    """The patient's side inside the canonical body, which is a mirror image in situs inversus."""
    return {"left": "right", "right": "left"}.get(side, side) if body.situs_inversus else side


@dataclass(frozen=True)
class LookParameters:
    """From line integrals to grey values: physics, processing, collimation and burnt-in marks."""

    domain: str
    scatter: float
    scatter_sigma: float
    photons: float
    blur: float
    low_gain: float
    mid_gain: float
    high_gain: float
    equalisation: float
    floor: float
    window_low: float
    window_high: float
    gamma: float
    contrast: float
    black: float
    white: float
    film_shading_x: float
    film_shading_y: float
    grid_lines: float
    collimation: tuple[float, float, float, float]
    collimation_roll: float
    collimation_grey: float
    marker: str
    marker_style: int
    letters: int
    look_seed: int


@dataclass(frozen=True)
class ReaderParameters:
    """Who reads the film.

    Args:
        style: How the report is written, one of `reader.REPORT_STYLES`.
        label_noise: Chance of a misreading, 0 to 1.
        missed: Names of findings that are on the film and that the reader denies.
        overcalled: Findings that are not on the film and that the reader states.
    """

    style: str = "narrative"
    label_noise: float = 0.0
    missed: tuple[str, ...] = ()
    overcalled: tuple[PlacedFinding, ...] = ()


@dataclass(frozen=True)
class PhantomParameters:
    """Everything that one film needs; the same parameters give the same bytes."""

    body: BodyParameters
    pose: PoseParameters
    look: LookParameters
    findings: tuple[PlacedFinding, ...]
    study_seed: int
    image_size: int
    reader: ReaderParameters = ReaderParameters()

    def to_dict(self) -> dict[str, Any]:
        """JSON-able dictionary."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "PhantomParameters":
        """Inverse of `to_dict`."""
        look = dict(values["look"])
        look["collimation"] = tuple(look["collimation"])
        reader = dict(values["reader"])
        reader["missed"] = tuple(reader["missed"])
        reader["overcalled"] = tuple(PlacedFinding(**finding) for finding in reader["overcalled"])
        return cls(
            body=BodyParameters(**values["body"]),
            pose=PoseParameters(**values["pose"]),
            look=LookParameters(**look),
            findings=tuple(PlacedFinding(**finding) for finding in values["findings"]),
            study_seed=values["study_seed"],
            image_size=values["image_size"],
            reader=ReaderParameters(**reader),
        )
