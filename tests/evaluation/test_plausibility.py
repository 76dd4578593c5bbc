"""The plausibility auditor on drawn chests with their 29 boxes, and on real films with statistics of drawn ones."""

import json

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from anatomy_vlm.processing.image_io import read_image
from anatomy_vlm.processing.plausibility import (
    FLAGS,
    PlausibilityError,
    PlausibilityStatistics,
    fit_plausibility,
    plausibility_evidence,
    plausibility_flags,
)
from anatomy_vlm.processing.vocabulary import REGION_NAMES, get_region


# Where regions lie on a whole film; the patient's right is on the image's left, and the heart to the patient's left.
PLACES = {
    "right lung": (0.12, 0.15, 0.46, 0.80),
    "right upper lung zone": (0.16, 0.15, 0.46, 0.38),
    "right mid lung zone": (0.14, 0.38, 0.46, 0.58),
    "right lower lung zone": (0.12, 0.58, 0.46, 0.80),
    "right hilar structures": (0.34, 0.38, 0.46, 0.56),
    "right apical zone": (0.22, 0.15, 0.42, 0.24),
    "right costophrenic angle": (0.12, 0.74, 0.20, 0.82),
    "right hemidiaphragm": (0.13, 0.72, 0.45, 0.84),
    "trachea": (0.46, 0.08, 0.54, 0.38),
    "spine": (0.44, 0.05, 0.56, 0.95),
    "right clavicle": (0.14, 0.14, 0.45, 0.24),
    "aortic arch": (0.51, 0.30, 0.60, 0.40),
    "mediastinum": (0.38, 0.14, 0.72, 0.84),
    "upper mediastinum": (0.42, 0.14, 0.60, 0.40),
    "svc": (0.41, 0.28, 0.48, 0.46),
    "cardiac silhouette": (0.38, 0.50, 0.74, 0.84),
    "cavoatrial junction": (0.40, 0.46, 0.47, 0.52),
    "right atrium": (0.38, 0.50, 0.48, 0.72),
    "carina": (0.48, 0.37, 0.53, 0.41),
    "abdomen": (0.08, 0.80, 0.92, 0.98),
}


def place_of(name):
    if name in PLACES:
        return PLACES[name]
    x0, y0, x1, y1 = PLACES[get_region(name).mirror]
    return 1 - x1, y0 + 0.02, 1 - x0, y1 + 0.02


def draw_chest(rng, size=96):
    """Boxes (29, 4) and a film: dark air and lungs, gray body, bright mediastinum, heart on the image's right."""
    scale, shift = rng.uniform(0.9, 1.05), rng.normal(scale=0.015, size=2)
    boxes = np.array([place_of(name) for name in REGION_NAMES])
    boxes = (boxes - 0.5) * scale + 0.5 + np.tile(shift, 2) + rng.normal(scale=0.006, size=boxes.shape)
    boxes = boxes.clip(0, 1)
    rows, columns = (np.mgrid[:size, :size] + 0.5) / size
    film = np.where((np.abs(columns - 0.5) < 0.2 + 0.5 * rows) & (rows > 0.06), 140.0, 5.0)

    def ellipse(name, gray):
        x0, y0, x1, y1 = boxes[REGION_NAMES.index(name)]
        inside = ((columns - (x0 + x1) / 2) / (x1 - x0)) ** 2 + ((rows - (y0 + y1) / 2) / (y1 - y0)) ** 2 < 0.25
        film[inside] = gray

    ellipse("right lung", 50)
    ellipse("left lung", 50)
    film[np.abs(columns - 0.5 - shift[0]) < 0.05] = 190
    ellipse("cardiac silhouette", 210)
    ellipse("aortic arch", 200)
    film += rng.normal(scale=10, size=film.shape)
    return boxes, film.clip(0, 255).astype(np.uint8)


def mirrored(boxes):
    """What a model says of a flipped film: its right lung is always the one on the image's left."""
    flipped = np.stack([1 - boxes[:, 2], boxes[:, 1], 1 - boxes[:, 0], boxes[:, 3]], axis=1)
    return flipped[[REGION_NAMES.index(get_region(name).mirror) for name in REGION_NAMES]]


def turned(boxes):
    """Boxes after a turn by 90 degrees anticlockwise, as `np.rot90` turns the film."""
    return np.stack([boxes[:, 1], 1 - boxes[:, 2], boxes[:, 3], 1 - boxes[:, 0]], axis=1)


def cropped(boxes, film):
    """The lower left three quarters of the film."""
    window = np.array([0.25, 0.25])
    return np.clip((boxes - np.tile(window, 2)) / 0.75, 0, 1), film[len(film) // 4 :, len(film) // 4 :]


def lateral(boxes, film, rng):
    """One lung in front of a spine at the back, and boxes that make no sense of it."""
    picture = np.full(film.shape, 120.0)
    size = len(film)
    picture[size // 6 : 3 * size // 4, size // 4 : size // 2] = 50
    picture[:, : size // 5] = 5
    picture[:, 3 * size // 4 :] = 210
    return boxes + rng.normal(scale=0.05, size=boxes.shape), picture


def leg(boxes, film, rng):
    """A bright shaft with a joint, aslant, in front of air."""
    rows, columns = np.mgrid[: len(film), : len(film)] / len(film)
    away = np.abs(columns - 0.3 - 0.4 * rows)
    picture = np.where(away < 0.06, 230.0, np.where(away < 0.18, 90.0, 3.0))
    picture[np.abs(rows - 0.5) < 0.03] *= 0.5
    return boxes + rng.normal(scale=0.08, size=boxes.shape), picture


CHANGES = {
    "flipped": lambda boxes, film, rng: (mirrored(boxes), film[:, ::-1]),
    "rotated": lambda boxes, film, rng: (turned(boxes), np.rot90(film)),
    "inverted": lambda boxes, film, rng: (boxes, 255 - film),
    "cropped": lambda boxes, film, rng: cropped(boxes, film),
    "lateral": lateral,
    "not_a_chest": leg,
}


@pytest.fixture(scope="module")
def chests():
    rng = np.random.default_rng(0)
    return [draw_chest(rng) for _ in range(80)]


@pytest.fixture(scope="module")
def statistics(chests):
    train = chests[:60]
    boxes = np.stack([boxes for boxes, _ in train])
    return fit_plausibility(boxes, np.ones(boxes.shape[:2], dtype=bool), [film for _, film in train])


def separation(statistics, flag, good, bad):
    """AUC of the evidence between good and bad films."""
    scores = [plausibility_evidence(statistics, *film)[flag] for film in (*good, *bad)]
    return roc_auc_score([0] * len(good) + [1] * len(bad), scores)


@pytest.mark.parametrize("flag", FLAGS)
def test_each_fault_is_told_from_good_films_and_named(flag, chests, statistics):
    rng = np.random.default_rng(1)
    good = chests[60:]
    bad = [CHANGES[flag](boxes, film, rng) for boxes, film in good]
    assert separation(statistics, flag, good, bad) >= 0.95
    named = [[item["flag"] for item in plausibility_flags(statistics, *film)] for film in bad]
    assert np.mean([flag in names for names in named]) >= 0.9


def test_good_films_are_left_alone(chests, statistics):
    flagged = [bool(plausibility_flags(statistics, *film)) for film in chests[60:]]
    assert np.mean(flagged) <= 0.15


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_every_turn_is_seen_in_the_picture_alone(turns, chests, statistics):
    good = [(boxes, film) for boxes, film in chests[60:]]
    bad = [(boxes, np.rot90(film, turns)) for boxes, film in good]
    assert separation(statistics, "rotated", good, bad) >= 0.95


def test_a_flip_is_seen_in_the_boxes_alone_and_in_the_picture_alone(chests, statistics):
    good = chests[60:]
    assert separation(statistics, "flipped", good, [(mirrored(boxes), film) for boxes, film in good]) >= 0.95
    assert separation(statistics, "flipped", good, [(boxes, film[:, ::-1]) for boxes, film in good]) >= 0.95
    # Twice is none.
    boxes, film = good[0]
    again = plausibility_evidence(statistics, mirrored(mirrored(boxes)), film[:, ::-1][:, ::-1])
    assert again == pytest.approx(plausibility_evidence(statistics, boxes, film))


def test_real_films_with_statistics_of_other_real_films(real_data):
    """The picture alone, with the same boxes for every film, as from a model that knows the prior only."""
    folder = real_data / "cxr_wingspan_ctr" / "png"
    if not folder.is_dir():
        pytest.skip(f"{folder.parent.name} is not in the folder of real data")
    films = [np.asarray(Image.open(file).convert("L").resize((64, 64))) for file in sorted(folder.glob("*.png"))]
    boxes = np.array([place_of(name) for name in REGION_NAMES])
    train, good = films[::2], [(boxes, film) for film in films[1::2]]
    learned = fit_plausibility(np.stack([boxes] * len(train)), np.ones((len(train), 29), dtype=bool), train)
    spoil = {
        "flipped": [lambda film: film[:, ::-1]],
        "rotated": [lambda film, turns=turns: np.rot90(film, turns) for turns in (1, 2, 3)],
        "inverted": [lambda film: 255 - film],
    }
    for flag, changes in spoil.items():
        for change in changes:
            assert separation(learned, flag, good, [(boxes, change(film)) for _, film in good]) >= 0.95, flag
    assert np.mean([bool(plausibility_flags(learned, *film)) for film in good]) <= 0.15
    leg_film = read_image(real_data / "dicom_radiographs" / "other_body_parts" / "RG3_RLE.dcm").pixels
    legs = [(boxes, leg_film), (boxes, leg_film[:, ::-1]), (boxes, np.rot90(leg_film))]
    assert separation(learned, "not_a_chest", good, legs) >= 0.95


def test_the_rules_are_those_of_a_chest(statistics):
    def index(*names):
        return [REGION_NAMES.index(name) for name in names]

    assert index("right lung", "left lung") in statistics.left_of
    assert index("left lung", "right lung") not in statistics.left_of
    assert index("carina", "abdomen") in statistics.above
    assert index("right mid lung zone", "right lung") in statistics.inside
    assert [*index("right lung"), 0] in statistics.clear_sides


def test_window_and_size_of_the_film_change_little(chests, statistics):
    boxes, film = chests[70]
    other = Image.fromarray(((film / 255.0) ** 0.5 * 200).astype(np.uint8)).resize(
        (192, 192), Image.Resampling.NEAREST
    )
    first, second = (plausibility_evidence(statistics, boxes, pixels) for pixels in (film, np.asarray(other)))
    assert all(abs(first[flag] - second[flag]) < 0.5 for flag in FLAGS)


def test_statistics_travel_as_json(chests, statistics):
    again = PlausibilityStatistics.from_dict(json.loads(json.dumps(statistics.to_dict(), allow_nan=False)))
    assert plausibility_evidence(again, *chests[0]) == plausibility_evidence(statistics, *chests[0])
    with pytest.raises(PlausibilityError, match="version 2"):
        PlausibilityStatistics.from_dict({**statistics.to_dict(), "version": 2})
    with pytest.raises(PlausibilityError, match="'template'"):
        PlausibilityStatistics.from_dict({k: v for k, v in statistics.to_dict().items() if k != "template"})


def test_missing_regions_and_empty_pictures_are_judged_too(chests, statistics):
    boxes, film = chests[70]
    fewer = boxes.copy()
    fewer[::3] = np.nan
    assert all(np.isfinite(list(plausibility_evidence(statistics, fewer, film).values())))
    nothing = plausibility_evidence(statistics, np.full((29, 4), np.nan), np.zeros((50, 40), dtype=np.uint8))
    assert all(np.isfinite(list(nothing.values())))
    assert nothing["not_a_chest"] > plausibility_evidence(statistics, boxes, film)["not_a_chest"]


def test_bad_input_is_named(chests, statistics):
    boxes, film = chests[0]
    with pytest.raises(PlausibilityError, match="shape"):
        plausibility_evidence(statistics, boxes[:5], film)
    with pytest.raises(PlausibilityError, match="height, width"):
        plausibility_evidence(statistics, boxes, film[..., None])
    with pytest.raises(PlausibilityError, match="at least 10"):
        fit_plausibility(boxes[None], np.ones((1, 29)), [film])
    stack, mask = np.stack([boxes] * 12), np.ones((12, 29), dtype=bool)
    mask[:, 3] = False
    with pytest.raises(PlausibilityError, match="no film shows the region 'right lower lung zone'"):
        fit_plausibility(stack, mask, [film] * 12)
