"""Regions of the parametric chest: every box holds its structure."""

import dataclasses

import numpy as np
import pytest

from anatomy_vlm.processing.vocabulary import REGION_NAMES


pytest.importorskip("numba", reason="the parametric chest needs the extra `synthesis`")

from anatomy_vlm.synthesis.phantom import generate_study
from anatomy_vlm.synthesis.phantom.film import exposed_field
from anatomy_vlm.synthesis.phantom.march import M
from anatomy_vlm.synthesis.phantom.regions import mask_box
from anatomy_vlm.synthesis.phantom.render import draw_chain, draw_plates
from anatomy_vlm.synthesis.phantom.skeleton import spine_plates


SIZE = 128


@pytest.fixture(scope="module")
def studies():
    return [generate_study(seed, image_size=SIZE, domain="mixed") for seed in range(300, 330)]


def pixels(study, name):
    """Box in pixels, or None."""
    index = REGION_NAMES.index(name)
    return study.regions.boxes[index] * SIZE if study.regions.box_mask[index] else None


def exposed(study):
    return exposed_field(study.parameters.look, SIZE) > 0.5


def inside(mask, box, slack=1.5):
    """Share of a mask's exposed pixels within a box grown by the slack."""
    rows, cols = np.nonzero(mask)
    x0, y0, x1, y1 = box
    held = (
        (cols + 0.5 > x0 - slack) & (cols + 0.5 < x1 + slack) & (rows + 0.5 > y0 - slack) & (rows + 0.5 < y1 + slack)
    )
    return held.mean() if len(rows) else 1.0


def test_most_regions_are_on_most_films(studies):
    masks = np.array([study.regions.box_mask for study in studies])
    assert masks.mean() > 0.95
    assert (masks.mean(0) > 0.6).all()


@pytest.mark.parametrize("side", ["right", "left"])
def test_lungs_and_zones_hold_their_pixels(studies, side):
    for study in studies:
        lung = study.regions.lungs[side]
        box = pixels(study, f"{side} lung")
        if box is None:
            continue
        assert np.allclose(box, mask_box(lung), atol=0.5)
        zones = [pixels(study, f"{side} {zone} lung zone") for zone in ("upper", "mid", "lower")]
        rows = np.arange(SIZE)[:, None] + 0.5
        for zone in zones:
            if zone is not None:
                assert inside(lung & (rows > zone[1]) & (rows < zone[3]), zone) == 1.0
                assert zone[3] - zone[1] <= (box[3] - box[1]) / 3 + 2
        apex = pixels(study, f"{side} apical zone")
        if apex is not None:
            assert apex[1] == box[1] and apex[3] < box[1] + 0.3 * (box[3] - box[1])


def test_heart_spine_clavicles_and_airways_hold_their_pixels(studies):
    for study in studies:
        size = study.exposure.camera.size
        heart = pixels(study, "cardiac silhouette")
        assert heart is None or inside(study.regions.heart, heart) == 1.0
        mirrored = study.parameters.body.situs_inversus
        names = {"trachea": "trachea"}
        for side, other in (("right", "left"), ("left", "right")):
            names[f"{side} clavicle"] = f"clavicula_{other if mirrored else side}"
        for region, structure in names.items():
            box = pixels(study, region)
            drawn = np.zeros((size, size), np.float32)
            for item in study.exposure.chains[structure]:
                draw_chain(item, study.exposure.camera, drawn)
            assert box is None or inside((drawn > 1e-3) & exposed(study), box) == 1.0
        drawn = np.zeros((size, size), np.float32)
        bodies = spine_plates(study.parameters.body, study.exposure.chest.table)[0]
        keep = slice(2, 14)
        bodies = dataclasses.replace(
            bodies, centres=bodies.centres[keep], half=bodies.half[keep], thickness=bodies.thickness[keep]
        )
        draw_plates(bodies, study.exposure.camera, drawn)
        box = pixels(study, "spine")
        assert box is None or inside((drawn > 0.5 * drawn.max()) & exposed(study), box) > 0.98


def test_mediastinum_is_the_hull_of_its_parts(studies):
    for study in studies:
        parts = [pixels(study, name) for name in ("upper mediastinum", "cardiac silhouette")]
        hull = pixels(study, "mediastinum")
        if hull is not None and all(part is not None for part in parts):
            assert np.allclose(hull[:2], np.min([part[:2] for part in parts], axis=0), atol=0.01)
            assert np.allclose(hull[2:], np.max([part[2:] for part in parts], axis=0), atol=0.01)


def test_angles_and_domes_lie_at_the_base(studies):
    for study in studies:
        for side in ("right", "left"):
            lung = study.regions.cavities[side]
            angle, dome = pixels(study, f"{side} costophrenic angle"), pixels(study, f"{side} hemidiaphragm")
            whole = mask_box(lung)
            if whole is None or angle is None or dome is None:
                continue
            width = whole[2] - whole[0]
            assert 0.1 * width < angle[2] - angle[0] < 0.6 * width
            outer, edge = (angle[0], whole[0]) if side == "right" else (angle[2], whole[2])
            assert abs(outer - edge) < 1.0
            assert (angle[1] + angle[3]) / 2 > (whole[1] + whole[3]) / 2
            assert study.exposure.maps[M["abdomen"]][int(dome[3] - 1), int((dome[0] + dome[2]) / 2)] > 20


def test_landmarks_are_ordered_as_in_the_body(studies):
    for study in studies:
        if abs(study.parameters.pose.roll) > 6:
            continue
        names = ("aortic arch", "carina", "cavoatrial junction", "right atrium", "abdomen", "svc")
        boxes = {name: pixels(study, name) for name in names}
        if any(box is None for box in boxes.values()):
            continue
        middle = {name: (box[1] + box[3]) / 2 for name, box in boxes.items()}
        assert middle["aortic arch"] < middle["carina"] < middle["right atrium"] < middle["abdomen"]
        assert middle["svc"] < middle["cavoatrial junction"] < middle["right atrium"] + 2
        assert boxes["abdomen"][3] == mask_box(exposed(study))[3]
