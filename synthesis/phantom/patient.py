"""Patients: one body, several studies, each a complete example of the schema."""

import dataclasses
from typing import Any

import numpy as np
from PIL import Image

from anatomy_vlm.processing.statements import Statement, num_styles, render_statement

from .devices import sample_devices
from .domains import sample_look
from .film import exposed_field, render_film
from .findings import ENLARGED_HEART, ENLARGED_HEART_SHARE, NORMAL_SHARE, adjust_pose, sample_findings, settle
from .march import M
from .parameters import PhantomParameters, PlacedFinding
from .reader import check_reader, sample_reader
from .regions import RegionTable, build_regions
from .render import Exposure, expose
from .report import write_report
from .sampling import frame, sample_body, sample_pose
from .truth import CARDIOTHORACIC_LIMIT, Truth, build_truth


RATIO_MARGIN = 0.012
PORTABLE_SHARE = {"portable": 1.0, "default": 0.3}


@dataclasses.dataclass(frozen=True)
class Study:
    """A drawn study.

    Args:
        parameters: What it was drawn from.
        exposure: What was projected.
        regions: Boxes and masks.
        truth: What is on the film.
        reading: What its reader states; the truth, but for label noise.
        film: Grey values, (S, S) uint8.
    """

    parameters: PhantomParameters
    exposure: Exposure
    regions: RegionTable
    truth: Truth
    reading: Truth
    film: np.ndarray


def sample_parameters(
    seed: int, study: int = 0, *, image_size: int = 224, domain: str = "default"
) -> PhantomParameters:
    """Parameters of one study of the patient `seed`.

    Args:
        seed: The patient; fixes the body.
        study: Number of the study; fixes pose, findings and look.
        image_size: Pixels per side.
        domain: Film look, see `DOMAINS`.
    """
    body = sample_body(np.random.default_rng((seed, 7001)))
    rng = np.random.default_rng((seed, 7002, study))
    look = sample_look(rng, domain)
    view = "AP" if rng.random() < PORTABLE_SHARE.get(look.domain, 0.3) else "PA"
    normal = rng.random() < NORMAL_SHARE
    enlarged = bool(not normal and rng.random() < ENLARGED_HEART_SHARE)
    pose = sample_pose(rng, body, view=view, enlarged=enlarged)
    placed = [] if normal else sample_findings(rng)
    if enlarged:
        # Drawn by the pose; its severity is measured on the film.
        placed.append(PlacedFinding(ENLARGED_HEART))
    # Devices come from their own stream, so that they cannot depend on what was found.
    devices = sample_devices(np.random.default_rng((seed, 7004, study)), portable=view == "AP")
    pose = frame(rng, body, adjust_pose(rng, placed, body, pose))
    findings = tuple(settle(rng, finding, body, pose) for finding in placed) + tuple(devices)
    return PhantomParameters(body, pose, look, findings, int(rng.integers(2**31)), image_size)


def draw_study(parameters: PhantomParameters) -> Study:
    """Draw a study from its parameters."""
    exposure = expose(parameters)
    exposed = exposed_field(parameters.look, parameters.image_size) > 0.5
    regions = build_regions(exposure, exposed)
    truth = build_truth(parameters, exposure, regions)
    reading = _read(parameters, exposure, regions, truth)
    film = render_film(exposure.line, exposure.maps[M["body"]], parameters.look, view=parameters.pose.view)
    return Study(parameters, exposure, regions, truth, reading, film)


def _read(parameters: PhantomParameters, exposure: Exposure, regions: RegionTable, truth: Truth) -> Truth:
    reader = parameters.reader
    return build_truth(parameters, exposure, regions, reader) if reader.missed or reader.overcalled else truth


def settle_heart(parameters: PhantomParameters, ratio: float) -> PhantomParameters:
    """Parameters whose heart is clearly on the side of the limit that was drawn for it, given the measured ratio."""
    sign = 1.0 if any(finding.name == ENLARGED_HEART for finding in parameters.findings) else -1.0
    if np.isnan(ratio) or sign * (ratio - CARDIOTHORACIC_LIMIT) > RATIO_MARGIN:
        return parameters
    wanted = CARDIOTHORACIC_LIMIT + 2.5 * sign * RATIO_MARGIN
    pose = parameters.pose
    factor = wanted / ratio
    pose = dataclasses.replace(pose, heart_right=pose.heart_right * factor, heart_left=pose.heart_left * factor)
    return dataclasses.replace(parameters, pose=pose)


def generate_study(
    seed: int,
    study: int = 0,
    *,
    image_size: int = 224,
    domain: str = "default",
    label_noise: float = 0.0,
    reader_style: str = "narrative",
) -> Study:
    """Sample, draw and read one study; a heart that projects to about half of the thorax is rescaled and drawn again.

    The arguments are those of `generate_patient`.
    """
    check_reader(label_noise, reader_style)
    parameters = sample_parameters(seed, study, image_size=image_size, domain=domain)
    drawn = draw_study(parameters)
    for _ in range(2):
        better = settle_heart(drawn.parameters, drawn.regions.cardiothoracic_ratio)
        if better is drawn.parameters:
            break
        drawn = draw_study(better)
    # The reader has a stream of his own, so that film and truth are the same whoever reads.
    rng = np.random.default_rng((seed, 7005, study))
    reader = sample_reader(rng, drawn.truth.labels, label_noise=label_noise, reader_style=reader_style)
    parameters = dataclasses.replace(drawn.parameters, reader=reader)
    reading = _read(parameters, drawn.exposure, drawn.regions, drawn.truth)
    return dataclasses.replace(drawn, parameters=parameters, reading=reading)


def to_example(study: Study, *, patient_id: str, study_id: str, seed: int) -> dict[str, Any]:
    """A study as an example of the schema (`processing.schema`)."""
    parameters, reading = study.parameters, study.reading
    rng = np.random.default_rng((seed, 7003, parameters.study_seed))
    return {
        "image": Image.fromarray(study.film),
        "boxes": study.regions.boxes,
        "box_mask": study.regions.box_mask,
        "region_findings": [_entry(rng, statement) for statement in reading.statements],
        "labels": reading.labels,
        "report": write_report(
            rng, reading.statements, reading.labels, view=parameters.pose.view, style=parameters.reader.style
        ),
        "patient_id": patient_id,
        "study_id": study_id,
        "image_id": f"{study_id}-{study.parameters.pose.view.lower()}",
        "view": study.parameters.pose.view,
        "source": f"phantom/{study.parameters.look.domain}",
    }


def _entry(rng: np.random.Generator, statement: Statement) -> dict[str, str]:
    return {
        "region": statement.region or "",
        "finding": statement.finding,
        "polarity": statement.polarity,
        "severity": statement.severity or "",
        "phrase": render_statement(statement, int(rng.integers(num_styles(statement)))),
    }


def generate_patient(
    seed: int,
    *,
    image_size: int = 224,
    num_studies: int = 1,
    domain: str = "default",
    label_noise: float = 0.0,
    reader_style: str = "narrative",
) -> list[dict[str, Any]]:
    """Examples of one synthetic patient.

    One body (sex, age, habitus, anatomy), several studies that differ in pose, findings and film look. The same
    arguments give the same bytes. Needs the extra `synthesis`.

    Args:
        seed: The patient.
        image_size: Pixels per side of the square film.
        num_studies: Number of films.
        domain: Film look: "default", "portable", "film", "equalised", "low_dose" or "mixed".
        label_noise: Chance from 0 to 1 that the reader misses a finding of the film, each for itself, and that he
            states one that is not there. It changes statements, labels and report alike, never film and boxes.
        reader_style: How reports are written: "narrative" (sections of sentences), "structured" (a line per organ),
            "terse" (conclusion only) or "mixed".

    Returns:
        Dictionaries in the schema of `anatomy_vlm.processing.schema`.
    """
    patient = f"phantom-{seed:08d}"
    return [
        to_example(
            generate_study(
                seed,
                study,
                image_size=image_size,
                domain=domain,
                label_noise=label_noise,
                reader_style=reader_style,
            ),
            patient_id=patient,
            study_id=f"{patient}-{study:02d}",
            seed=seed,
        )
        for study in range(num_studies)
    ]
