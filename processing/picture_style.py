"""Colours and weights of anatomical regions in pictures."""

from __future__ import annotations

from dataclasses import dataclass


Colour = tuple[int, int, int]

# Okabe and Ito's palette, which readers with any colour vision tell apart; https://jfly.uni-koeln.de/color/
SKY, VERMILLION, YELLOW = (86, 180, 233), (240, 112, 40), (240, 228, 66)
GREEN, PURPLE, GRAY = (0, 190, 140), (226, 140, 190), (200, 200, 200)

INK, PAPER, FAINT = (235, 235, 235), (16, 16, 18), (130, 130, 135)


@dataclass(frozen=True)
class RegionGroup:
    """Regions drawn alike. `words` are looked for in a region's name; the first group that has one takes it."""

    title: str
    colour: Colour
    words: tuple[str, ...]


GROUPS = (
    RegionGroup("diaphragm, abdomen", GREEN, ("diaphragm", "abdomen", "costophrenic", "stomach")),
    RegionGroup("bones", PURPLE, ("clavic", "vertebra", "spine", "rib", "scapula", "humer", "sternum")),
    RegionGroup("heart, great vessels", VERMILLION, ("cardiac", "heart", "atri", "ventric", "aort", "svc", "cava")),
    RegionGroup("lungs", SKY, ("lung", "apical", "hilar", "hilum")),
    RegionGroup("mediastinum, airways", YELLOW, ("mediastin", "trachea", "carina", "bronch")),
)
OTHER_GROUP = RegionGroup("other", GRAY, ())

STRONG_REGIONS = ("right lung", "left lung", "cardiac silhouette", "mediastinum")
MAIN_REGIONS = (
    *STRONG_REGIONS,
    "trachea",
    "aortic arch",
    "right hemidiaphragm",
    "left hemidiaphragm",
    "right costophrenic angle",
    "left costophrenic angle",
)


def group_of(name: str) -> RegionGroup:
    """
    The group in which a region is drawn.

    >>> group_of("left hilar structures").title
    'lungs'
    """
    return next((group for group in GROUPS if any(word in name.lower() for word in group.words)), OTHER_GROUP)


def short_name(name: str) -> str:
    """
    A region's name as short as a label on the film needs: the patient's side as a letter, no filling words.

    >>> short_name("right costophrenic angle"), short_name("left upper lung zone"), short_name("svc")
    ('R costophrenic', 'L upper zone', 'SVC')
    """
    words = [{"right": "R", "left": "L", "svc": "SVC"}.get(word, word) for word in name.split()]
    if "zone" in words and "lung" in words:
        words.remove("lung")
    if words[-1] in ("angle", "structures", "silhouette") and len(words) > 1:
        words = words[:-1] if words[-1] != "silhouette" else ["heart"]
    return " ".join(words)
