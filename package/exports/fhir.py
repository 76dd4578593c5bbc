"""A reading as FHIR: a Bundle of one DiagnosticReport and its Observations, valid as R4, R4B and R5.

Nothing in it tells the patient: there is no subject, and the film is named by its file alone. Who files it into a
record adds the subject there.
"""

import json
import uuid
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from anatomy_vlm.exports.coded_names import OWN_SCHEME, SIDES, SYSTEMS, Code, coded_finding, coded_structure
from anatomy_vlm.exports.dicom_objects import Maker
from anatomy_vlm.exports.film_source import RESEARCH_ONLY
from anatomy_vlm.exports.readings import found_regions


_OWN_SYSTEM = "urn:anatomy-vlm:codes"
_FILE_SYSTEM = "urn:anatomy-vlm:file"
_UCUM = "http://unitsofmeasure.org"
_INTERPRETATION = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
_INTERPRETATIONS = {
    "present": ("POS", "Positive"),
    "absent": ("NEG", "Negative"),
    "uncertain": ("IND", "Indeterminate"),
}
# SNOMED CT's attribute of side, for expressions such as 39607008:272741003=7771000, "left lung".
_LATERALITY = "272741003"
_CHEST = Code("816094009", "SCT", "Chest")

Resource = dict[str, Any]


def fhir_bundle(record: Mapping[str, Any], maker: Maker) -> Resource:
    """
    The reading of one film.

    Scores are quantities without unit in [0, 1]; boxes are pixels of the film as it is displayed, x to the right and
    y down. The side of a region is a part of its body site. Identifiers follow from the content: the same reading
    gives the same bundle.

    Args:
        record: A reading of `prediction_schema.json`.
        maker: What made it.
    """
    seed = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(record, sort_keys=True))
    observations = [_region(region) for region in found_regions(record)]
    observations += [_finding(finding) for finding in record["findings"]]
    ratio = record["measurements"].get("cardiothoracic_ratio")
    if ratio is not None:
        code = Code("cardiothoracic-ratio", OWN_SCHEME, "Cardiothoracic ratio")
        observations.append({"code": _concept(code), "valueQuantity": _number(ratio)})
    observations += [_flag(flag) for flag in record["quality"]["flags"]]
    performer = {"display": f"{maker.software}, model {maker.model_name}"}
    entries, results = [], []
    for index, observation in enumerate(observations):
        name = f"urn:uuid:{uuid.uuid5(seed, str(index))}"
        resource = {
            "resourceType": "Observation",
            "status": "preliminary",
            "category": [_imaging()],
            **observation,
            "device": performer,
            "note": [{"text": RESEARCH_ONLY}],
        }
        entries.append({"fullUrl": name, "resource": resource})
        results.append({"reference": name})
    report = _report(record, performer, results)
    return {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"fullUrl": f"urn:uuid:{uuid.uuid5(seed, 'report')}", "resource": report}, *entries],
    }


def _report(record: Mapping[str, Any], performer: Resource, results: list[Resource]) -> Resource:
    conclusion = f"{RESEARCH_ONLY} Boxes and scores by {performer['display']}; no human has read them."
    if record["quality"]["findings_withheld"]:
        conclusion += " Findings are withheld: the film is flagged."
    return {
        "resourceType": "DiagnosticReport",
        "text": {
            "status": "generated",
            "div": f'<div xmlns="http://www.w3.org/1999/xhtml"><p>{escape(conclusion)}</p></div>',
        },
        "identifier": [{"system": _FILE_SYSTEM, "value": Path(record["file"]).name}],
        "status": "preliminary",
        "category": [
            {
                "coding": [
                    {"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "RAD", "display": "Radiology"}
                ]
            }
        ],
        "code": {
            "coding": [{"system": "http://loinc.org", "code": "18748-4", "display": "Diagnostic imaging study"}],
            "text": "Chest radiograph, read by a model",
        },
        "performer": [performer],
        **({"result": results} if results else {}),
        "conclusion": conclusion,
    }


def _region(region: Mapping[str, Any]) -> Resource:
    names = ("x0", "y0", "x1", "y1")
    box = [
        {
            "code": _concept(Code(f"box-{name}", OWN_SCHEME, f"Box of the region, {name}")),
            "valueQuantity": {"value": value, "unit": "px", "system": _UCUM, "code": "{pixels}"},
        }
        for name, value in zip(names, region["box"], strict=True)
    ]
    scores = [
        {
            "code": _concept(coded_finding(finding["name"]), f"score of {finding['name']}"),
            "valueQuantity": _number(finding["score"]),
        }
        for finding in region["findings"]
    ]
    return {
        "code": _concept(Code("region-presence", OWN_SCHEME, "Probability that the region is in the picture")),
        "bodySite": _site(region["name"]),
        "valueQuantity": _number(region["presence"]),
        "component": [*box, *scores],
    }


def _finding(finding: Mapping[str, Any]) -> Resource:
    threshold = Code("score-threshold", OWN_SCHEME, "Score from which on a finding counts as present")
    decision = _INTERPRETATIONS.get(finding.get("decision", ""))
    return {
        "code": _concept(coded_finding(finding["name"]), f"score of {finding['name']}"),
        "bodySite": _concept(_CHEST),
        "valueQuantity": _number(finding["score"]),
        **(
            {
                "interpretation": [
                    {"coding": [{"system": _INTERPRETATION, "code": decision[0], "display": decision[1]}]}
                ]
            }
            if decision
            else {}
        ),
        "component": [{"code": _concept(threshold), "valueQuantity": _number(finding["threshold"])}],
    }


def _flag(flag: Mapping[str, str]) -> Resource:
    return {
        "code": _concept(Code("111101", "DCM", "Image Quality")),
        "valueCodeableConcept": _concept(Code(flag["flag"], OWN_SCHEME, flag["flag"]), flag["reason"]),
    }


def _site(name: str) -> Resource:
    """A region as body site; its side by an expression of SNOMED CT where its code is one of it."""
    coded = coded_structure(name)
    side = None if coded.side is None else SIDES[coded.side]
    if side is None or coded.code.scheme != "SCT":
        return _concept(coded.code, name)
    expression = f"{coded.code.value}:{_LATERALITY}={side.value}"
    coding = {"system": SYSTEMS["SCT"], "code": expression, "display": f"{side.meaning} {coded.code.meaning.lower()}"}
    return {"coding": [coding], "text": name}


def _concept(code: Code, text: str | None = None) -> Resource:
    system = SYSTEMS.get(code.scheme, _OWN_SYSTEM)
    return {"coding": [{"system": system, "code": code.value, "display": code.meaning}], "text": text or code.meaning}


def _number(value: float) -> Resource:
    return {"value": value, "system": _UCUM, "code": "1"}


def _imaging() -> Resource:
    system = "http://terminology.hl7.org/CodeSystem/observation-category"
    return {"coding": [{"system": system, "code": "imaging", "display": "Imaging"}]}


__all__ = ["fhir_bundle"]
