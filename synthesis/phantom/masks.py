"""Masks of single structures of an exposure, as CheXanatomy has them from CT: footprints on the film, overlapping.

Names are those of TotalSegmentator where it has the structure, so that phantoms and CT scans make one training set:
`lung_left` is all lung along the ray, with what lies behind the heart and the domes. What a reader would outline on
the film has the name of its region in Chest ImaGenome: "left lung", "cardiac silhouette".
"""

import numpy as np

from .camera import Camera
from .film import exposed_field
from .march import M
from .patient import Study
from .primitives import plates, splat
from .profiles import Z_MIN, Z_STEP, C
from .render import Exposure
from .skeleton import Chain, Plates, spine_plates, sternum_plates, vertebrae


# Millimetres of a structure along the ray that make a pixel part of it, as for projected CT labels.
LEAST_MM = {"lung": 15.0, "heart": 4.0, "abdomen": 8.0, "body": 1.0}
CHAINS = ("rib_", "clavicula_", "scapula_", "humerus_", "trachea")


def structure_masks(study: Study, *, keep_empty: bool = False) -> dict[str, np.ndarray]:
    """Footprints of the structures of a study, bool (S, S), without those off the film; sides are the patient's.

    Overlapping structures overlap here: a rib lies over the lung. What the collimator covers is not on the film.
    Findings do not change the footprints of organs, but that a lung filled by fluid is lung where it holds air or
    consolidation. With `keep_empty` the structures off the film are there too, empty: they are known to be absent.
    """
    exposure = study.exposure
    maps, camera = exposure.maps, exposure.camera
    masks = {
        "body": maps[M["body"]] > LEAST_MM["body"],
        "heart": maps[M["heart"]] > LEAST_MM["heart"],
        "abdomen": maps[M["abdomen"]] > LEAST_MM["abdomen"],
        "cardiac silhouette": study.regions.heart,
    }
    for side in ("right", "left"):
        masks[f"lung_{side}"] = maps[M[f"air_{side}"]] > LEAST_MM["lung"]
        masks[f"{side} lung"] = study.regions.lungs[side]
    mirrored = camera.scale[0] < 0
    for name, chains in exposure.chains.items():
        if name.startswith(CHAINS):
            masks[_other_side(name) if mirrored else name] = _footprint(chains, camera)
    masks |= _spine(exposure, study)
    masks |= _vessels(exposure)
    exposed = exposed_field(study.parameters.look, study.parameters.image_size) > 0.5
    masks = {name: mask & exposed for name, mask in masks.items()}
    return {name: mask for name, mask in masks.items() if keep_empty or mask.any()}


def _other_side(name: str) -> str:
    """The name with its side exchanged: in a mirrored body the canonical right is the patient's left."""
    return "_".join({"left": "right", "right": "left"}.get(part, part) for part in name.split("_"))


def _footprint(chains: list[Chain], camera: Camera) -> np.ndarray:
    """Union of the ellipses of chains; a fracture's gap is part of its bone."""
    out = np.zeros((camera.size, camera.size), np.float32)
    for item in chains:
        pixels, zoom = camera.project(item.points)
        radii = np.stack([item.radius_x * zoom, item.radius_z * zoom], axis=1)
        splat(pixels, radii, np.ones(len(pixels)), 0.0, out)
    return out > 0


def _plate_mask(item: Plates, camera: Camera, chosen: slice = slice(None)) -> np.ndarray:
    out = np.zeros((camera.size, camera.size), np.float32)
    centres, half = item.centres[chosen], item.half[chosen]
    pixels, zoom = camera.project(centres)
    up, _ = camera.project(centres + np.array([0.0, 0.0, 4.0]))
    roll = np.arctan2(up[:, 0] - pixels[:, 0], pixels[:, 1] - up[:, 1])
    half = half * np.abs(camera.scale[[0, 2]]) * zoom[:, None]
    axes = np.stack([half[:, 0], half[:, 1], np.cos(roll), np.sin(roll)], axis=1)
    # Half of the soft edge's height is where the edge lies.
    plates(pixels, axes, np.ones(len(centres)), np.ones(len(centres)), out)
    return out > 0.5


def _spine(exposure: Exposure, study: Study) -> dict[str, np.ndarray]:
    body, table = study.parameters.body, exposure.chest.table
    bodies = spine_plates(body, table)[0]
    out = {
        f"vertebral_body_{name}": _plate_mask(bodies, exposure.camera, slice(index, index + 1))
        for index, (name, _, _) in enumerate(vertebrae())
    }
    out["vertebrae_body"] = np.logical_or.reduce(list(out.values()))
    out["sternum"] = _plate_mask(sternum_plates(body, table), exposure.camera)
    return out


def _vessels(exposure: Exposure) -> dict[str, np.ndarray]:
    """Aorta and superior vena cava: at every height a disc, and the arch between its two ends."""
    table, p, camera = exposure.chest.table, exposure.chest.scalars, exposure.camera
    z = Z_MIN + Z_STEP * np.arange(len(table))

    def tube(prefix: str) -> np.ndarray:
        radius = table[:, C[f"{prefix}_r"]]
        seen = radius > 0
        x = table[:, C["mid_x"]] + table[:, C[f"{prefix}_x"]]
        return np.stack([x, table[:, C[f"{prefix}_y"]], z, radius], axis=1)[seen]

    middle = table[int((72.0 - Z_MIN) / Z_STEP + 0.5), C["mid_x"]]
    ends = [[float(p[f"arch_{axis}{end}"]) for axis in "xyz"] for end in (0, 1)]
    start, stop = np.array(ends)
    arch = start + np.linspace(0, 1, 24)[:, None] * (stop - start) + np.array([middle, 0.0, 0.0])
    arch = np.concatenate([arch, np.full((24, 1), float(p["arch_r"]))], axis=1)
    out = {}
    for name, parts in (("aorta", ("asc", "desc", "arch")), ("superior_vena_cava", ("svc",))):
        discs = np.concatenate([arch if part == "arch" else tube(part) for part in parts])
        pixels, zoom = camera.project(discs[:, :3])
        radii = (discs[:, 3] * np.abs(camera.scale[0]) * zoom)[:, None] * np.ones(2)
        layer = np.zeros((camera.size, camera.size), np.float32)
        splat(pixels, radii, np.ones(len(discs)), 0.0, layer)
        out[name] = layer > 0
    return out
