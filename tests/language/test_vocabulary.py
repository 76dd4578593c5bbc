"""The tables: complete, in order, free of contradictions, and symmetric."""

import subprocess
import sys

import pytest

from anatomy_vlm.processing.vocabulary import (
    ADDITIONAL_REGIONS,
    ATTRIBUTE_KINDS,
    FINDING_NAMES,
    FINDINGS,
    REGION_NAMES,
    REGIONS,
    TECHNICAL_ASSESSMENTS,
    VocabularyError,
    containing_regions,
    dataset_label_names,
    expand_regions,
    get_finding,
    get_region,
    map_dataset_labels,
    mirror_text,
    more_general_findings,
)


ZONES = ["lung", "upper lung zone", "mid lung zone", "lower lung zone", "hilar structures", "apical zone"]
ZONES += ["costophrenic angle", "hemidiaphragm"]
CHEST_IMAGENOME_ORDER = [
    *(f"{side} {zone}" for side in ("right", "left") for zone in ZONES),
    *("trachea", "spine", "right clavicle", "left clavicle", "aortic arch", "mediastinum", "upper mediastinum", "svc"),
    *("cardiac silhouette", "cavoatrial junction", "right atrium", "carina", "abdomen"),
]


def test_regions_are_those_of_chest_imagenome_in_order():
    assert list(REGION_NAMES) == CHEST_IMAGENOME_ORDER and len(REGION_NAMES) == 29
    assert [region.index for region in REGIONS] == list(range(29))
    assert len({*REGION_NAMES, *(region.name for region in ADDITIONAL_REGIONS)}) == 36


@pytest.mark.parametrize("region", REGIONS + ADDITIONAL_REGIONS, ids=lambda region: region.name)
def test_region_mirror(region):
    mirror = get_region(region.mirror)
    assert mirror.mirror == region.name
    assert {region.side, mirror.side} in ({"left", "right"}, {None})
    assert tuple(get_region(parent).mirror for parent in region.parents) == mirror.parents
    if region.side:
        assert region.name.startswith(region.side) and region.mirror == mirror_text(region.name)
        assert mirror_text(region.term) == mirror.term and mirror_text(region.adjective) == mirror.adjective
        assert tuple(map(mirror_text, region.synonyms)) == mirror.synonyms
    else:
        assert mirror_text(region.term) == region.term, "the term of a midline region must survive the mirror"


def test_region_hierarchy():
    assert containing_regions("left costophrenic angle") == ("left lower lung zone", "left lung")
    assert set(containing_regions("right atrium")) == {"cardiac silhouette", "mediastinum"}
    for region in REGIONS:
        assert region.name not in containing_regions(region.name)
        assert {get_region(name).side for name in containing_regions(region.name)} <= {region.side}


def test_region_and_finding_names_for_readers_are_unambiguous():
    regions = [name for region in REGIONS + ADDITIONAL_REGIONS for name in {region.name, *region.synonyms}]
    findings = [name for finding in FINDINGS + TECHNICAL_ASSESSMENTS for name in finding.synonyms]
    for names in (regions, findings):
        assert len(names) == len(set(names)), sorted({name for name in names if names.count(name) > 1})
        assert all(name == name.lower() for name in names)


def test_findings_are_those_of_chest_imagenome_with_ours_at_the_end():
    counts = {}
    for finding in FINDINGS:
        key = finding.category if finding.source == "chest_imagenome" else "extension"
        counts[key] = counts.get(key, 0) + 1
    assert counts == {"anatomicalfinding": 43, "disease": 10, "tubesandlines": 12, "device": 5, "extension": 6}
    assert [finding.index for finding in FINDINGS] == list(range(len(FINDINGS)))
    assert FINDING_NAMES[:3] == ("lung opacity", "airspace opacity", "consolidation")
    assert FINDING_NAMES[42:44] == ("bone lesion", "pneumonia") and FINDING_NAMES[69] == "cardiac pacer and wires"
    assert len(set(FINDING_NAMES)) == len(FINDING_NAMES)
    assert len(TECHNICAL_ASSESSMENTS) == 5 and not {t.name for t in TECHNICAL_ASSESSMENTS} & set(FINDING_NAMES)


@pytest.mark.parametrize("finding", FINDINGS + TECHNICAL_ASSESSMENTS, ids=lambda finding: finding.name)
def test_finding_is_complete_and_has_no_side(finding):
    assert finding.description and set(finding.attributes) == set(ATTRIBUTE_KINDS)
    assert {get_region(name).mirror for name in finding.regions} == set(finding.regions) != set()
    for text in (finding.description, *finding.attributes.values(), *(noun.text for noun in finding.nouns)):
        assert mirror_text(text) == text
    words = [word for severity in finding.severity_words.values() for word in severity]
    assert len(words) == len(set(words))


def test_finding_hierarchy():
    assert more_general_findings("multiple masses/nodules") == (
        "mass/nodule (not otherwise specified)",
        "lung lesion",
        "lung opacity",
    )
    assert set(more_general_findings("hydropneumothorax")) == {"pneumothorax", "pleural effusion"}
    for finding in FINDINGS:
        assert finding.name not in more_general_findings(finding.name)
        for parent in more_general_findings(finding.name):
            assert set(finding.regions) <= set(get_finding(parent).regions), f"{finding.name} where no {parent} can be"


def test_groups_of_regions():
    assert expand_regions(["left lungs"]) == ("left lung",)
    assert expand_regions(["apices", "right apical zone"]) == ("right apical zone", "left apical zone")
    assert expand_regions(["zones"])[0] == "right upper lung zone" and len(expand_regions(["zones"])) == 6
    with pytest.raises(VocabularyError, match="unknown region or group 'upper lungs'"):
        expand_regions(["upper lungs"])


def test_unknown_names_name_the_closest():
    with pytest.raises(VocabularyError, match=r"unknown region 'right lungs'; did you mean 'right lung'"):
        get_region("right lungs")
    with pytest.raises(VocabularyError, match=r"unknown finding 'effusion'; did you mean"):
        get_finding("effusion")


@pytest.mark.parametrize(
    ("dataset", "count"), [("chexpert", 14), ("nih", 16), ("vindr", 29), ("padchest", 106), ("rsna", 3), ("siim", 1)]
)
def test_dataset_labels_lead_to_findings(dataset, count):
    names = dataset_label_names(dataset)
    assert len(names) == count
    for name in names:
        for value in (0, 1):
            assert set(map_dataset_labels(dataset, {name: value})) <= set(FINDING_NAMES)


def test_dataset_labels_say_no_more_than_they_mean():
    assert map_dataset_labels("nih", {"Emphysema": 1}) == {"copd/emphysema": 1}
    assert map_dataset_labels("nih", {"Emphysema": 0}) == {}
    assert map_dataset_labels("vindr", {"Lung tumor": 1}) == {"lung lesion": 1}
    assert map_dataset_labels("vindr", {"Lung tumor": 0}) == {"lung cancer": 0}
    assert map_dataset_labels("chexpert", {"Edema": -1, "Fracture": float("nan")}) == {}
    assert map_dataset_labels("vindr", {"Consolidation": 1, "Lung Opacity": 0}) == {
        "consolidation": 1,
        "lung opacity": 1,
    }
    padchest = map_dataset_labels("padchest", {"laminar atelectasis": 1, "atelectasis": 0, "pneumonia": 0})
    assert padchest == {"linear/patchy atelectasis": 1, "atelectasis": 1, "pneumonia": 0}
    assert map_dataset_labels("nih", {"Mass": 1, "Nodule": 0}) == {"mass/nodule (not otherwise specified)": 1}
    normal = map_dataset_labels("chexpert", {"No Finding": 1, "Support Devices": 1})
    assert normal["pneumonia"] == 0 and normal["support device"] == 1 and "scoliosis" not in normal
    assert map_dataset_labels("chexpert", {"No Finding": 0}) == {}


def test_dataset_labels_reject_what_they_do_not_know():
    with pytest.raises(VocabularyError, match="unknown nih label 'Infiltrations'; did you mean 'Infiltration'"):
        map_dataset_labels("nih", {"Infiltrations": 1})
    assert map_dataset_labels("padchest", {"suture material": 1}, ignore_unknown=True) == {}
    with pytest.raises(VocabularyError, match="no label table for dataset 'mimic'"):
        dataset_label_names("mimic")


def test_importing_the_tables_needs_no_framework():
    """The tables alone, without the package's own registration of models."""
    import anatomy_vlm.processing.vocabulary as vocabulary

    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import vocabulary\n"
        "print('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    folder = str(vocabulary.__path__[0]).removesuffix("vocabulary")
    command = [sys.executable, "-c", script, folder]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == ["False"]
