"""What examples of the parametric chest say is true: boxes, statements, labels and reports."""

import dataclasses
from collections import Counter

import numpy as np
import pytest

from anatomy_vlm.processing.facts import ABSENT, PRESENT, example_facts
from anatomy_vlm.processing.report_reading import read_report
from anatomy_vlm.processing.vocabulary import (
    FINDING_NAMES,
    REGION_NAMES,
    SEVERITIES,
    containing_regions,
    get_region,
    more_general_findings,
)


pytest.importorskip("numba", reason="the parametric chest needs the extra `synthesis`")

from anatomy_vlm.synthesis.phantom import generate_study
from anatomy_vlm.synthesis.phantom.devices import PREVALENCE
from anatomy_vlm.synthesis.phantom.film import exposed_field
from anatomy_vlm.synthesis.phantom.patient import to_example
from anatomy_vlm.synthesis.phantom.render import draw_chain, draw_plates
from anatomy_vlm.synthesis.phantom.skeleton import spine_plates


SIZE = 96
# An antialiased edge may reach into the pixel next to the box.
SLACK = 1.5
# What an edema and an effusion show besides themselves.
SHOWS = {
    "pulmonary edema/hazy opacity": ("vascular congestion",),
    "pleural effusion": ("costophrenic angle blunting",),
}
DEVICES = ("support device", *PREVALENCE)
# Bones lie in front of lung zones and may be said of the zone that they belong to.
PROJECTED = ("rib fracture", "fracture")


def drawn_chains(study, structure):
    out = np.zeros((SIZE, SIZE), np.float32)
    for item in study.exposure.chains[structure]:
        draw_chain(item, study.exposure.camera, out)
    return out > 1e-3


def structures(study):
    """Region -> (pixels of its structure, share that the box has to hold), drawn anew and not taken from the boxes."""
    mirrored = study.parameters.body.situs_inversus
    other = {"right": "left", "left": "right"}
    out = {"cardiac silhouette": (study.regions.heart, 1.0), "trachea": (drawn_chains(study, "trachea"), 1.0)}
    for side in ("right", "left"):
        out[f"{side} lung"] = (study.regions.lungs[side], 1.0)
        out[f"{side} clavicle"] = (drawn_chains(study, f"clavicula_{other[side] if mirrored else side}"), 1.0)
    bodies = spine_plates(study.parameters.body, study.exposure.chest.table)[0]
    fields = {name: getattr(bodies, name)[2:14] for name in ("centres", "half", "thickness")}
    spine = np.zeros((SIZE, SIZE), np.float32)
    draw_plates(dataclasses.replace(bodies, **fields), study.exposure.camera, spine)
    out["spine"] = (spine > 0.5 * spine.max(), 0.98)
    return out


def box_faults(study, example):
    exposed = exposed_field(study.parameters.look, SIZE) > 0.5
    boxes, present = example["boxes"], example["box_mask"]
    for index in np.flatnonzero(present):
        x0, y0, x1, y1 = boxes[index]
        if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
            yield f"box: {REGION_NAMES[index]} is {boxes[index]}"
    for region, (mask, least) in structures(study).items():
        index = REGION_NAMES.index(region)
        rows, columns = np.nonzero(mask & exposed)
        if not present[index] or not len(rows):
            continue
        x0, y0, x1, y1 = boxes[index] * SIZE + np.array([-SLACK, -SLACK, SLACK, SLACK])
        held = (columns + 0.5 > x0) & (columns + 0.5 < x1) & (rows + 0.5 > y0) & (rows + 0.5 < y1)
        if held.mean() < least:
            yield f"structure: {region} holds {held.mean():.3f} of its pixels"


def placements(study):
    """(names that are true of it, side or "", pixels) of everything that was placed."""
    out = []
    for index, finding in enumerate(study.parameters.findings):
        names = {finding.name, *SHOWS.get(finding.name, ())}
        names |= {general for name in names for general in more_general_findings(name)}
        out.append((names, finding.side, study.truth.extents[index]))
    return out


def statement_faults(study, example):
    """Statements of regions against what was placed and where it projects."""
    placed = placements(study)
    enlarged = study.regions.cardiothoracic_ratio > 0.5
    for entry in example["region_findings"]:
        name, region, polarity = entry["finding"], entry["region"], entry["polarity"]
        said = f"statement: {polarity} {name} in {region}"
        side = get_region(region).side
        own = [extent for names, at, extent in placed if name in names and (not at or not side or at == side)]
        if name == "enlarged cardiac silhouette":
            if polarity != ("present" if enlarged else "absent"):
                yield said
        elif polarity != "absent":
            # The leads of a pacemaker cross over; the sides of other things are those they were placed on.
            if not own and not any(name in names and "support device" in names for names, _, _ in placed):
                yield f"{said}, but none was placed there"
        elif f"{side} lung" in containing_regions(region) and name not in (*PROJECTED, *DEVICES):
            x0, y0, x1, y1 = np.round(example["boxes"][REGION_NAMES.index(region)] * SIZE).astype(int)
            for extent in own:
                if extent.sum() > 4 and extent[y0:y1, x0:x1].sum() > 0.5 * extent.sum():
                    yield f"{said}, but more than half of one lies there"


def label_faults(example):
    table = example_facts(example)
    if table.contradictions:
        yield f"facts: {table.contradictions} contradictions"
    anywhere = (table.facts == PRESENT).any(axis=0)
    for name, label, present in zip(FINDING_NAMES, example["labels"], anywhere, strict=True):
        if present != (label == 1):
            yield f"label: {name} is {label}, in the regions it is {'present' if present else 'not present'}"


def report_faults(example):
    table = example_facts(example)
    labels = dict(zip(FINDING_NAMES, example["labels"], strict=True))
    for entry in read_report(example["report"]).to_region_findings():
        name, polarity = entry["finding"], entry["polarity"]
        said = (
            f"report: {polarity} {entry['severity']} {name} in {entry['region'] or 'the image'}: {entry['phrase']!r}"
        )
        column = table.facts[:, FINDING_NAMES.index(name)]
        grades = table.severity[:, FINDING_NAMES.index(name)]
        if entry["region"]:
            index = REGION_NAMES.index(entry["region"])
            column, grades = column[index : index + 1], grades[index : index + 1]
        if polarity == "present" and (labels[name] != 1 or (column == ABSENT).all()):
            yield said
        if polarity == "absent" and (column == PRESENT).any():
            yield said
        if polarity == "uncertain" and (column == ABSENT).all():
            yield said
        graded = polarity == "present" and entry["severity"] and (column == PRESENT).all() and (grades >= 0).all()
        if graded and SEVERITIES.index(entry["severity"]) not in grades:
            yield f"{said}, graded {grades}"


def faults_of(seeds):
    """All faults with their seeds, and how much was looked at."""
    faults, seen = [], Counter()
    for seed in seeds:
        study = generate_study(seed, image_size=SIZE, domain="mixed")
        example = to_example(study, patient_id=f"p{seed}", study_id=f"s{seed}", seed=seed)
        found = (
            *box_faults(study, example),
            *statement_faults(study, example),
            *label_faults(example),
            *report_faults(example),
        )
        faults += [f"seed {seed}: {fault}" for fault in found]
        seen["boxes"] += int(example["box_mask"].sum())
        seen["statements"] += len(example["region_findings"])
        seen["labels"] += int(np.isfinite(example["labels"]).sum())
        seen["read"] += len(read_report(example["report"]).statements)
    return faults, seen


def check(seeds):
    faults, seen = faults_of(seeds)
    print(dict(seen))
    assert not faults, f"{len(faults)} faults in {dict(seen)}:\n" + "\n".join(faults[:40])
    assert seen["boxes"] > 25 * len(seeds)
    assert seen["statements"] > 50 * len(seeds)
    assert seen["read"] > 3 * len(seeds)


def test_25_examples_are_true():
    check(range(10_400, 10_425))


@pytest.mark.slow
def test_1000_examples_are_true(request):
    if "slow" not in request.config.option.markexpr:
        pytest.skip("takes minutes; run it with -m slow")
    check(range(10_000, 11_000))
