"""Drawing bodies and poses from distributions; each draw is a plain parameter object that can be stored."""

import dataclasses

import numpy as np

from .camera import build_camera
from .parameters import BodyParameters, PoseParameters


def clipped(rng: np.random.Generator, mean: float, sd: float, low: float, high: float) -> float:
    """Normal draw, clipped."""
    return float(np.clip(rng.normal(mean, sd), low, high))


def sample_body(rng: np.random.Generator) -> BodyParameters:
    """A patient."""
    sex = "female" if rng.random() < 0.5 else "male"
    female = sex == "female"
    age = clipped(rng, 57, 18, 18, 94)
    old = max(age - 50, 0) / 40
    weight = clipped(rng, 0.0, 1.0, -1.8, 2.6)
    size = 0.94 if female else 1.0
    return BodyParameters(
        sex=sex,
        age=age,
        scale_x=size * clipped(rng, 1.0, 0.06, 0.84, 1.18),
        scale_y=size * clipped(rng, 1.0 + 0.06 * old, 0.08, 0.8, 1.25),
        scale_z=size * clipped(rng, 1.04 - 0.04 * old, 0.10, 0.78, 1.30),
        cage_taper=clipped(rng, 0.92, 0.20, 0.5, 1.4),
        base_flare=clipped(rng, 0.01, 0.05, -0.12, 0.14),
        wall=float(np.clip(34 + 11 * weight + rng.normal(0, 5), 14, 74)),
        wall_low=clipped(rng, 4 + 5 * weight, 6, -8, 26),
        belly=float(np.clip(0.35 + 0.4 * weight + rng.normal(0, 0.15), 0, 1.6)),
        shoulder=clipped(rng, 192 if female else 204, 9, 170, 230),
        neck=clipped(rng, 0.95 if female else 1.05, 0.09, 0.75, 1.35),
        arm=float(np.clip(1.0 + 0.16 * weight + rng.normal(0, 0.07), 0.75, 1.5)),
        kyphosis=clipped(rng, 0.1 + 0.7 * old, 0.35, -0.4, 1.6),
        scoliosis=float(rng.normal(0, 2.5))
        if rng.random() > 0.08
        else float(rng.choice([-1, 1]) * rng.uniform(8, 22)),
        mediastinum_r=clipped(rng, 0.9, 0.13, 0.55, 1.18),
        mediastinum_l=clipped(rng, 0.9, 0.13, 0.55, 1.18),
        aorta=clipped(rng, 0.95 + 0.18 * old, 0.08, 0.75, 1.35),
        aortic_unfolding=clipped(rng, 0.1 + 1.2 * old, 0.3, -0.2, 2.0),
        svc=clipped(rng, 1.0, 0.12, 0.7, 1.4),
        breast=float(np.clip(34 + 11 * weight + rng.normal(0, 8), 8, 78))
        if female
        else (16.0 if weight > 1.5 else 0.0),
        breast_drop=clipped(rng, 32 + 22 * old, 14, 0, 85),
        bone_density=clipped(rng, 1.0 - 0.28 * old * (1.3 if female else 1.0), 0.16, 0.45, 1.5),
        rib_slope=clipped(rng, 1.0, 0.14, 0.6, 1.4),
        clavicle_lift=clipped(rng, 9.0, 10.0, -18, 34),
        scapula_out=clipped(rng, 18, 14, -14, 46),
        situs_inversus=bool(rng.random() < 0.004),
        dextrocardia=bool(rng.random() < 0.004),
        azygos_lobe=bool(rng.random() < 0.008),
        heart_tilt=clipped(rng, 33, 8, 14, 52),
        heart_height=clipped(rng, 26, 6, 10, 42),
        dome_gap=clipped(rng, 9, 9, -12, 32),
        lung_density=clipped(rng, 0.22, 0.04, 0.14, 0.36),
        vessel_scale=clipped(rng, 1.0, 0.13, 0.65, 1.4),
        calcified_cartilage=float(rng.uniform(0, old)),
        anatomy_seed=int(rng.integers(2**31)),
    )


def sample_pose(rng: np.random.Generator, body: BodyParameters, *, view: str, enlarged: bool) -> PoseParameters:
    """Pose and exposure geometry of a study.

    Args:
        rng: Source of randomness.
        body: The patient.
        view: "PA" or "AP".
        enlarged: Whether the heart is to be wider than half of the thorax.
    """
    portable = view == "AP"
    inspiration = clipped(rng, -0.45 if portable else 0.15, 0.75, -2.2, 1.0)
    middle = -36.0 - 19.0 * inspiration
    supine = bool(portable and rng.random() < 0.6)
    ratio = clipped(rng, 0.59, 0.045, 0.535, 0.72) if enlarged else clipped(rng, 0.462, 0.025, 0.38, 0.488)
    width = (270.0 if portable else 284.0) * ratio
    right = clipped(rng, 0.325, 0.04, 0.22, 0.42)
    pose = PoseParameters(
        view=view,
        source_detector=float(rng.uniform(1000, 1300)) if portable else float(rng.uniform(1700, 1850)),
        source_isocentre=0.0,
        rotation=clipped(rng, 0, 5.0 if portable else 2.5, -13, 13),
        lordosis=clipped(rng, 4.0 if portable else 0.0, 5.0, -9, 16),
        roll=clipped(rng, 0, 2.8 if portable else 1.5, -10, 10)
        if rng.random() > 0.05
        else float(rng.uniform(-14, 14)),
        inspiration=inspiration,
        dome_right=middle + 0.5 * body.dome_gap,
        dome_left=middle - 0.5 * body.dome_gap,
        dome_drop=clipped(rng, 50, 11, 24, 80),
        heart_right=width * right,
        heart_left=width * (1 - right),
        mediastinal_shift=float(rng.normal(0, 2.5)),
        mediastinal_widening=0.0,
        supine=supine,
        arms_down=bool(portable or rng.random() < 0.18),
        arm_gap=float(rng.uniform(-6, 40)),
        arm_abduction=float(rng.uniform(0.25, 1.1)),
        gas=float(rng.uniform(0.5, 1.25)) if rng.random() < 0.8 else 0.0,
        field_of_view=1.0,
        centre_x=0.0,
        centre_z=0.0,
    )
    gap = float(rng.uniform(150, 230)) if portable else float(rng.uniform(170, 240))
    return dataclasses.replace(pose, source_isocentre=pose.source_detector - gap)


def frame(rng: np.random.Generator, body: BodyParameters, pose: PoseParameters) -> PoseParameters:
    """Choose field of view and centre so that the lungs lie on the film as technicians put them."""
    portable = pose.view == "AP"
    low = min(pose.dome_right, pose.dome_left) - 48.0
    size = 256
    corners = np.array([(-142, 0, -60.0), (142, 0, -60.0), (0, -5, 144.0), (0, -5, low)], float)
    probe = build_camera(body, dataclasses.replace(pose, field_of_view=float(size)), size)
    pixels, _ = probe.project(corners)
    pixels[:, 0] -= (size - 1) / 2
    pixels[:, 1] = (size - 1) / 2 - pixels[:, 1]
    width = abs(pixels[1, 0] - pixels[0, 0])
    height = abs(pixels[2, 1] - pixels[3, 1])
    share = clipped(rng, 0.86 if portable else 0.80, 0.10, 0.50, 1.14)
    if rng.random() < 0.15:
        # A film as large as the trunk: arms, neck and half of the abdomen are on it.
        share = float(rng.uniform(0.46, 0.70))
    field = max(width / share, height / clipped(rng, 0.91, 0.07, 0.7, 1.12))
    middle_x = 0.5 * (pixels[0, 0] + pixels[1, 0])
    middle_z = 0.5 * (pixels[2, 1] + pixels[3, 1])
    offset_x = clipped(rng, 0.0, 0.03, -0.12, 0.12)
    slack = max(1 - height / field, 0.02)
    # Films show more below the lungs than above them.
    offset_z = -(0.5 - clipped(rng, 0.36, 0.09, 0.1, 0.7)) * slack
    return dataclasses.replace(
        pose, field_of_view=field, centre_x=middle_x + offset_x * field, centre_z=middle_z + offset_z * field
    )
