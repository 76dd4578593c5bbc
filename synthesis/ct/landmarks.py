"""Points of the chest that no label names, found in the label volumes."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from anatomy_vlm.synthesis.ct.volume import LabelVolume


AIRWAYS = ("lung_trachea_bronchia", "trachea")
RIGHT_LOBES = ("lung_upper_lobe_right", "lung_middle_lobe_right", "lung_lower_lobe_right")
LEFT_LOBES = ("lung_upper_lobe_left", "lung_lower_lobe_left")
ESTIMATED_RIGHT_ATRIUM = "right_atrium_estimate"
HEART_CHAMBERS = (
    "heart_myocardium",
    "heart_atrium_left",
    "heart_ventricle_left",
    "heart_atrium_right",
    "heart_ventricle_right",
)


def structure_points(volumes: Sequence[LabelVolume], *names: str) -> np.ndarray:
    """LPS positions (N, 3) of all voxels of the named structures, whichever volume holds them."""
    return np.concatenate([np.zeros((0, 3)), *(volume.points_mm(*names) for volume in volumes)])


def find_landmarks(volumes: Sequence[LabelVolume]) -> dict[str, np.ndarray]:
    """Landmarks by name, LPS mm (3,); those that the labels do not give are left out.

    - carina: centre of the windpipe in the lowest slice before it splits in two.
    - right hilum, left hilum: where the airway's labelled branches end, moved 8 mm outwards; without branches the
      lung's point nearest to the carina at its depth (15 mm before or behind), 12 mm into the lung, the right one
      25 mm below the carina and the left one 10 mm (the left hilum stands higher).
    - cavoatrial junction: centre of the lowest 8 mm of the superior vena cava.
    """
    landmarks: dict[str, np.ndarray] = {}
    carina = _carina(volumes)
    if carina is not None:
        landmarks["carina"] = carina
        airway = structure_points(volumes, *AIRWAYS)
        for name, lobes, outwards, below in (
            ("right hilum", RIGHT_LOBES, -1, 25.0),
            ("left hilum", LEFT_LOBES, 1, 10.0),
        ):
            hilum = _branch_end(airway, carina, outwards)
            if hilum is None:
                hilum = _hilum_of_lung(structure_points(volumes, *lobes), carina, below)
            if hilum is not None:
                landmarks[name] = hilum
    cava = structure_points(volumes, "superior_vena_cava")
    if len(cava):
        landmarks["cavoatrial junction"] = cava[cava[:, 2] <= cava[:, 2].min() + 8].mean(axis=0)
    return landmarks


def _carina(volumes: Sequence[LabelVolume]) -> np.ndarray | None:
    for name in AIRWAYS:
        for volume in volumes:
            value = volume.value_of(name)
            if value is None:
                continue
            airway = volume.values == value
            downwards = np.flatnonzero(airway.any(axis=(1, 2)))
            if volume.affine[2, 2] > 0:
                downwards = downwards[::-1]
            above = None
            for z in downwards:
                pieces, count = ndimage.label(airway[z])
                sizes = np.sort(np.bincount(pieces.reshape(-1))[1:])[::-1]
                if count > 1 and sizes[1] >= 0.15 * sizes[0] and above is not None:
                    row, column = np.argwhere(airway[above]).mean(axis=0)
                    return volume.affine[:3, :3] @ (column, row, above) + volume.affine[:3, 3]
                if count == 1:
                    above = z
    return None


def _branch_end(airway: np.ndarray, carina: np.ndarray, outwards: int) -> np.ndarray | None:
    """End of a main bronchus: what lies within 6 mm of its farthest point; None unless it reaches 15 mm out."""
    reach = (airway[:, 0] - carina[0]) * outwards
    branch = (airway[:, 2] < carina[2]) & (reach > 15)
    if not branch.any():
        return None
    end = airway[branch & (reach >= reach[branch].max() - 6)].mean(axis=0)
    return end + (8.0 * outwards, 0.0, 0.0)


def _hilum_of_lung(lung: np.ndarray, carina: np.ndarray, below: float) -> np.ndarray | None:
    # Farther back the lungs reach behind the heart and across the midline.
    band = lung[(lung[:, 2] < carina[2] - 5) & (lung[:, 2] > carina[2] - 40) & (np.abs(lung[:, 1] - carina[1]) < 15)]
    if not len(band):
        return None
    distance = np.abs(band[:, 0] - carina[0])
    nearest = band[distance <= np.quantile(distance, 0.01)].mean(axis=0)
    return np.array([nearest[0] + 12 * np.sign(nearest[0] - carina[0]), nearest[1], carina[2] - below])


def derived_right_atrium(volumes: Sequence[LabelVolume]) -> LabelVolume | None:
    """A stand-in for a missing right atrium: the right third of the heart below the cavoatrial junction.

    From the heart's right border over 36 % of its width, and from the end of the superior vena cava down to 15 % of
    the heart's height above its base. None where the labels hold a right atrium, or no heart.
    """
    if any(volume.value_of("heart_atrium_right") is not None for volume in volumes):
        return None
    for volume in volumes:
        value = volume.value_of("heart")
        if value is None:
            continue
        heart = volume.points_mm("heart")
        if not len(heart):
            continue
        low, high = heart.min(axis=0), heart.max(axis=0)
        junction = find_landmarks(volumes).get("cavoatrial junction")
        top = high[2] if junction is None else min(junction[2], high[2])
        inside = (
            (heart[:, 0] <= low[0] + 0.36 * (high[0] - low[0]))
            & (heart[:, 2] <= top)
            & (heart[:, 2] >= low[2] + 0.15 * (high[2] - low[2]))
        )
        values = np.zeros_like(volume.values)
        values[tuple(np.argwhere(volume.values == value)[inside].T)] = 1
        return LabelVolume(values, volume.affine, {1: ESTIMATED_RIGHT_ATRIUM})
    return None
