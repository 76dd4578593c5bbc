"""Reports written from statements: sections, styles and a realistic choice of what is mentioned."""

import numpy as np

from anatomy_vlm.processing.statements import Statement, num_styles, render_sentence
from anatomy_vlm.processing.vocabulary import FINDING_NAMES, get_finding, get_region

from .truth import DEVICES, MIDLINE_FINDINGS, PARENTS


# What a radiologist denies when nothing is there, and how often.
DENIED = {
    "pneumothorax": 0.8,
    "pleural effusion": 0.8,
    "consolidation": 0.65,
    "pulmonary edema/hazy opacity": 0.4,
    "enlarged cardiac silhouette": 0.45,
    "mediastinal widening": 0.25,
    "rib fracture": 0.2,
    "mass/nodule (not otherwise specified)": 0.2,
    "lung opacity": 0.15,
}
# Headings of a structured report; what has none is the lungs'.
ORGANS = {
    "Lines and tubes": DEVICES,
    "Lungs": (),
    "Pleura": ("pneumothorax", "pleural effusion", "costophrenic angle blunting", "elevated hemidiaphragm"),
    "Heart and mediastinum": (*MIDLINE_FINDINGS,),
    "Bones": ("rib fracture", "fracture"),
}
INDICATIONS = (
    "Cough.",
    "Shortness of breath.",
    "Chest pain.",
    "Fever.",
    "Preoperative evaluation.",
    "Follow-up.",
    "Fall.",
    "Dyspnea on exertion.",
)


def say(rng: np.random.Generator, statement: Statement) -> str:
    """One sentence in a random style."""
    return render_sentence(statement, int(rng.integers(max(num_styles(statement) - 1, 1))))


def most_specific(statements: list[Statement], finding: str) -> list[Statement]:
    """The smallest regions that a finding was stated for, one or two per side."""
    present = [s for s in statements if s.finding == finding and s.polarity == "present" and s.region]
    covered = {parent for s in present for parent in _parents(s.region)}
    return [s for s in present if s.region not in covered]


def _parents(region: str | None) -> tuple[str, ...]:
    return get_region(region).parents if region else ()


def write_report(
    rng: np.random.Generator, statements: list[Statement], labels: np.ndarray, *, view: str, style: str = "narrative"
) -> str:
    """A report that is true of the statements.

    Args:
        rng: Source of randomness.
        statements: What the reader states of regions.
        labels: What he states of the film, (number of findings,).
        view: Named in some reports.
        style: "narrative" (sections of sentences), "structured" (a line per organ) or "terse" (conclusion only).
    """
    specific = {name for name in FINDING_NAMES if labels[FINDING_NAMES.index(name)] == 1 and name not in PARENTS}
    # A parent is mentioned only where none of its children is named.
    findings: list[tuple[str, str]] = []
    impression: list[str] = []
    for name in [n for n in FINDING_NAMES if n in specific]:
        chosen = most_specific(statements, name)
        limit = 1 if name in DEVICES else 2
        keep = [chosen[i] for i in sorted(rng.permutation(len(chosen))[:limit])]
        findings += [(name, say(rng, statement)) for statement in keep]
        if name not in DEVICES and name not in ("costophrenic angle blunting", "vascular congestion"):
            severity = next((s.severity for s in chosen if s.severity in get_finding(name).severities), None)
            impression.append(
                say(rng, Statement(name, "present", keep[0].region if keep and rng.random() < 0.6 else None, severity))
            )
    unsure = [s for s in statements if s.polarity == "uncertain"]
    if unsure and rng.random() < 0.4:
        doubt = unsure[int(rng.integers(len(unsure)))]
        findings.append((doubt.finding, say(rng, doubt)))
    denials: list[tuple[str, str]] = []
    for name, share in DENIED.items():
        if labels[FINDING_NAMES.index(name)] == 0 and rng.random() < share:
            denials.append((name, say(rng, Statement(name, "absent"))))
        elif labels[FINDING_NAMES.index(name)] == 1 and rng.random() < 0.4 * share:
            other = [
                s
                for s in statements
                if s.finding == name and s.polarity == "absent" and s.region and s.region.endswith(" lung")
            ]
            denials += [(name, say(rng, s)) for s in other[:1]]
    if not findings and not denials:
        denials.append(("pneumothorax", say(rng, Statement("pneumothorax", "absent"))))
    if rng.random() < 0.5:
        denials = [denials[i] for i in rng.permutation(len(denials))]
    if not impression:
        impression = ["No acute cardiopulmonary abnormality." if rng.random() < 0.7 else "Normal chest radiograph."]
    if style == "terse":
        # What was found, and at most two denials.
        return " ".join([*impression, *(text for _, text in denials[:2])])
    body = _by_organ(findings + denials) if style == "structured" else " ".join(t for _, t in findings + denials)
    numbered = len(impression) > 1 and rng.random() < 0.5
    conclusion = " ".join(f"{i}. {text}" for i, text in enumerate(impression, 1)) if numbered else " ".join(impression)
    parts = []
    if rng.random() < 0.6:
        parts.append(f"EXAMINATION: Chest radiograph, {view} view.")
    if rng.random() < 0.5:
        parts.append(f"INDICATION: {INDICATIONS[int(rng.integers(len(INDICATIONS)))]}")
    parts += [f"FINDINGS:{body}" if style == "structured" else f"FINDINGS: {body}", f"IMPRESSION: {conclusion}"]
    return "\n".join(parts)


def _by_organ(sentences: list[tuple[str, str]]) -> str:
    """Sentences below the heading of their organ; an organ of which nothing is said is left out."""
    organ_of = {name: organ for organ, names in ORGANS.items() for name in names}
    lines = []
    for organ in ORGANS:
        said = [text for name, text in sentences if organ_of.get(name, "Lungs") == organ]
        if said:
            lines.append(f"\n{organ}: {' '.join(said)}")
    return "".join(lines)
