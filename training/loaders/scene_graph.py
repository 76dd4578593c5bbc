"""Chest ImaGenome's scene graphs: boxes of regions, and what the report says of each."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any

from anatomy_vlm.processing.vocabulary import ADDITIONAL_REGIONS, FINDINGS, REGION_NAMES, SEVERITIES, get_region
from anatomy_vlm.training.loaders.errors import DatasetError
from anatomy_vlm.training.loaders.record import Box, RegionFinding


ADDITIONAL_NAMES = tuple(region.name for region in ADDITIONAL_REGIONS)
_CATEGORIES = ("anatomicalfinding", "disease", "tubesandlines", "device")
_HEDGE = "hedge"


@cache
def _finding_severities() -> dict[str, tuple[str, ...]]:
    return {finding.name: finding.severities for finding in FINDINGS}


@lru_cache(maxsize=4096)
def _parsed(label: str) -> tuple[str, bool]:
    """The finding of "category|yes|label", "" for none of the vocabulary, and whether it is absent."""
    category, _, rest = label.partition("|")
    context, _, finding = rest.partition("|")
    known = category in _CATEGORIES and finding in _finding_severities()
    return (finding if known else ""), context == "no"


@cache
def _container() -> dict[str, str]:
    """The region of the model's table that contains each additional one, "" where none does."""
    return {
        region.name: next((parent for parent in region.parents if parent in REGION_NAMES), "")
        for region in ADDITIONAL_REGIONS
    }


def json_decoder() -> Callable[[bytes], Any]:
    """`orjson.loads` where it is installed, which is several times as fast, else the standard library's."""
    try:
        import orjson
    except ImportError:
        return json.loads
    return orjson.loads


@dataclass(frozen=True)
class SceneGraph:
    """
    What is taken of a scene graph.

    Args:
        boxes: Of up to 36 regions in pixels of the original film.
        findings: What the report says of the regions.
        view: As the graph has it; "" where it has none.
        notes: What was left out.
    """

    boxes: dict[str, Box]
    findings: list[RegionFinding]
    view: str
    notes: list[str] = field(default_factory=list)


def read_graph(data: bytes, where: str, additional: bool, decode: Callable[[bytes], Any] | None = None) -> SceneGraph:
    """
    A scene graph from the bytes of its JSON.

    Args:
        data: The file.
        where: Names it in errors.
        additional: See `graph_findings`.
        decode: Of JSON; `json_decoder()` by default.

    Raises:
        DatasetError: not JSON, or not laid out as Chest ImaGenome's graphs are.
    """
    try:
        graph = (decode or json_decoder())(data)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{where} is not JSON: {error}") from None
    if not isinstance(graph, dict):
        raise DatasetError(f"{where} is not a scene graph but a {type(graph).__name__}")
    notes: list[str] = []
    try:
        boxes = graph_boxes(graph, notes)
        return SceneGraph(boxes, graph_findings(graph, additional, notes), str(graph.get("viewpoint", ""))[:16], notes)
    except (AttributeError, TypeError, LookupError, RecursionError) as error:
        # Checking the kind of each of some thousand values would take longer than reading them.
        problem = f"is not laid out as a scene graph ({type(error).__name__}: {error})"
        raise DatasetError(f"{where} {problem}; download it again") from None


def graph_boxes(graph: Mapping[str, Any], notes: list[str]) -> dict[str, Box]:
    """Boxes of up to 36 regions in pixels of the original film; of a region's several boxes the first."""
    boxes: dict[str, Box] = {}
    for item in graph.get("objects", ()):
        name = item.get("bbox_name")
        try:
            box = (
                float(item["original_x1"]),
                float(item["original_y1"]),
                float(item["original_x2"]),
                float(item["original_y2"]),
            )
        except (KeyError, TypeError, ValueError):
            notes.append("box dropped: without original coordinates")
            continue
        if not isinstance(name, str):
            notes.append("box dropped: without a region")
            continue
        if name in boxes:
            notes.append("box dropped: its region has one already")
            continue
        boxes[name] = box
    return boxes


def place(region: str, polarity: str, additional: bool) -> str | None:
    """
    The region of the model's table that a statement is about: "" for the whole image, None if it says nothing there.

    What is present in a part is present in the whole; what is absent from a part may be elsewhere.
    """
    if region in REGION_NAMES:
        return region
    if polarity != "present":
        return None
    return _container().get(region, "") if additional else ("" if region not in ADDITIONAL_NAMES else None)


def last_said(statements: Iterable[RegionFinding]) -> list[RegionFinding]:
    """One statement per region and finding: the last, as the dataset's users do."""
    return list({(s.region, s.finding): s for s in statements}.values())


def graph_findings(graph: Mapping[str, Any], additional: bool, notes: list[str]) -> list[RegionFinding]:
    """
    The statements of a scene graph.

    "category|yes|label" is present, "no" absent, and uncertain with the severity cue "hedge". A region whose own flag
    is false was not described, so what stands there is taken for the whole image, if it is present.

    Args:
        graph: A scene graph as its JSON says.
        additional: Also take what is said of the seven regions that have boxes, but no place in the model's table.
        notes: Grows by what was left out.
    """
    grades = _finding_severities()
    found: list[RegionFinding] = []
    for item in graph.get("attributes", ()):
        name = item.get("bbox_name") or ""
        name = name if item.get(name, True) else ""
        cues = item.get("severity_cues") or ()
        phrases = item.get("phrases") or ()
        for number, labels in enumerate(item.get("attributes") or ()):
            said = {cue.rsplit("|", 1)[-1] for cue in cues[number]} if number < len(cues) else set()
            severities = [grade for grade in SEVERITIES if grade in said]
            phrase = phrases[number].strip() if number < len(phrases) else ""
            for label in labels:
                finding, absent = _parsed(label)
                if not finding:
                    continue
                polarity = "absent" if absent else "uncertain" if _HEDGE in said else "present"
                region = place(name, polarity, additional)
                if region is None:
                    notes.append("statement left out: not on a region of the table")
                    continue
                known = len(severities) == 1 and severities[0] in grades[finding] and polarity != "absent"
                found.append(RegionFinding(finding, polarity, region, severities[0] if known else "", phrase))
    return last_said(found)


def image_labels(statements: Iterable[RegionFinding]) -> dict[str, float]:
    """
    Labels of the image: 1 if a finding is present anywhere, 0 if it is absent from the whole image or from both sides
    and nothing else is said of it.
    """
    polarities: dict[str, set[str]] = {}
    sides: dict[str, set[str]] = {}
    for statement in statements:
        polarities.setdefault(statement.finding, set()).add(statement.polarity)
        side = get_region(statement.region).side if statement.region else None
        sides.setdefault(statement.finding, set()).update([side] if side else ["left", "right"])
    present = {name: 1.0 for name, said in polarities.items() if "present" in said}
    nowhere = {name for name, said in polarities.items() if said == {"absent"} and len(sides[name]) == 2}
    return present | dict.fromkeys(nowhere, 0.0)
