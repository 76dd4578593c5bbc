"""What is true of an exposure: facts per region and labels per image, from what was drawn and where it projects."""

from dataclasses import dataclass, field, replace

import numpy as np

from anatomy_vlm.processing.statements import Statement
from anatomy_vlm.processing.vocabulary import (
    FINDING_NAMES,
    REGION_NAMES,
    containing_regions,
    get_finding,
    get_region,
    more_general_findings,
)

from .collapse import COLLAPSE
from .devices import PREVALENCE as DEVICE_SHARES
from .findings import ENLARGED_HEART
from .march import M
from .parameters import PhantomParameters, PlacedFinding, ReaderParameters, canonical_side
from .regions import SIDES, RegionTable
from .render import Exposure


OPACITIES = (
    "consolidation",
    "linear/patchy atelectasis",
    "pulmonary edema/hazy opacity",
    "mass/nodule (not otherwise specified)",
    COLLAPSE,
)
LUNG_FINDINGS = (*OPACITIES, "pneumothorax", "pleural effusion", "costophrenic angle blunting", "vascular congestion",
                 "hyperaeration", "rib fracture")  # fmt: skip
MIDLINE_FINDINGS = {
    ENLARGED_HEART: ("cardiac silhouette",),
    "mediastinal widening": ("mediastinum", "upper mediastinum"),
}
DEVICES = tuple(DEVICE_SHARES)
PARENTS = ("lung opacity", "airspace opacity", "atelectasis", "lung lesion", "fracture", "support device")
# Said of what another finding shows.
SHOWN_BY = ("costophrenic angle blunting", "vascular congestion")
DRAWN = (*LUNG_FINDINGS, "elevated hemidiaphragm", *MIDLINE_FINDINGS, *DEVICES, *PARENTS)
CARDIOTHORACIC_LIMIT = 0.5
PRESENT_OF_EXTENT, PRESENT_OF_REGION, TOUCHES = 0.25, 0.14, 0.02


@dataclass
class Truth:
    """Facts of one film.

    Args:
        statements: Present, absent and uncertain statements per region.
        labels: float32 (number of findings,), 1, 0 or NaN.
        extents: Pixels of each placed finding, by position in `parameters.findings`.
    """

    statements: list[Statement]
    labels: np.ndarray
    extents: dict[int, np.ndarray]


@dataclass
class _Facts:
    present: dict[tuple[str, str], str] = field(default_factory=dict)
    unsure: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, finding: str, region: str, severity: str, *, sure: bool = True) -> None:
        target = self.present if sure else self.unsure
        for name in (finding, *more_general_findings(finding)):
            kept = severity if severity in get_finding(name).severities else ""
            key = (name, region)
            order = ("", "mild", "moderate", "severe")
            target[key] = max(target.get(key, ""), kept, key=order.index)


def heart_severity(ratio: float) -> str:
    """Severity of an enlarged cardiac silhouette; "" where the ratio is at most 0.5 or not known."""
    if not ratio > CARDIOTHORACIC_LIMIT:
        return ""
    return "mild" if ratio < 0.56 else "moderate" if ratio < 0.62 else "severe"


def build_truth(
    parameters: PhantomParameters, exposure: Exposure, table: RegionTable, reader: ReaderParameters | None = None
) -> Truth:
    """Statements and labels of an exposure; with a reader, what that reader makes of it."""
    missed, overcalled = (reader.missed, reader.overcalled) if reader else ((), ())
    facts = _Facts()
    extents: dict[int, np.ndarray] = {}
    areas = _lung_areas(table)
    for index, finding in enumerate(parameters.findings):
        extent = finding_extent(parameters, exposure, table, index)
        extents[index] = extent
        if finding.name not in missed:
            _place(facts, finding, extent, table, areas)
    severity = heart_severity(table.cardiothoracic_ratio)
    if severity and ENLARGED_HEART not in missed:
        facts.add(ENLARGED_HEART, "cardiac silhouette", severity)
    for finding in overcalled:
        if finding.name == ENLARGED_HEART:
            facts.add(ENLARGED_HEART, "cardiac silhouette", finding.severity)
        else:
            _place(facts, _one_sided(finding), _supposed_extent(finding, table, areas), table, areas)
    measured = not np.isnan(table.cardiothoracic_ratio)
    visible = {name for name, mask in zip(REGION_NAMES, table.box_mask, strict=True) if mask}
    placed = {finding.name for finding in parameters.findings} - set(missed)
    return Truth(_statements(facts, visible, measured), _labels(facts, placed, visible, measured), extents)


def _lung_areas(table: RegionTable) -> dict[str, np.ndarray]:
    """Pixels of every lung region: its box within the pleural cavity of its side."""
    size = len(table.heart)
    out = {}
    for index, name in enumerate(REGION_NAMES):
        region = get_region(name)
        if region.side and table.box_mask[index] and f"{region.side} lung" in (name, *containing_regions(name)):
            x0, y0, x1, y1 = np.round(table.boxes[index] * size).astype(int)
            area = np.zeros((size, size), bool)
            area[y0:y1, x0:x1] = True
            out[name] = area if name.endswith("angle") else area & table.cavities[region.side]
    return out


def finding_extent(parameters: PhantomParameters, exposure: Exposure, table: RegionTable, index: int) -> np.ndarray:
    """Pixels that a placed finding covers, (S, S) bool."""
    finding, camera, maps = parameters.findings[index], exposure.camera, exposure.maps
    size = camera.size
    extent = np.zeros((size, size), bool)
    numbers = finding.values
    if finding.name == "pleural effusion":
        return (maps[M[f"fluid_{finding.side}"]] > 12.0) & (maps[M["abdomen"]] < 60.0)
    if finding.name == ENLARGED_HEART:
        return table.heart
    if finding.name == "pneumothorax":
        return maps[M[f"pneumothorax_{finding.side}"]] > 6.0
    if finding.name == "consolidation":
        for blob in range(int(numbers["blobs"])):
            centre = np.array([[numbers[f"x{blob}"], numbers[f"y{blob}"], numbers[f"z{blob}"]]])
            ellipse = _ellipse(centre, 0.8 * numbers[f"a{blob}"], 0.8 * numbers[f"c{blob}"], exposure)
            limit, _ = camera.project(np.array([[centre[0, 0], centre[0, 1], numbers["z_low"]]]))
            ellipse &= np.arange(size)[:, None] < limit[0, 1]
            extent |= ellipse
        return extent & table.lungs[finding.side]
    if finding.name == COLLAPSE:
        # It is partly behind the heart, outside of what counts as lung.
        return (maps[M[f"opacity_{finding.side}"]] > 10.0) & (maps[M["abdomen"]] < 60.0)
    if finding.name == "pulmonary edema/hazy opacity":
        reach = np.sqrt(max(np.log(numbers["amount"] / 0.09), 0.05))
        for sign in (-1.0, 1.0):
            extent |= _ellipse(np.array([[52.0 * sign, -8.0, 22.0]]), 46.0 * reach, 62.0 * reach, exposure)
        return extent & (table.lungs["right"] | table.lungs["left"])
    if finding.name == "rib fracture":
        side = canonical_side(finding.side, parameters.body)
        for item in exposure.chains.get(f"rib_{side}_{int(numbers['rib'])}", []):
            # The rib's chain starts at an angle of 0.13 with steps of 0.02.
            at = min(int((numbers["angle"] - 0.13) / 0.02), len(item.points) - 1)
            extent |= _ellipse(item.points[at : at + 1], 9.0, 9.0, exposure)
        return extent
    for item in exposure.chains.get(f"finding_{index}", []):
        pixels, zoom = camera.project(item.points)
        reach = np.maximum(item.radius_x * zoom, 1.0)
        for (u, v), r in zip(pixels, reach, strict=True):
            extent[max(int(v - r), 0) : max(int(v + r) + 1, 0), max(int(u - r), 0) : max(int(u + r) + 1, 0)] = True
    return extent


def _one_sided(finding: PlacedFinding) -> PlacedFinding:
    """An overcalled finding with the side that its kind has."""
    return replace(finding, side="") if finding.name == "pulmonary edema/hazy opacity" else finding


def _supposed_extent(finding: PlacedFinding, table: RegionTable, areas: dict[str, np.ndarray]) -> np.ndarray:
    """Where a reader believes to see what is not there: a zone, both lungs for an edema."""
    nothing = np.zeros_like(table.heart)
    if finding.name == "pulmonary edema/hazy opacity":
        return areas.get("right lung", nothing) | areas.get("left lung", nothing)
    return areas.get(f"{finding.side} {finding.zone} lung zone", nothing)


def _ellipse(centre: np.ndarray, a: float, b: float, exposure: Exposure) -> np.ndarray:
    pixels, zoom = exposure.camera.project(centre)
    grid = np.arange(exposure.camera.size)
    u = (grid[None] - pixels[0, 0]) / (a * zoom[0])
    v = (grid[:, None] - pixels[0, 1]) / (b * zoom[0])
    return u * u + v * v < 1


def _place(
    facts: _Facts, finding: PlacedFinding, extent: np.ndarray, table: RegionTable, areas: dict[str, np.ndarray]
) -> None:
    name, side, severity = finding.name, finding.side, finding.severity
    if name == "hyperaeration":
        for own in SIDES:
            facts.add(name, f"{own} lung", severity)
        return
    if name == "elevated hemidiaphragm":
        facts.add(name, f"{side} hemidiaphragm", severity)
        return
    if name == "mediastinal widening":
        for region in MIDLINE_FINDINGS[name]:
            facts.add(name, region, severity)
        return
    if name == ENLARGED_HEART:
        # Placed from the measured ratio, for every film alike.
        return
    if name in DEVICES:
        _place_device(facts, finding, extent, table)
        return
    sides = (side,) if side else SIDES
    total = max(int(extent.sum()), 1)
    for own in sides:
        facts.add(name, f"{own} lung", severity)
        if name == "pleural effusion":
            facts.add(name, f"{own} lower lung zone", severity)
            facts.add(name, f"{own} costophrenic angle", severity)
            facts.add("costophrenic angle blunting", f"{own} costophrenic angle", severity)
            continue
        if name == COLLAPSE:
            facts.add(name, f"{own} {finding.zone} lung zone", severity)
        for region, area in areas.items():
            if get_region(region).side != own or region not in get_finding(name).regions or region == f"{own} lung":
                continue
            if name == "rib fracture":
                area = area | np.repeat(area.any(axis=1, keepdims=True), area.shape[1], 1)
            shared = int((extent & area).sum())
            of_region = shared / max(int(area.sum()), 1)
            sure = shared / total > PRESENT_OF_EXTENT or of_region > PRESENT_OF_REGION
            possible = of_region > TOUCHES or shared / total > 0.05
            # Behind heart or dome it is in none of the visible lung, but who sees it names the zone around it.
            if name not in ("rib fracture", "pneumothorax"):
                possible |= _share_in_box(extent, table, region) > PRESENT_OF_EXTENT
            if sure or possible:
                # What lies in the apex lies in the upper zone, however little of the zone it covers.
                for place in (region, *containing_regions(region)):
                    facts.add(name, place, severity, sure=sure)
    if name == "pulmonary edema/hazy opacity":
        for own in SIDES:
            for region in (f"{own} lung", f"{own} hilar structures"):
                facts.add(name, region, severity)
                facts.add("vascular congestion", region, severity)


def _share_in_box(extent: np.ndarray, table: RegionTable, region: str) -> float:
    x0, y0, x1, y1 = np.round(table.boxes[REGION_NAMES.index(region)] * len(extent)).astype(int)
    return float(extent[y0:y1, x0:x1].sum()) / max(int(extent.sum()), 1)


def _place_device(facts: _Facts, finding: PlacedFinding, extent: np.ndarray, table: RegionTable) -> None:
    size = len(extent)
    total = max(int(extent.sum()), 1)
    for region in get_finding(finding.name).regions:
        index = REGION_NAMES.index(region)
        if not table.box_mask[index]:
            continue
        x0, y0, x1, y1 = np.round(table.boxes[index] * size).astype(int)
        shared = int(extent[y0:y1, x0:x1].sum())
        if shared > 0.15 * total:
            facts.add(finding.name, region, "")
        elif shared > 0:
            facts.add(finding.name, region, "", sure=False)


def _statements(facts: _Facts, visible: set[str], measured: bool) -> list[Statement]:
    """Statements in a fixed order: present and uncertain as placed, absent wherever nothing could be meant."""
    out = []
    for (name, region), severity in facts.present.items():
        if region in visible:
            out.append(Statement(name, "present", region, severity or None))
    for (name, region), severity in facts.unsure.items():
        # A finding that only reaches into a region is what reports call possible there.
        if region in visible and (name, region) not in facts.present and name not in PARENTS:
            out.append(Statement(name, "uncertain", region, severity or None))
    touched = set(facts.present) | set(facts.unsure)
    # A line in the right atrium lies in the cardiac silhouette, whatever is stated of that.
    touched |= {(name, place) for name, region in touched for place in containing_regions(region)}
    shadowed = {region for name, region in touched if name in (*OPACITIES, "pleural effusion", "pneumothorax")}
    for name in DRAWN:
        for region in get_finding(name).regions:
            if region not in visible or (name, region) in touched:
                continue
            if name == "lung opacity" and region in shadowed:
                continue
            # Congested vessels fade towards the zones; where they still count is anybody's guess.
            if name == "vascular congestion" and any((name, place) in touched for place in containing_regions(region)):
                continue
            if name == ENLARGED_HEART and not measured:
                continue
            out.append(Statement(name, "absent", region))
    return out


def _labels(facts: _Facts, placed: set[str], visible: set[str], measured: bool) -> np.ndarray:
    labels = np.full(len(FINDING_NAMES), np.nan, np.float32)
    present = {name for name, region in facts.present if region in visible}
    # Placed where the film does not show it: neither present nor absent.
    hidden = placed | {name for name, _ in facts.present | facts.unsure}
    for name in DRAWN:
        if name in present:
            labels[FINDING_NAMES.index(name)] = 1.0
        elif name not in hidden and not (name == ENLARGED_HEART and not measured):
            labels[FINDING_NAMES.index(name)] = 0.0
    return labels
