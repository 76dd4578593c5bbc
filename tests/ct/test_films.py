import numpy as np
import pytest
from PIL import Image

from anatomy_vlm.processing.schema import validate_example
from anatomy_vlm.processing.vocabulary import REGION_NAMES, get_region
from anatomy_vlm.synthesis.ct import (
    CTReadError,
    CTStudy,
    CTVolume,
    LabelVolume,
    ct_example,
    expose_film,
    frame_film,
    label_names,
    read_study,
    standard_geometry,
    study_examples,
    write_chexanatomy,
)
from anatomy_vlm.synthesis.ct.body import body_mask, remove_couch
from anatomy_vlm.synthesis.ct.landmarks import derived_right_atrium
from anatomy_vlm.synthesis.ct.volume import check_same_patient
from anatomy_vlm.synthesis.look import FilmLook, LogResponse, Window
from anatomy_vlm.synthesis.projection import Geometry, voxel_to_world


def make_study(box_chest, mirrored=False):
    hu, values, spacing = box_chest
    names = label_names("totalsegmentator_v2_total")
    if mirrored:
        hu, values = hu[:, :, ::-1].copy(), values[:, :, ::-1].copy()
        swap = {"left": "right", "right": "left"}
        names = {v: "_".join(swap.get(word, word) for word in name.split("_")) for v, name in names.items()}
    present = set(np.unique(values))
    affine = voxel_to_world(spacing, hu.shape)
    ct = remove_couch(CTVolume(hu, affine, "boxes"))
    labels = LabelVolume(values, affine, {v: n for v, n in names.items() if v in present})
    derived = derived_right_atrium([labels])
    return CTStudy(ct, body_mask(ct), (labels, derived) if derived else (labels,))


@pytest.fixture(scope="module")
def study(box_chest):
    return make_study(box_chest)


def boxes_of(film):
    rows, columns = film.image.shape
    found = {}
    for name, mask in film.regions.items():
        y, x = np.nonzero(mask)
        found[name] = (x.min() / columns, y.min() / rows, (x.max() + 1) / columns, (y.max() + 1) / rows)
    return found


def film_of(study, view, size=192):
    return expose_film(study, frame_film(study, standard_geometry(study, view), size))


@pytest.fixture(scope="module")
def films(study):
    return {view: film_of(study, view) for view in ("PA", "AP", "LATERAL")}


def test_the_couch_goes_and_the_body_stays(box_chest):
    hu, _, spacing = box_chest
    ct = CTVolume(hu, voxel_to_world(spacing, hu.shape), "boxes")
    clean = remove_couch(ct)
    assert clean.hu[:, -4:-2].max() == -1000
    assert (clean.hu == ct.hu)[:, :-6].mean() > 0.999
    assert body_mask(ct)[40, 32, 25]


@pytest.mark.parametrize("view", ["PA", "AP", "LATERAL"])
def test_all_29_regions_are_on_each_view(films, view):
    assert set(films[view].regions) == set(REGION_NAMES)
    assert films[view].valid > 0.95
    assert films[view].image.std() > 20


@pytest.mark.parametrize("view", ["PA", "AP"])
def test_right_regions_lie_on_the_images_left(films, view):
    boxes = boxes_of(films[view])
    for name in REGION_NAMES:
        if get_region(name).side == "right":
            left = boxes[get_region(name).mirror]
            assert boxes[name][0] + boxes[name][2] < left[0] + left[2], name
    assert boxes["right atrium"][2] < (boxes["cardiac silhouette"][0] + boxes["cardiac silhouette"][2]) / 2


def test_a_mirrored_patient_gives_mirrored_regions(box_chest, films):
    mirrored = make_study(box_chest, mirrored=True)
    geometry = films["PA"].geometry
    x, y, z = geometry.isocenter_mm
    other = boxes_of(expose_film(mirrored, geometry.replace(isocenter_mm=(-x, y, z))))
    shift = geometry.detector_shift_mm[1] / geometry.detector_size_mm[1]
    for name, (x0, y0, x1, y1) in boxes_of(films["PA"]).items():
        if get_region(name).side is None:
            continue
        flipped = other[get_region(name).mirror]
        expected = (1 - x1 - 2 * shift, y0, 1 - x0 - 2 * shift, y1)
        if "hilar" not in name:
            np.testing.assert_allclose(flipped, expected, atol=0.02, err_msg=name)


def test_regions_stand_where_anatomy_puts_them(films):
    for view in ("PA", "AP", "LATERAL"):
        boxes = boxes_of(films[view])
        for side in ("right", "left"):
            lung = boxes[f"{side} lung"]
            upper, mid, lower = (boxes[f"{side} {zone} lung zone"] for zone in ("upper", "mid", "lower"))
            assert upper[3] <= mid[1] + 0.01 <= mid[3] <= lower[1] + 0.02
            assert boxes[f"{side} apical zone"][1] == pytest.approx(lung[1], abs=0.01)
            assert boxes[f"{side} apical zone"][3] < mid[1] + 0.01
            angle, dome = boxes[f"{side} costophrenic angle"], boxes[f"{side} hemidiaphragm"]
            assert angle[1] < lung[3] < angle[3]
            assert lung[1] + 0.4 * (lung[3] - lung[1]) < dome[1] < dome[3] < lung[3] + 0.05
            if view != "LATERAL":
                outer = lung[0] if side == "right" else lung[2]
                assert angle[0] - 0.01 <= outer <= angle[2] + 0.01
                hilum = boxes[f"{side} hilar structures"]
                assert min(abs(hilum[0] - lung[2]), abs(hilum[2] - lung[0])) < 0.25
        assert boxes["aortic arch"][1] < boxes["carina"][3]
        assert boxes["trachea"][3] <= (boxes["carina"][1] + boxes["carina"][3]) / 2 + 0.02
        junction, heart, svc = (boxes[n] for n in ("cavoatrial junction", "cardiac silhouette", "svc"))
        assert junction[1] < svc[3] < junction[3]
        assert boxes["mediastinum"][3] == pytest.approx(heart[3], abs=0.01)
        assert boxes["upper mediastinum"][3] < heart[3]
        assert boxes["abdomen"][3] == 1
        assert boxes["abdomen"][1] > boxes["carina"][1]


def test_lung_behind_the_dome_does_not_count(study, films):
    liver = study.thickness_mm(films["PA"].projections, "liver") > 8
    assert not (films["PA"].regions["right lung"] & liver).any()


def test_a_missing_structure_leaves_only_its_regions_out(box_chest):
    study = make_study(box_chest)
    names = {v: n for v, n in study.labels[0].names.items() if n not in ("superior_vena_cava", "clavicula_left")}
    poorer = CTStudy(study.ct, study.body, (LabelVolume(study.labels[0].values, study.labels[0].affine, names),))
    film = film_of(poorer, "PA")
    absent = set(REGION_NAMES) - set(film.regions)
    assert absent == {"svc", "cavoatrial junction", "left clavicle", "right atrium"}


def test_a_labelled_right_atrium_is_preferred(box_chest):
    labels = make_study(box_chest).labels[0]
    values = np.zeros_like(labels.values)
    values[30:34, 30:34, 40:44] = 4
    atrium = LabelVolume(values, labels.affine, {4: "heart_atrium_right"})
    assert derived_right_atrium([labels, atrium]) is None


def test_films_of_the_same_seed_are_the_same_and_of_others_differ(study):
    first, again, other = (study_examples(study, views=("PA",), image_size=96, seed=s)[0] for s in (3, 3, 4))
    assert np.array_equal(first["image"], again["image"])
    assert np.array_equal(first["boxes"], again["boxes"])
    assert first["image"].size != other["image"].size or not np.array_equal(first["image"], other["image"])


def test_examples_follow_the_schema_and_carry_masks(study):
    for example in study_examples(study, views=("PA", "AP", "LATERAL"), image_size=128, mask=True):
        validate_example(example)
        mask = np.asarray(example["mask"])
        assert set(np.unique(mask)) == {0, 1, 2, 3}
        assert max(example["image"].size) == 128
        if example["view"] != "LATERAL":
            assert np.nonzero(mask == 1)[1].mean() < np.nonzero(mask == 2)[1].mean()


def test_metal_in_the_scan_changes_the_film_around_it_only(study):
    hu = study.ct.hu.copy()
    hu[60:63, 20:23, 20:24] = 3071
    bright = CTStudy(CTVolume(hu, study.ct.affine, "metal"), study.body, study.labels)
    geometry = frame_film(study, standard_geometry(study, "PA"), 128)
    look = FilmLook((LogResponse(), Window()))
    plain, metal = (expose_film(s, geometry, look).image.astype(int) for s in (study, bright))
    changed = np.abs(plain - metal) > 3
    assert 0 < changed.mean() < 0.02


def test_a_short_scan_is_cropped_to_complete_rays(box_chest):
    hu, values, spacing = box_chest
    affine = voxel_to_world(spacing, hu.shape)
    affine[2, 3] += 24 * 4
    ct = remove_couch(CTVolume(hu[24:64], affine, "short"))
    names = label_names("totalsegmentator_v2_total")
    study = CTStudy(ct, body_mask(ct), (LabelVolume(values[24:64], affine, names),))
    framed = frame_film(study, standard_geometry(study, "PA"), 128)
    film = expose_film(study, framed)
    assert film.valid > 0.97
    height = framed.detector_size_mm[0] / framed.magnification
    assert height < 40 * 4 + 1


def test_a_scan_without_complete_rays_is_refused(box_chest):
    hu, _, spacing = box_chest
    affine = voxel_to_world(spacing, hu.shape)
    ct = CTVolume(hu[40:42].copy(), affine, "sliver")
    with pytest.raises(ValueError, match="too short"):
        frame_film(CTStudy(ct, body_mask(ct)), Geometry.pa(isocenter_mm=(0, 0, 300)), 64)
    with pytest.raises(ValueError, match="unknown view"):
        standard_geometry(CTStudy(ct, body_mask(ct)), "AXIAL")


def test_labels_of_another_patient_are_refused(study):
    moved = study.ct.affine.copy()
    moved[:3, 3] += 500
    with pytest.raises(CTReadError, match="elsewhere"):
        check_same_patient(study.ct, LabelVolume(study.labels[0].values, moved, {}))


def test_chexanatomys_layout(study, tmp_path):
    folders = write_chexanatomy(study, tmp_path, case="c1", image_size=128)
    assert [f.relative_to(tmp_path).as_posix() for f in folders] == ["CT_projections_PA/c1", "CT_projections_LR/c1"]
    for folder in folders:
        names = {p.stem for p in folder.glob("*.png")}
        assert {"ct", "body", "lung_left", "heart", "bones", "liver", "trachea"} <= names
        assert "heart_atrium_right" not in names
        # One of the right lobes is not labelled, so there is no right lung to write.
        assert not names & {"vertebrae_body", "bronchia", "lung_right"}
        pictures = {name: np.asarray(Image.open(folder / f"{name}.png")) for name in names}
        assert {p.shape for p in pictures.values()} == {(128, 128)}
        assert all(set(np.unique(p)) == {0, 255} for name, p in pictures.items() if name != "ct")
        assert list(folder.parent.iterdir()) == [folder]
    masks = {n: np.asarray(Image.open(folders[0] / f"{n}.png")) for n in ("lung_left", "liver")}
    assert np.nonzero(masks["liver"])[1].mean() < np.nonzero(masks["lung_left"])[1].mean()
    before = sorted(p.name for p in folders[0].iterdir())
    assert sorted(p.name for p in write_chexanatomy(study, tmp_path, case="c1", image_size=128)[0].iterdir()) == before
    with pytest.raises(ValueError, match="plain folder name"):
        write_chexanatomy(study, tmp_path, case="../c1")


def test_vertebral_bodies_are_written_where_the_labels_allow(study, tmp_path):
    spine = study.labels[0]
    values = (spine.values == spine.value_of("vertebrae_T6")).astype(np.uint8)
    values[:, 48:] = 0
    bodies = LabelVolume(values, spine.affine, {1: "vertebrae_body"})
    richer = CTStudy(study.ct, study.body, (*study.labels, bodies))
    folder, _ = write_chexanatomy(richer, tmp_path, image_size=96)
    whole, body = (np.asarray(Image.open(folder / f"{n}.png")) for n in ("vertebrae_body", "vertebral_body_T6"))
    assert np.array_equal(whole, body)


@pytest.fixture(scope="module")
def real_films(real_ct):
    study = read_study(real_ct / "ct_4mm.nii.gz", real_ct / "labels_4mm.nii.gz", real_ct / "structures.csv")
    return study, {view: film_of(study, view, 256) for view in ("PA", "LATERAL")}


def test_the_real_ct_gives_both_views_with_all_regions(real_films):
    _, films = real_films
    for film in films.values():
        assert set(film.regions) == set(REGION_NAMES)
        assert film.valid > 0.98
    boxes = boxes_of(films["PA"])
    assert boxes["right lung"][0] < boxes["cardiac silhouette"][0] < boxes["left lung"][2]
    heart, lungs = boxes["cardiac silhouette"], (boxes["right lung"][0], boxes["left lung"][2])
    assert 0.35 < (heart[2] - heart[0]) / (lungs[1] - lungs[0]) < 0.6
    image = films["PA"].image
    lung, mediastinum = films["PA"].regions["right mid lung zone"], films["PA"].regions["cardiac silhouette"]
    assert image[lung].mean() + 40 < image[mediastinum].mean()


def test_contrast_agent_is_taken_out_of_the_heart(real_ct):
    paths = (real_ct / "ct_4mm.nii.gz", real_ct / "labels_4mm.nii.gz", real_ct / "structures.csv")
    kept, removed = (read_study(*paths, remove_contrast=flag) for flag in (False, True))
    heart = kept.labels[0].values == kept.labels[0].value_of("heart")
    assert kept.ct.hu[heart].max() > 200
    assert removed.ct.hu[heart].max() <= 45
    assert np.array_equal(kept.ct.hu[kept.labels[0].values == 0], removed.ct.hu[kept.labels[0].values == 0])


def test_ct_example_reads_files_and_returns_the_schema(real_ct):
    examples = ct_example(
        real_ct / "ct_4mm.nii.gz",
        real_ct / "labels_4mm.nii.gz",
        real_ct / "structures.csv",
        image_size=128,
        seed=1,
        domain="portable",
    )
    assert [e["view"] for e in examples] == ["PA", "LATERAL"]
    for example in examples:
        validate_example(example)
        assert example["box_mask"].sum() >= 27
    plain = ct_example(real_ct / "ct_4mm.nii.gz", views=("PA",), image_size=96)
    validate_example(plain[0])
    assert not plain[0]["box_mask"].any()
