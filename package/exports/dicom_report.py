"""A reading as a DICOM Structured Report: TID 1500 (PS3.16) with the regions' boxes, by highdicom."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from anatomy_vlm.exports.coded_names import OWN_SCHEME, SIDES, Code, coded_finding, coded_structure
from anatomy_vlm.exports.dicom_objects import MANUFACTURER, Maker, concept, import_highdicom, new_instance, save
from anatomy_vlm.exports.film_source import RESEARCH_ONLY, FilmSource
from anatomy_vlm.exports.readings import found_regions


_SERIES = 9002
_PERCENT, _NO_UNITS = Code("%", "UCUM", "Percent"), Code("1", "UCUM", "no units")
_CERTAINTY = Code("111012", "DCM", "Certainty of Finding")
_PROBABILITY = Code("122157", "DCM", "Probability")
_THRESHOLD = Code("score-threshold", OWN_SCHEME, "Score from which on a finding counts as present")
_DECISION = Code("decision", OWN_SCHEME, "Answer that the calibration leaves open")
_RATIO = Code("cardiothoracic-ratio", OWN_SCHEME, "Cardiothoracic ratio")
_QUALITY = Code("111101", "DCM", "Image Quality")
_QUALITY_FINDING = Code("111052", "DCM", "Quality Finding")
_DECISIONS = {
    "present": Code("52101004", "SCT", "Present"),
    "absent": Code("272519000", "SCT", "Absent"),
    "uncertain": Code("uncertain", OWN_SCHEME, "Uncertain"),
}
_CHEST_RADIOGRAPHY = Code("399208008", "SCT", "Plain chest X-ray")
_CHEST = Code("816094009", "SCT", "Chest")


def write_report(path: Path, record: Mapping[str, Any], source: FilmSource, maker: Maker) -> Path:
    """
    Write the reading of one film, as a preliminary, unverified ComprehensiveSR.

    A group per region that was found has its box as a closed polyline on the stored image (a film that was turned or
    mirrored for display is turned back), its presence, and scores of findings in it; a group per finding of the whole
    film has its score and threshold. Scores are percents of a sigmoid or, of a calibrated model, of a probability.

    Args:
        path: Where to write.
        record: A reading of `prediction_schema.json`.
        source: The film's file.
        maker: What made the reading.

    Raises:
        FilmSourceError: the source is no DICOM image, or lacks the identifiers to refer to.
    """
    image = source.require_dicom("a DICOM SR")
    source.check_size((record["size"][1], record["size"][0]))
    hd = import_highdicom()
    groups = [_region(record_region, source, image) for record_region in found_regions(record)]
    groups += [_finding(finding, image) for finding in record["findings"]]
    ratio = record["measurements"].get("cardiothoracic_ratio")
    if ratio is not None:
        groups.append(
            _group("cardiothoracic ratio", image, [_measured(_RATIO, ratio, _NO_UNITS)], "cardiac silhouette")
        )
    if record["quality"]["flags"]:
        groups.append(_flags(record["quality"]["flags"], image))
    observer = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=str(hd.UID()), name=MANUFACTURER, manufacturer_name=MANUFACTURER, model_name=maker.model_name
    )
    device = hd.sr.ObserverContext(concept(Code("121007", "DCM", "Device")), observer)
    report = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=device),
        procedure_reported=concept(_CHEST_RADIOGRAPHY),
        imaging_measurements=groups,
        title=concept(Code("126000", "DCM", "Imaging Measurement Report")),
    )
    comment = hd.sr.TextContentItem(
        name=concept(Code("121106", "DCM", "Comment")),
        value=f"{RESEARCH_ONLY} Boxes and scores by {maker.software}, model {maker.model_name}.",
        relationship_type=hd.sr.RelationshipTypeValues.CONTAINS,
    )
    report[0].ContentSequence.append(comment)
    document = hd.sr.ComprehensiveSR(
        evidence=[image],
        content=report[0],
        is_complete=True,
        is_final=False,
        is_verified=False,
        manufacturer_model_name=maker.model_name,
        software_versions=maker.software,
        device_serial_number="none",
        series_description="Anatomy-VLM reading, for research only",
        **new_instance(maker, _SERIES),
    )
    return save(document, path)


def _region(region: Mapping[str, Any], source: FilmSource, image: Any) -> Any:
    hd = import_highdicom()
    x0, y0, x1, y1 = source.stored_box(region["box"])
    outline = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]])
    scores = [
        _measured(_score_name(finding["name"]), 100 * finding["score"], _PERCENT) for finding in region["findings"]
    ]
    coded = coded_structure(region["name"])
    return hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=str(hd.UID()), identifier=region["name"]),
        referenced_region=hd.sr.ImageRegion(
            graphic_type=hd.sr.GraphicTypeValues.POLYLINE,
            graphic_data=outline,
            source_image=hd.sr.SourceImageForRegion(image.SOPClassUID, image.SOPInstanceUID),
        ),
        finding_type=concept(coded.code),
        finding_category=concept(Code("91723000", "SCT", "Anatomical Structure")),
        finding_sites=[_site(region["name"])],
        measurements=[_measured(_PROBABILITY, 100 * region["presence"], _PERCENT), *scores],
    )


def _finding(finding: Mapping[str, Any], image: Any) -> Any:
    hd = import_highdicom()
    measurements = [
        _measured(_CERTAINTY, 100 * finding["score"], _PERCENT),
        _measured(_THRESHOLD, 100 * finding["threshold"], _PERCENT),
    ]
    evaluations = []
    if "decision" in finding:
        value = concept(_DECISIONS[finding["decision"]])
        evaluations.append(hd.sr.QualitativeEvaluation(concept(_DECISION), value))
    return _group(finding["name"], image, measurements, None, coded_finding(finding["name"]), evaluations)


def _flags(flags: Sequence[Mapping[str, str]], image: Any) -> Any:
    hd = import_highdicom()
    evaluations = [
        # A code value of ours is the flag, its meaning the reason as far as it has room.
        hd.sr.QualitativeEvaluation(
            concept(_QUALITY_FINDING), concept(Code(flag["flag"], OWN_SCHEME, flag["reason"][:64]))
        )
        for flag in flags
    ]
    return _group("quality", image, [], None, _QUALITY, evaluations)


def _group(
    name: str,
    image: Any,
    measurements: list[Any],
    site: str | None,
    finding_type: Code | None = None,
    evaluations: Sequence[Any] = (),
) -> Any:
    """Measurements of the film as a whole."""
    hd = import_highdicom()
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=str(hd.UID()), identifier=name),
        finding_type=None if finding_type is None else concept(finding_type),
        finding_sites=[hd.sr.FindingSite(concept(_CHEST)) if site is None else _site(site)],
        measurements=measurements,
        qualitative_evaluations=list(evaluations),
        source_images=[hd.sr.SourceImageForMeasurementGroup(image.SOPClassUID, image.SOPInstanceUID)],
    )


def _site(region: str) -> Any:
    hd = import_highdicom()
    coded = coded_structure(region)
    side = None if coded.side is None else concept(SIDES[coded.side])
    return hd.sr.FindingSite(concept(coded.code), laterality=side)


def _score_name(finding: str) -> Code:
    """A score in a region is no certainty of CAD: the name says what it is."""
    known = coded_finding(finding)
    return Code(f"score:{known.value}", OWN_SCHEME, f"Score of {finding}"[:64])


def _measured(name: Code, value: float, unit: Code) -> Any:
    hd = import_highdicom()
    return hd.sr.Measurement(name=concept(name), value=round(float(value), 4), unit=concept(unit))


__all__ = ["write_report"]
