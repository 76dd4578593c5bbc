"""The 29 regions of Chest ImaGenome on a film, from projected structures and landmarks.

Pure functions of masks and points: any source of footprints can use them. Right and left are the patient's; on
frontal films lateral is the image's left for the right side and its right for the left side, on laterals the tips of
both lungs lie behind, on the image's right. Lengths in mm are in the patient, at the isocentre.

- right, left lung: footprint of the lobes without what abdominal organs cover (the part below the dome) and without
  what is thinner than 4 mm on the film;
- upper, mid, lower lung zone: the lung cut into thirds of its height;
- apical zone: the lung above the lower edge of its clavicle, at least its top 15 % and at most its top 25 %;
- hilar structures: 46 mm wide, 56 mm high around the hilum;
- costophrenic angle: a square of 0.2 lung heights at the lowest point of the lung's lateral 40 %, 3/4 of it above;
- hemidiaphragm: 8 mm around the lower edge of the lung inside the angle's tip, where it lies in the lung's lower 45 %;
  on frontal films over its longest stretch without a jump of 6 mm, on laterals (steep behind) in the lower 60 %;
- clavicle, spine, svc, right atrium: the footprint;
- cardiac silhouette: the heart's footprint without what is thinner than 18 mm on the film (vessels at its base);
- trachea: the airway's footprint above the carina;
- carina: 34 mm wide, 26 mm high around the carina;
- cavoatrial junction: 32 mm square around the lower end of the superior vena cava;
- aortic arch: the aorta's footprint down to 5 mm below the carina;
- upper mediastinum: great vessels, airway and oesophagus between the lungs' top and the carina;
- mediastinum: upper mediastinum and cardiac silhouette;
- abdomen: from the higher dome to the film's lower edge, as wide as lungs and abdominal organs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from anatomy_vlm.processing.vocabulary import REGION_NAMES
from anatomy_vlm.synthesis.projection import box_of_mask


Point = tuple[float, float]


@dataclass(frozen=True)
class ProjectedAnatomy:
    """Footprints and landmarks on one film.

    Attributes:
        masks: name -> bool (rows, columns). Names that rules read: "right lung", "left lung", "abdominal organs",
            "right clavicle", "left clavicle", "trachea", "spine", "aorta", "svc", "heart", "right atrium",
            "great vessels" (with the oesophagus). Missing or empty ones leave their regions out.
        landmarks: "carina", "right hilum", "left hilum", "cavoatrial junction" -> (x, y) in pixels.
        pixel_mm: size of a pixel at the isocentre.
        view: "PA", "AP", "LATERAL" or "OBLIQUE".
    """

    masks: Mapping[str, np.ndarray] = field(repr=False)
    landmarks: Mapping[str, Point]
    pixel_mm: float
    view: str = "PA"

    @property
    def shape(self) -> tuple[int, int]:
        return next(iter(self.masks.values())).shape

    def mask(self, *names: str) -> np.ndarray:
        """Union of masks; those that are missing count as empty."""
        union = np.zeros(self.shape, bool)
        for name in names:
            if name in self.masks:
                union |= self.masks[name]
        return union


def region_masks(anatomy: ProjectedAnatomy) -> dict[str, np.ndarray]:
    """bool (rows, columns) per region that the anatomy gives, in the order of the 29 names."""
    found: dict[str, np.ndarray] = {}
    lungs = {side: visible_lung(anatomy, side) for side in ("right", "left")}
    for side, lung in lungs.items():
        found[f"{side} lung"] = lung
        if lung.any():
            found.update(_lung_parts(anatomy, side, lung))
        if f"{side} hilum" in anatomy.landmarks:
            found[f"{side} hilar structures"] = _around(anatomy, f"{side} hilum", 46, 56)
        found[f"{side} clavicle"] = anatomy.mask(f"{side} clavicle")
    found["spine"] = anatomy.mask("spine")
    found["svc"] = anatomy.mask("svc")
    found["cardiac silhouette"] = _without_thin_parts(anatomy.mask("heart"), 18 / anatomy.pixel_mm)
    found["right atrium"] = anatomy.mask("right atrium")
    if "cavoatrial junction" in anatomy.landmarks:
        found["cavoatrial junction"] = _around(anatomy, "cavoatrial junction", 32, 32)
    if "carina" in anatomy.landmarks:
        found.update(_above_carina(anatomy, lungs))
    if "upper mediastinum" in found and found["cardiac silhouette"].any():
        found["mediastinum"] = found["upper mediastinum"] | found["cardiac silhouette"]
    found["abdomen"] = _abdomen(anatomy, lungs)
    return {name: found[name] for name in REGION_NAMES if name in found and found[name].any()}


def region_boxes(masks: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of region masks as the example schema wants them.

    Returns:
        float32 (29, 4), (x0, y0, x1, y1) in [0, 1] of the film, zero where there is none; bool (29,).
    """
    boxes = np.zeros((len(REGION_NAMES), 4), np.float32)
    present = np.zeros(len(REGION_NAMES), bool)
    for i, name in enumerate(REGION_NAMES):
        box = box_of_mask(masks[name]) if name in masks else None
        if box is not None:
            rows, columns = masks[name].shape
            boxes[i] = np.array(box) / (columns, rows, columns, rows)
            present[i] = True
    return boxes, present


def visible_lung(anatomy: ProjectedAnatomy, side: str) -> np.ndarray:
    """The lung above the dome: its footprint without what abdominal organs cover.

    Lung goes on behind the dome, down to the first lumbar vertebra, but no film shows it there.
    """
    lung = anatomy.mask(f"{side} lung") & ~anatomy.mask("abdominal organs")
    return _without_thin_parts(lung, 4 / anatomy.pixel_mm)


def _without_thin_parts(mask: np.ndarray, width: float) -> np.ndarray:
    """The largest piece of a mask that a square of `width` pixels can sweep; the mask itself if there is none."""
    size = max(1, round(width))
    opened = ndimage.binary_opening(mask, np.ones((size, size), bool))
    pieces, count = ndimage.label(opened)
    return pieces == 1 + np.argmax(np.bincount(pieces.reshape(-1))[1:]) if count else mask


def lower_edge(lung: np.ndarray) -> np.ndarray:
    """Row of the lowest pixel per column (columns,), -1 where the lung has none."""
    rows = lung.shape[0]
    return np.where(lung.any(axis=0), rows - 1 - np.argmax(lung[::-1], axis=0), -1)


def lateral_direction(side: str, view: str) -> int:
    """-1 if the lung's outer (on laterals: hind) border is on the image's left, +1 if on its right."""
    return 1 if view == "LATERAL" or side == "left" else -1


def _lung_parts(anatomy: ProjectedAnatomy, side: str, lung: np.ndarray) -> dict[str, np.ndarray]:
    left, top, right, bottom = box_of_mask(lung)
    height, width = bottom - top, right - left
    row = np.arange(lung.shape[0])[:, None]
    column = np.arange(lung.shape[1])[None, :]
    parts = {}
    for i, zone in enumerate(("upper", "mid", "lower")):
        low, high = top + height * i / 3, top + height * (i + 1) / 3
        parts[f"{side} {zone} lung zone"] = lung & (row + 0.5 >= low) & (row + 0.5 < high)

    clavicle = anatomy.mask(f"{side} clavicle") & (column >= left) & (column < right)
    edge = box_of_mask(clavicle)
    depth = 0.2 * height if edge is None else float(np.clip(edge[3] - top, 0.15 * height, 0.25 * height))
    parts[f"{side} apical zone"] = lung & (row + 0.5 < top + depth)

    outwards = lateral_direction(side, anatomy.view)
    outer = column >= right - 0.4 * width if outwards > 0 else column < left + 0.4 * width
    edge_row = lower_edge(lung & outer)
    tip_row = int(edge_row.max())
    tips = np.flatnonzero(edge_row >= tip_row - 1)
    tip_column = float(tips.max() if outwards > 0 else tips.min())
    size = 0.2 * height
    parts[f"{side} costophrenic angle"] = _rectangle(
        lung.shape, tip_column - size / 2, tip_row - 0.75 * size, tip_column + size / 2, tip_row + 0.25 * size
    )

    contour = lower_edge(lung)
    inner = np.arange(left, int(tip_column) + 1) if outwards > 0 else np.arange(int(tip_column), right)
    if anatomy.view == "LATERAL":
        columns = inner[contour[inner] >= bottom - 0.6 * height]
    else:
        jumps = np.flatnonzero(np.abs(np.diff(contour[inner])) > max(6 / anatomy.pixel_mm, 3)) + 1
        columns = max(np.split(inner, jumps), key=len)
        columns = columns[contour[columns] >= bottom - 0.45 * height]
    reach = 4 / anatomy.pixel_mm
    band = np.zeros(lung.shape, bool)
    band[:, columns] = np.abs(row - contour[None, columns]) <= reach
    parts[f"{side} hemidiaphragm"] = band
    return parts


def _above_carina(anatomy: ProjectedAnatomy, lungs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    row = np.arange(anatomy.shape[0])[:, None] + 0.5
    carina = anatomy.landmarks["carina"][1]
    above = row < carina + 5 / anatomy.pixel_mm
    parts = {
        "carina": _around(anatomy, "carina", 34, 26),
        "trachea": anatomy.mask("trachea") & (row < carina),
        "aortic arch": anatomy.mask("aorta") & above,
    }
    apex = box_of_mask(lungs["right"] | lungs["left"])
    if apex is not None:
        between = (row >= apex[1]) & (row < carina)
        parts["upper mediastinum"] = anatomy.mask("trachea", "aorta", "svc", "great vessels") & between
    return parts


def _abdomen(anatomy: ProjectedAnatomy, lungs: Mapping[str, np.ndarray]) -> np.ndarray:
    both = box_of_mask(lungs["right"] | lungs["left"])
    if both is None:
        return anatomy.mask("abdominal organs")
    organs = box_of_mask(anatomy.mask("abdominal organs")) or both
    domes = []
    for lung in lungs.values():
        box = box_of_mask(lung)
        if box is not None:
            contour = lower_edge(lung)
            inner = contour[box[0] + (box[2] - box[0]) // 4 : box[2] - (box[2] - box[0]) // 4]
            low = inner[inner >= box[3] - 0.45 * (box[3] - box[1])]
            domes.append(int(low.min()) if len(low) else box[3])
    return _rectangle(
        anatomy.shape, min(both[0], organs[0]), min(domes) + 1, max(both[2], organs[2]), anatomy.shape[0]
    )


def _around(anatomy: ProjectedAnatomy, landmark: str, width_mm: float, height_mm: float) -> np.ndarray:
    x, y = anatomy.landmarks[landmark]
    half_width, half_height = width_mm / 2 / anatomy.pixel_mm, height_mm / 2 / anatomy.pixel_mm
    return _rectangle(anatomy.shape, x - half_width, y - half_height, x + half_width, y + half_height)


def _rectangle(shape: tuple[int, int], x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    row = np.arange(shape[0])[:, None] + 0.5
    column = np.arange(shape[1])[None, :] + 0.5
    return (row >= y0) & (row < y1) & (column >= x0) & (column < x1)
