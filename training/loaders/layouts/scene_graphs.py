"""Made-up scene graphs with every key of Chest ImaGenome's."""

import numpy as np

from anatomy_vlm.processing.vocabulary import ADDITIONAL_REGIONS, REGION_NAMES, get_finding, get_region


BOX_NAMES = (*REGION_NAMES, *(region.name for region in ADDITIONAL_REGIONS))
_FINDINGS = ("lung opacity", "consolidation", "pleural effusion", "pneumothorax", "atelectasis", "lung lesion")


def scene_graph(dicom: str, subject: str, study: str, width: int, height: int, seed: list[int]) -> dict:
    """
    A scene graph of a film of `width` x `height` pixels: 36 boxes, statements on a dozen regions, comparisons.

    Boxes have a few of the real ones' faults: one leaves the image, one is empty, one stands twice.
    """
    rng = np.random.default_rng(seed)
    ratio = 224 / max(width, height)
    left, top = (224 - width * ratio) / 2, (224 - height * ratio) / 2
    objects = []
    for name in (*BOX_NAMES, "trachea"):
        x0, x1 = sorted(rng.choice(np.arange(1, width // 2), 2, replace=False).tolist())
        if get_region(name).side == "left":
            x0, x1 = width - x1, width - x0
        y0, y1 = sorted(rng.choice(np.arange(1, height), 2, replace=False).tolist())
        if name == "left costophrenic angle":
            x1 = width + 7
        if name == "carina":
            x0 = y0 = x1 = y1 = 0
        small = [round(x0 * ratio + left), round(y0 * ratio + top), round(x1 * ratio + left), round(y1 * ratio + top)]
        objects.append(
            {
                "object_id": f"{dicom}_{name}", "x1": small[0], "y1": small[1], "x2": small[2], "y2": small[3],
                "width": small[2] - small[0], "height": small[3] - small[1], "bbox_name": name,
                "synsets": ["C0000000"], "name": name.capitalize(), "original_x1": x0, "original_y1": y0,
                "original_x2": x1, "original_y2": y1, "original_width": x1 - x0, "original_height": y1 - y0,
            }
        )  # fmt: skip
    attributes = [_attribute(dicom, study, name, rng) for name in rng.choice(REGION_NAMES, 12, replace=False).tolist()]
    attributes.append(_attribute(dicom, study, "unknown", rng))
    relationships = [
        {
            "relationship_id": f"{dicom}|{number}", "predicate": "['No status change']", "synsets": ["C0442739"],
            "relationship_names": ["comparison|yes|no change"], "relationship_contexts": [1.0],
            "phrase": "Unchanged since the last film.", "attributes": ["anatomicalfinding|yes|lung opacity"],
            "bbox_name": "right lung", "subject_id": f"{dicom}_right lung", "object_id": "0_right lung",
        }
        for number in range(4)
    ]  # fmt: skip
    return {
        "image_id": dicom, "viewpoint": "PA", "patient_id": int(subject), "study_id": int(study), "gender": "F",
        "age_decile": "50-60", "reason_for_exam": "cough", "StudyOrder": 1,
        "StudyDateTime": "2180-01-01 10:00:00 UTC", "objects": objects, "attributes": attributes,
        "relationships": relationships,
    }  # fmt: skip


def _attribute(dicom: str, study: str, name: str, rng: np.random.Generator) -> dict:
    count = int(rng.integers(1, 4))
    labels, phrases, severities = [], [], []
    for _ in range(count):
        finding = _FINDINGS[int(rng.integers(len(_FINDINGS)))]
        there = bool(rng.random() < 0.5)
        grades = get_finding(finding).severities
        grade = grades[int(rng.integers(len(grades)))] if grades and there and rng.random() < 0.5 else ""
        verdict = "nlp|yes|abnormal" if there else "nlp|yes|normal"
        labels.append([f"anatomicalfinding|{'yes' if there else 'no'}|{finding}", verdict])
        severities.append(
            [f"severity|yes|{grade}"] if grade else ["severity|yes|hedge"] if there and count == 3 else []
        )
        words = " ".join(word for word in (grade, finding) if word)
        phrases.append(f"There is {words}." if there else f"No {finding}.")
    empty: list[list[str]] = [[] for _ in range(count)]
    return {
        name: name != "unknown", "bbox_name": name, "synsets": ["C0000000"], "name": name.capitalize(),
        "attributes": labels, "attributes_ids": [["C0000000"] * len(group) for group in labels], "phrases": phrases,
        "phrase_IDs": [f"{study}|{number}" for number in range(count)], "sections": ["finalreport"] * count,
        "comparison_cues": empty, "temporal_cues": empty, "severity_cues": severities, "texture_cues": empty,
        "object_id": f"{dicom}_{name}",
    }  # fmt: skip
