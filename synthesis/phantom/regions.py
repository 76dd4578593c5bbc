"""The 29 regions of an exposure.

Every box is tight around pixels or projected landmarks of its structure, in the order of `REGIONS`:

| region | definition |
|---|---|
| lung | visible aerated lung and pleural air: at least 22 mm of air along the ray, and less than 14 mm of heart,
  22 mm of abdomen and 75 mm of mediastinum; from the first row with 52 mm of air to the last one with 60 mm |
| upper, mid, lower lung zone | the lung's pixels in the thirds of the lung box's height |
| apical zone | the lung's pixels in the top 22 % of the lung box |
| hilar structures | hilum centre -18 mm (medial) to +30 mm (lateral), 34 mm above to 38 mm below |
| costophrenic angle | lateral fifth (at least 22 mm) at the lowest lateral point of the pleural cavity, fluid or not |
| hemidiaphragm | from the dome's top to the costophrenic angle, as wide as the pleural cavity |
| trachea | air of the trachea from the film's top to the carina |
| spine | bodies of T1 to T12 |
| clavicle | the whole bone |
| aortic arch | arch from the ascending to the descending aorta, knob included |
| upper mediastinum | mediastinum from 12 mm above the sternal notch to the carina |
| cardiac silhouette | heart of at least 4 mm along the ray where the abdomen is thinner than 20 mm, from the first
  row with 45 mm of heart downwards |
| mediastinum | hull of the upper mediastinum and the cardiac silhouette |
| svc, right atrium | projected vessel from the arch to the atrium; projected chamber |
| cavoatrial junction, carina | landmark with 15 mm (16 by 13 mm) to each side |
| abdomen | below the domes to the film's lower edge |
"""

from dataclasses import dataclass

import numpy as np

from anatomy_vlm.processing.vocabulary import REGION_NAMES

from .air import hilum_centres
from .camera import Camera
from .march import M
from .profiles import Z_MIN, Z_STEP, C
from .render import Exposure
from .skeleton import vertebrae


Box = tuple[float, float, float, float]
SIDES = ("right", "left")
MIN_VISIBLE = 0.25
ABDOMEN_OVER_HEART_MM = 20.0
LUNG_MM, HEART_OVER_LUNG_MM, ABDOMEN_OVER_LUNG_MM, MEDIASTINUM_OVER_LUNG_MM = 22.0, 14.0, 22.0, 75.0
# Less air than this does not show among the shoulders, nor before the diaphragm, nor less heart among the vessels:
# readers begin and end a structure where it does.
APEX_MM, SULCUS_MM, HEART_TOP_MM = 52.0, 60.0, 45.0


@dataclass(frozen=True)
class RegionTable:
    """Boxes and masks of one film.

    Args:
        boxes: float32 (29, 4), xyxy in [0, 1].
        box_mask: bool (29,); False where the region lies outside the film.
        lungs: Visible lung masks by side, (S, S) bool.
        cavities: As `lungs`, with fluid.
        heart: Cardiac silhouette mask.
        cardiothoracic_ratio: Heart width over inner thoracic width; NaN where either is cut by the film.
    """

    boxes: np.ndarray
    box_mask: np.ndarray
    lungs: dict[str, np.ndarray]
    cavities: dict[str, np.ndarray]
    heart: np.ndarray
    cardiothoracic_ratio: float


def mask_box(mask: np.ndarray) -> Box | None:
    """Tight xyxy box of a mask in pixel edges, or None."""
    rows = np.flatnonzero(mask.any(1))
    if len(rows) == 0:
        return None
    cols = np.flatnonzero(mask.any(0))
    return float(cols[0]), float(rows[0]), float(cols[-1] + 1), float(rows[-1] + 1)


def point_box(points: np.ndarray, radius: np.ndarray | float, camera: Camera) -> Box:
    """Box of spheres around canonical points, in pixel edges."""
    pixels, zoom = camera.project(points)
    reach = np.broadcast_to(np.asarray(radius, float), (len(points),)) * zoom
    low = (pixels - reach[:, None]).min(0) + 0.5
    high = (pixels + reach[:, None]).max(0) + 0.5
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def visible_lungs(maps: np.ndarray, side: str) -> tuple[np.ndarray, np.ndarray]:
    """Masks of the visible lung and of the pleural cavity with its fluid, each (S, S) bool."""
    free = (maps[M["heart"]] < HEART_OVER_LUNG_MM) & (maps[M["abdomen"]] < ABDOMEN_OVER_LUNG_MM)
    free &= maps[M["mediastinum"]] < MEDIASTINUM_OVER_LUNG_MM
    air = maps[M[f"air_{side}"]]
    filled = air + maps[M[f"fluid_{side}"]]
    return _shown(free & (air > LUNG_MM), air, APEX_MM, SULCUS_MM), free & (filled > LUNG_MM)


def _shown(mask: np.ndarray, depth: np.ndarray, top: float, bottom: float) -> np.ndarray:
    """The rows from the first with a depth of `top` mm to the last with one of `bottom` mm; all without them."""
    first = np.flatnonzero((mask & (depth > top)).any(1))
    last = np.flatnonzero((mask & (depth > bottom)).any(1))
    if len(first) and len(last):
        mask[: first[0]] = mask[last[-1] + 1 :] = False
    return mask


def cardiac_silhouette(maps: np.ndarray) -> np.ndarray:
    """Mask of the heart's shadow, (S, S) bool; what sinks into the abdomen's shadow cannot be seen."""
    heart = maps[M["heart"]]
    return _shown((heart > 4.0) & (maps[M["abdomen"]] < ABDOMEN_OVER_HEART_MM), heart, HEART_TOP_MM, 4.0)


def thorax_ratio(maps: np.ndarray, exposed: np.ndarray) -> float:
    """Heart width over inner thoracic width; NaN where the film cuts either."""
    heart = mask_box(cardiac_silhouette(maps) & exposed)
    levels = np.flatnonzero((maps[M["air_right"]] + maps[M["air_left"]] > LUNG_MM).any(1))
    if heart is None or len(levels) == 0:
        return float("nan")
    rows = slice(levels[0], levels[-1] + 1)
    chest = maps[M["cage"], rows] > 4.0
    cut = chest & ~_inner(exposed)[rows]
    box = mask_box(chest)
    # Cut off at the sides only: the chest is widest at the lungs' base, which a film's lower edge may hide.
    if box is None or cut.mean() > 0.02:
        return float("nan")
    return (heart[2] - heart[0]) / (box[2] - box[0])


def _inner(exposed: np.ndarray) -> np.ndarray:
    """The exposed field without the film's outermost columns."""
    inner = exposed.copy()
    inner[:, [0, -1]] = False
    return inner


def build_regions(exposure: Exposure, exposed: np.ndarray | None = None) -> RegionTable:
    """Boxes and masks of an exposure.

    Args:
        exposure: What was projected.
        exposed: Pixels that the collimator left open, (S, S) bool; all by default.
    """
    maps, camera, table = exposure.maps, exposure.camera, exposure.chest.table
    size = camera.size
    if exposed is None:
        exposed = np.ones((size, size), bool)
    frame = mask_box(exposed) or (0.0, 0.0, float(size), float(size))
    mirrored = camera.scale[0] < 0
    found: dict[str, Box | None] = {}
    lungs, cavities = {}, {}
    hila = hilum_centres(exposure.chest)
    for side in SIDES:
        # Inside a mirrored body the patient's right is the canonical left.
        own = side if not mirrored else SIDES[1 - SIDES.index(side)]
        lungs[side], cavities[side] = (mask & exposed for mask in visible_lungs(maps, side))
        _lung_boxes(found, side, lungs[side], cavities[side], maps[M["abdomen"]], frame, camera)
        outward = -1.0 if own == "right" else 1.0
        hilum = hila[SIDES.index(own)]
        corners = hilum + np.array([(-18.0 * outward, 0, 34.0), (30.0 * outward, 0, -38.0)])
        found[f"{side} hilar structures"] = point_box(corners, 0.0, camera)
        found[f"{side} clavicle"] = _chain_box(exposure, f"clavicula_{own}")
    heart_mask = cardiac_silhouette(maps) & exposed
    heart = mask_box(heart_mask)
    found["cardiac silhouette"] = heart
    found["trachea"] = _chain_box(exposure, "trachea")
    found["spine"] = _spine_box(table, camera)
    _vascular_boxes(found, exposure)
    carina = _landmark(-4.0, -27.0, 58.0, table)
    found["carina"] = point_box(carina + np.array([(-16.0, 0, -13.0), (16.0, 0, 13.0)]), 0.0, camera)
    found["upper mediastinum"] = _upper_mediastinum(maps, table, camera)
    found["mediastinum"] = _hull(found["upper mediastinum"], heart)
    abdomen = mask_box((maps[M["abdomen"]] > 20.0) & exposed)
    found["abdomen"] = None if abdomen is None else (*abdomen[:3], frame[3])

    boxes = np.zeros((len(REGION_NAMES), 4), np.float32)
    box_mask = np.zeros(len(REGION_NAMES), bool)
    for index, name in enumerate(REGION_NAMES):
        box = found.get(name)
        if box is None:
            continue
        clipped = np.clip(box, frame[:2] * 2, frame[2:] * 2)
        area = (box[2] - box[0]) * (box[3] - box[1])
        width, height = clipped[2] - clipped[0], clipped[3] - clipped[1]
        if width < 2 or height < 2 or width * height < MIN_VISIBLE * area:
            continue
        boxes[index] = clipped / size
        box_mask[index] = True
    return RegionTable(boxes, box_mask, lungs, cavities, heart_mask, thorax_ratio(maps, exposed))


def _lung_boxes(
    found: dict[str, Box | None],
    side: str,
    lung: np.ndarray,
    cavity: np.ndarray,
    abdomen: np.ndarray,
    frame: Box,
    camera: Camera,
) -> None:
    box, whole = mask_box(lung), mask_box(cavity)
    rows = np.arange(len(lung))[:, None]
    if box is not None:
        found[f"{side} lung"] = box
        height = box[3] - box[1]
        for index, zone in enumerate(("upper", "mid", "lower")):
            start, stop = (box[1] + height * part / 3 for part in (index, index + 1))
            found[f"{side} {zone} lung zone"] = mask_box(
                lung & (rows >= start - 0.5) & (rows < stop - 0.5 + (index == 2))
            )
        found[f"{side} apical zone"] = mask_box(lung & (rows < box[1] + 0.22 * height))
    if whole is None:
        return
    left, _, right, _ = whole
    width = max(0.21 * (right - left), 22.0 / camera.pitch)
    columns = np.arange(len(lung))[None]
    lateral = cavity & ((columns < left + 0.6 * width) if side == "right" else (columns >= right - 0.6 * width))
    corner = mask_box(lateral)
    if corner is None:
        return
    bottom = corner[3]
    # An angle that the film's edge cuts off is not on the film.
    cut = bottom >= frame[3] - 1 or (left <= frame[0] if side == "right" else right >= frame[2])
    if not cut:
        start = left if side == "right" else right - width
        found[f"{side} costophrenic angle"] = (start, bottom - width, start + width, bottom + 0.12 * width)
    dome = mask_box(abdomen[:, int(left) : int(right)] > 20.0)
    if dome is not None:
        top = dome[1] - 4.0 / camera.pitch
        found[f"{side} hemidiaphragm"] = (left, top, right, max(bottom, top + 20.0 / camera.pitch))


def _row(z: float) -> int:
    return int((z - Z_MIN) / Z_STEP + 0.5)


def _landmark(x: float, y: float, z: float, table: np.ndarray) -> np.ndarray:
    return np.array([[x + table[_row(z), C["mid_x"]], y, z]])


def _chain_box(exposure: Exposure, name: str) -> Box | None:
    boxes = [point_box(item.points, item.radius_x, exposure.camera) for item in exposure.chains.get(name, [])]
    if not boxes:
        return None
    corners = np.array(boxes)
    return (*corners[:, :2].min(0).tolist(), *corners[:, 2:].max(0).tolist())  # type: ignore[return-value]


def _spine_box(table: np.ndarray, camera: Camera) -> Box:
    points = []
    for index, (name, z, step) in enumerate(vertebrae()):
        if name[0] == "T":
            row = table[_row(z)]
            half = 12.0 + 0.42 * index
            points += [
                (row[C["spine_x"]] + a * half, row[C["spine_y"]], z + b * 0.4 * step) for a in (-1, 1) for b in (-1, 1)
            ]
    return point_box(np.array(points, float), 0.5, camera)


def _vascular_boxes(found: dict[str, Box | None], exposure: Exposure) -> None:
    camera, table, p = exposure.camera, exposure.chest.table, exposure.chest.scalars
    # Keep radii in proportion with the body: the camera scales positions only.
    scale = float(abs(camera.scale[0]))
    mid = table[_row(72.0), C["mid_x"]]
    arch = np.array(
        [(p["arch_x0"] + mid, p["arch_y0"], p["arch_z0"]), (p["arch_x1"] + mid, p["arch_y1"], p["arch_z1"])]
    )
    found["aortic arch"] = point_box(arch, float(p["arch_r"]) * scale, camera)
    junction = float(p["heart_z"] + 30.0 * p["heart_sz"])
    levels = np.linspace(min(junction, 70.0), 94.0, 12)
    rows = table[[_row(z) for z in levels]]
    svc = np.stack([rows[:, C["mid_x"]] + rows[:, C["svc_x"]], rows[:, C["svc_y"]], levels], axis=1)
    found["svc"] = point_box(svc, np.maximum(rows[:, C["svc_r"]], 7.0) * scale, camera)
    centre = np.array([[svc[0, 0], svc[0, 1], junction]])
    found["cavoatrial junction"] = point_box(centre + np.array([(-15.0, 0, -15.0), (15.0, 0, 15.0)]), 0.0, camera)
    if p["heart_side"] < 0:
        # Of an isolated dextrocardia no film tells where the atrium lies.
        return
    # The atrial ellipsoid of fields.heart_field, in its scaled coordinates.
    mid = table[_row(float(p["heart_z"])), C["mid_x"]]
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    hx = -20.0 + 27.0 * np.cos(angles)
    x = np.where(hx < 0, hx * p["heart_sr"], hx * p["heart_sl"]) + mid
    z = p["heart_z"] + (2.0 + 42.0 * np.sin(angles)) * p["heart_sz"]
    dome = float(p["dome_rz"]) - 8.0
    ring = np.stack([x, np.full_like(x, 16.0), np.maximum(z, dome)], axis=1)
    found["right atrium"] = point_box(ring, 0.0, camera)


def _upper_mediastinum(maps: np.ndarray, table: np.ndarray, camera: Camera) -> Box | None:
    levels, _ = camera.project(np.concatenate([_landmark(0.0, 0.0, 112.0, table), _landmark(0.0, -27.0, 55.0, table)]))
    top, bottom = (round(float(value)) for value in levels[:, 1])
    if bottom <= max(top, 0):
        return None
    start = max(top, 0)
    core = maps[M["mediastinum"], start:bottom] > 35.0
    box = mask_box(core)
    return None if box is None else (box[0], float(top), box[2], float(bottom))


def _hull(a: Box | None, b: Box | None) -> Box | None:
    if a is None or b is None:
        return a or b
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])
