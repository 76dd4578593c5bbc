"""Structure masks of synthetic chests: on their side, inside their boxes, in agreement with what was drawn."""

import dataclasses

import numpy as np
import pytest

from anatomy_vlm.processing.vocabulary import REGION_NAMES
from anatomy_vlm.synthesis.phantom.masks import structure_masks
from anatomy_vlm.synthesis.phantom.patient import draw_study, sample_parameters


def centre_x(mask: np.ndarray) -> float:
    return float(np.flatnonzero(mask.any(0)).mean())


@pytest.fixture(scope="module")
def study():
    return draw_study(sample_parameters(11, image_size=160))


@pytest.fixture(scope="module")
def masks(study):
    return structure_masks(study)


def test_the_patient_s_left_is_on_the_image_s_right(masks):
    pairs = [name for name in masks if "left" in name and name.replace("left", "right") in masks]
    assert len(pairs) > 12
    for name in pairs:
        assert centre_x(masks[name]) > centre_x(masks[name.replace("left", "right")]), name


def test_in_a_mirrored_body_sides_stay_the_patient_s():
    parameters = sample_parameters(11, image_size=160)
    body = dataclasses.replace(parameters.body, situs_inversus=not parameters.body.situs_inversus)
    masks = structure_masks(draw_study(dataclasses.replace(parameters, body=body)))
    for name in ("lung_left", "clavicula_left", "rib_left_5"):
        assert centre_x(masks[name]) > centre_x(masks[name.replace("left", "right")]), name
    heart, spine = masks["heart"], masks["vertebrae_body"]
    assert np.nonzero(heart)[1].mean() < np.nonzero(spine)[1].mean(), "the mirrored heart lies on the right"


def test_masks_fill_their_regions_boxes(study, masks):
    size = study.parameters.image_size
    for mask, region in (
        ("left lung", "left lung"),
        ("cardiac silhouette", "cardiac silhouette"),
        ("clavicula_left", "left clavicle"),
        ("trachea", "trachea"),
    ):
        index = REGION_NAMES.index(region)
        assert study.regions.box_mask[index]
        x0, y0, x1, y1 = study.regions.boxes[index] * size
        rows, columns = np.flatnonzero(masks[mask].any(1)), np.flatnonzero(masks[mask].any(0))
        found = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        # A box reaches as far as the widest part of a bone, which the film's edge may hide.
        assert (found[:2] >= [x0 - 1, y0 - 1]).all() and (found[2:] <= [x1 + 1, y1 + 1]).all(), mask
        assert np.abs(found - [x0, y0, x1, y1]).max() <= 5, mask


def test_what_contains_what(masks):
    assert (masks["body"] | ~masks["heart"]).all()
    for side in ("left", "right"):
        assert (masks[f"lung_{side}"] | ~masks[f"{side} lung"]).mean() > 0.995
        # The lung behind heart and dome is lung, too.
        assert masks[f"lung_{side}"].sum() > masks[f"{side} lung"].sum()
    bodies = [mask for name, mask in masks.items() if name.startswith("vertebral_body_")]
    assert (np.logical_or.reduce(bodies) == masks["vertebrae_body"]).all()
    heights = [np.flatnonzero(masks[f"vertebral_body_T{k}"].any(1)).mean() for k in range(4, 10)]
    assert (np.diff(heights) > 0).all()


def test_bones_are_brighter_than_beside_them(study, masks):
    """The masks lie where the film shows the bone: on most ribs the line integral is higher than just above them."""
    line = study.exposure.line
    higher = []
    for name, mask in masks.items():
        if name.startswith("clavicula_"):
            above = np.roll(mask, -6, axis=0) & ~mask
            higher.append(line[mask].mean() > line[above].mean())
    assert higher and np.mean(higher) >= 0.5
