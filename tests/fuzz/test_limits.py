"""The limits, each by the smallest input that goes beyond it: what was found once stays refused."""

import contextlib
import gzip
import json
import logging
import subprocess
import sys
import threading
import traceback
import warnings
from pathlib import Path

import numpy as np
import pytest
import yaml

from anatomy_vlm.neighbours import IndexFileError, RegionIndex
from anatomy_vlm.processing import dicom
from anatomy_vlm.processing.codestream import stream_size
from anatomy_vlm.processing.data_files import MAX_DEPTH, DataFileError, one_line, parse_json, parse_yaml
from anatomy_vlm.processing.image_io import ImageReadError, read_image
from anatomy_vlm.processing.intensity_anatomy_vlm import window_to_uint8
from anatomy_vlm.processing.quiet_decoders import quiet_decoders
from anatomy_vlm.processing.report_reading import read_report
from anatomy_vlm.processing.report_reading.sentences import split_sentences
from anatomy_vlm.training.loaders import zip_members
from anatomy_vlm.training.loaders.errors import DatasetError
from anatomy_vlm.training.loaders.folder import Folder
from anatomy_vlm.training.loaders.mimic_layout import MimicFiles
from anatomy_vlm.training.loaders.paths import path_inside
from anatomy_vlm.training.loaders.prepared import shard_files
from anatomy_vlm.training.loaders.run_length import RunLengthError, decode_chexmask, decode_siim
from anatomy_vlm.training.loaders.scaled_image import read_scaled
from anatomy_vlm.training.loaders.scene_graph import read_graph
from anatomy_vlm.training.loaders.tables import read_json, read_table
from anatomy_vlm.training.receipts.errors import ReceiptError
from anatomy_vlm.training.receipts.receipt import load_receipt
from anatomy_vlm.training.recipe import RecipeError, load_recipe
from anatomy_vlm.user_boxes import UserBoxesError, read_user_boxes


sys.path.insert(0, str(Path(__file__).parent))

pytest.importorskip("pydicom", reason="the extra `dicom` is not installed")
from fuzzing import dicoms, images, json_files, tables, yaml_files
from fuzzing.expect import CANARY


def write(folder, name, data):
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


# Pictures


def test_a_jpeg_of_very_many_scans_is_refused(tmp_path):
    path = write(tmp_path, "a.jpg", images.many_scans(64, 101))
    for read in (read_image, lambda p: read_scaled(p, 32)):
        with pytest.raises(ImageReadError, match="more than 100 scans"):
            read(path)
    assert read_image(write(tmp_path, "b.jpg", images.many_scans(64, 3))).size == (64, 64)


def test_pages_are_not_counted_to_their_end(tmp_path):
    image = read_image(write(tmp_path, "a.tif", images.many_pages(5000)))
    assert image.metadata["notes"] == ["first of 100 or more pages"] and image.size == (48, 64)


def test_a_file_beyond_any_film_is_refused_unread(tmp_path):
    path = write(tmp_path, "a.dcm", bytes(128) + b"DICM")
    with path.open("r+b") as stream:
        stream.truncate(2**31)  # a hole: it takes no room
    with pytest.raises(ImageReadError, match="2048 MB, over the limit of 1024 MB"):
        read_image(path)


@pytest.mark.slow
@pytest.mark.parametrize("bomb", images.BOMBS, ids=lambda bomb: f"{bomb.func.__name__}{bomb.args}")
def test_the_largest_pictures_take_less_than_four_gigabytes(tmp_path, bomb):
    path = write(tmp_path, "bomb", bomb())
    code = (
        "import sys, resource\n"
        "from anatomy_vlm.processing.image_io import read_image\n"
        "limit = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize() + 4 * 2**30\n"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
        "try:\n    print(read_image(sys.argv[1]).size)\n"
        "except ValueError as error:\n    print(error); sys.exit('MemoryError' in str(error))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


# DICOM


def test_a_deflated_file_inflates_within_bounds(tmp_path, monkeypatch):
    monkeypatch.setattr(dicom, "_MOST_INFLATED", 2**24)
    with pytest.raises(ImageReadError, match="inflates to more than 16 MB"):
        read_image(write(tmp_path, "a.dcm", dicoms.deflated_bomb(2**25)))
    whole = dicoms.encode(dicoms.base_elements(), "<", False)
    squeezed = dicoms.repeated_deflate(b"", 0, whole, raw=True)
    assert read_image(write(tmp_path, "b.dcm", dicoms.file_of(squeezed, dicoms._DEFLATED))).size == (40, 50)


@pytest.mark.parametrize(("kind", "syntax"), [("JPEG", dicoms._JPEG), ("JPEG2000", dicoms._J2K)])
def test_a_frame_of_another_size_than_its_header_is_not_decoded(tmp_path, kind, syntax):
    stream = dicoms.codestream((60_000, 50_000), kind)
    size = stream_size(stream)
    assert (size.height, size.width) == (60_000, 50_000)
    elements = {element[0]: element for element in dicoms.base_elements()}
    elements[0x7FE00010] = (0x7FE00010, "OB", dicoms.encapsulate([b"", stream]), 0xFFFFFFFF)
    body = dicoms.encode([elements[tag] for tag in sorted(elements)], "<", False)
    with pytest.raises(ImageReadError, match="a compressed frame of 50000x60000 pixels in a film of 50x40"):
        read_image(write(tmp_path, "a.dcm", dicoms.file_of(body, syntax)))


@pytest.mark.parametrize("depth", [10, 1000, 20_000])
def test_sequences_within_each_other_end_in_one_line_or_an_image(tmp_path, depth):
    elements = {element[0]: element for element in dicoms.base_elements()}
    elements[0x00082112] = (0x00082112, "SQ", dicoms.nested_sequences(depth), 0xFFFFFFFF)
    body = dicoms.encode([elements[tag] for tag in sorted(elements)], "<", False)
    with contextlib.suppress(ImageReadError):
        assert read_image(write(tmp_path, "a.dcm", dicoms.file_of(body, dicoms._EXPLICIT))).size == (40, 50)


@pytest.mark.parametrize(
    "tag", [0x00280010, 0x00281050, 0x00281053, 0x00280004, 0x00280030, 0x00200020, 0x00185101, 0x00080005, 0x00280008]
)
def test_no_error_log_or_warning_tells_a_patients_name(tmp_path, tag, caplog):
    elements = {element[0]: element for element in dicoms.base_elements()}
    vr = elements[tag][1] if tag in elements else "IS"
    elements[tag] = (tag, "LO" if vr == "US" else vr, CANARY.encode(), None)
    body = dicoms.encode([elements[key] for key in sorted(elements)], "<", False)
    path = write(tmp_path, "a.dcm", dicoms.file_of(body, dicoms._EXPLICIT))
    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        try:
            film = read_image(path)
            said = f"{film.metadata} {film.view}"
        except ImageReadError as error:
            said = "".join(traceback.format_exception(error))
    heard = [said, caplog.text, *(str(warning.message) for warning in caught)]
    assert not [text for text in heard if CANARY.lower() in text.lower()]


def test_decoders_stay_quiet_while_any_thread_reads():
    """`warnings.catch_warnings` of one thread that ends would let the warnings of the others through."""
    inside, leave = threading.Event(), threading.Event()

    def first():
        with quiet_decoders():
            inside.set()
            leave.wait(10)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        thread = threading.Thread(target=first)
        thread.start()
        assert inside.wait(10)
        with quiet_decoders():
            leave.set()
            thread.join()
            warnings.warn(f"Invalid value {CANARY}", stacklevel=1)
            logging.getLogger("pydicom").warning(CANARY)
        assert not caught
        warnings.warn("heard again", stacklevel=1)
    assert [str(warning.message) for warning in caught] == ["heard again"]


# JSON and YAML


@pytest.mark.parametrize("text", ["[" * 100_000, "[" * 200 + "]" * 200, '{"a":' * 500 + "1" + "}" * 500])
def test_deep_json_is_refused(text):
    with pytest.raises(DataFileError, match=r"nested more than|not valid JSON"):
        parse_json(text)


def test_json_is_read_to_its_depth():
    value = parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert isinstance(value, list)
    with pytest.raises(DataFileError, match="not valid JSON"):
        parse_json("1" * 10_000)


@pytest.mark.parametrize(
    "text",
    [
        yaml_files.alias_bomb(9) + "\nx: *a8", "a: &a [*a]", "&a {b: *a}", "[" * 3000 + "]" * 3000, "- " * 3000,
        "a: 2001-99-99", "!!timestamp x", "!!int x", "!!python/object/apply:os.system ['true']", "{[1]: 2}", "a: \0",
        "x" * (2**20 + 1),
    ],
)  # fmt: skip
def test_yaml_beyond_the_limits_is_refused(text):
    with pytest.raises(DataFileError) as caught:
        parse_yaml(text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_aliases_within_reason_are_read():
    assert parse_yaml("a: &a [1, 2]\nb: *a\nc: {<<: {d: 1}}") == {"a": [1, 2], "b": [1, 2], "c": {"d": 1}}
    assert parse_yaml("a: &a {x: 1}\nb: {<<: *a, y: 2}")["b"] == {"x": 1, "y": 2}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("name", ["a"], "'name' must be text"),
        ("seed", True, "'seed' must be a whole number"),
        ("training", [1], "'training' must be a mapping"),
        ("stages", [{"name": "a", "losses": 5}], r"stages\[0\]: 'losses' must be a list"),
        ("stages", [{"name": {}, "losses": ["fine"]}], "'name' must be text"),
        ("data", {"loader": 3}, "data: 'loader' must be text"),
        ("training", {1: 2}, "'training' must be a mapping of keys that are texts"),
    ],
)
def test_recipes_of_wrong_types_name_the_key(tmp_path, key, value, message):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**yaml_files._RECIPE, key: value}))
    with pytest.raises(RecipeError, match=message):
        load_recipe(path)


def test_messages_are_one_line_that_a_terminal_shows_as_it_is():
    assert one_line("a\r\n\x1b[2Jb\u2028c\ud800") == "a ?[2Jb c?"
    assert len(one_line("x" * 10**6)) == 600
    with pytest.raises(RecipeError) as caught:
        raise RecipeError("unknown key 'a\n\x1b]0;title\x07'")
    assert str(caught.value) == "unknown key 'a ?]0;title?'"


@pytest.mark.parametrize(
    "content",
    ["[" * 5000, "[[1, 2, 3, 1" + "0" * 400 + "]]", "[[1, 2, 3, 1" + "0" * 5000 + "]]", b"\xff", '{"a": ' * 90],
)
def test_boxes_of_odd_numbers_and_depths_are_refused(tmp_path, content):
    with pytest.raises(UserBoxesError):
        read_user_boxes(write(tmp_path, "boxes.json", content))


@pytest.mark.parametrize(
    ("path", "value"),
    [("numbers.0.value", "x"), ("data.test.pixels", 5), ("data.test", []), ("model.files", None), ("tolerances", {}),
     ("numbers.0.name", []), ("task", {}), ("data.test.images", "4"), ("code", None)],
)  # fmt: skip
def test_receipts_of_other_kinds_are_refused_before_anything_is_measured(tmp_path, path, value):
    receipt = json.loads(json.dumps(json_files._RECEIPT))
    load_receipt(write(tmp_path, "whole.json", json.dumps(receipt)))
    *parents, last = path.split(".")
    target = receipt
    for key in parents:
        target = target[int(key)] if isinstance(target, list) else target[key]
    target[last] = value
    with pytest.raises(ReceiptError, match="not a whole receipt"):
        load_receipt(write(tmp_path, "receipt.json", json.dumps(receipt)))


# Paths


@pytest.mark.parametrize("name", ["../a.png", "/etc/passwd", "a/../../b", "..", "..\\..\\a", "a\0b", "x" * 5000])
def test_paths_of_a_dataset_stay_in_its_folder(tmp_path, name):
    with pytest.raises(DatasetError, match=r"leaves|longer"):
        path_inside(tmp_path, name, "metadata.csv:2")
    line = json.dumps({"file_name": name, "patient_id": "p"})
    with pytest.raises(DatasetError, match=r"metadata.jsonl:1: .*(leaves|longer)"):
        Folder(str(write(tmp_path, "metadata.jsonl", line).parent))


def test_names_of_tables_reach_no_file_outside(tmp_path):
    write(tmp_path, "secret.txt", "a report of someone else")
    (tmp_path / "mimic" / "files").mkdir(parents=True)
    files = MimicFiles(tmp_path / "mimic")
    for subject, study in (("10", "../../../../secret"), ("../../..", "secret"), ("", "1"), ("10", "a/b")):
        with pytest.raises(DatasetError, match="is no name of a patient, study or film"):
            files.report_text(subject, study)
    with pytest.raises(DatasetError, match="is no name"):
        files.image("10", "1", "../../secret.txt")


@pytest.mark.parametrize("file", ["../outside.parquet", "/etc/hostname"])
def test_shards_lie_below_their_manifest(tmp_path, file):
    shards = [{"split": "train", "rows": 1, "file": file, "bytes": 3}]
    write(tmp_path, "manifest.json", json.dumps({"shards": shards, "request": {"mask": False}}))
    with pytest.raises(DatasetError, match="leaves"):
        shard_files(tmp_path)
    write(tmp_path, "manifest.json", json.dumps({"shards": [{"split": []}], "request": {"mask": False}}))
    with pytest.raises(DatasetError, match="is damaged"):
        shard_files(tmp_path)


@pytest.mark.parametrize("attributes", [{"0": 1}, [{"bbox_name": "left lung", "attributes": [[1]]}]])
def test_scene_graphs_of_another_layout_are_refused(attributes):
    graph = {"objects": [{"bbox_name": None, "original_x1": 1}], "attributes": attributes}
    with pytest.raises(DatasetError, match="is not laid out as a scene graph"):
        read_graph(json.dumps(graph).encode(), "a.json", False)
    boxes = [
        {"bbox_name": name, **{f"original_{c}": 5 for c in ("x1", "y1", "x2", "y2")}} for name in (None, 3, "spine")
    ]
    assert list(read_graph(json.dumps({"objects": boxes}).encode(), "a.json", False).boxes) == ["spine"]


# Archives and tables


def test_members_of_archives_inflate_within_bounds(tmp_path, monkeypatch):
    monkeypatch.setattr(zip_members, "MAX_MEMBER_BYTES", 2**20)
    archive = zip_members.ZipMembers(write(tmp_path, "a.zip", tables.zip_bomb(2**21)))
    with pytest.raises(DatasetError, match=r"d1_SceneGraph\.json is larger than 1 MB"):
        archive.read("d1_SceneGraph.json")
    archive = zip_members.ZipMembers(write(tmp_path, "b.zip", tables.zip_bomb(2**20)))
    assert archive.read("d1_SceneGraph.json") == bytes(2**20)


def test_names_of_members_are_no_paths(tmp_path):
    archive = zip_members.ZipMembers(write(tmp_path, "a.zip", tables._zip()))
    assert archive.names() == ["d1_SceneGraph.json", "d2_SceneGraph.json", "d3_SceneGraph.json"]
    assert archive.read("d3_SceneGraph.json") == b"[1]" and not (tmp_path.parent / "d3_SceneGraph.json").exists()


def test_gzipped_tables_unpack_within_bounds(tmp_path):
    path = write(tmp_path, "a.csv.gz", tables.gzip_bomb(2**27))
    for read in (lambda p: list(read_table(p, ("id",))), read_json):
        with pytest.raises(DatasetError, match=r"unpacks to more than 200 times|a line of more than 64 MB"):
            read(path)
    sound = write(tmp_path, "b.csv.gz", gzip.compress(b"id,patient\na,b\n" * 10))
    assert len(list(read_table(sound, ("id",)))) == 19


@pytest.mark.parametrize("cell", ["nan", "inf", "-1e999"])
def test_numbers_of_tables_are_finite(tmp_path, cell):
    from anatomy_vlm.training.loaders.tables import number, whole_number

    for read in (number, whole_number):
        with pytest.raises(DatasetError, match="expected a number"):
            read(cell, "a.csv: x")
    assert whole_number("1024.0", "a") == 1024
    with pytest.raises(DatasetError, match="whole number"):
        whole_number("1.5", "a")


@pytest.mark.parametrize(
    "text", ["4611686018427387904 4611686018427387904", "2147483649 1", "1 9223372036854775807", "1 4294967295"]
)
def test_run_lengths_do_not_overflow(text):
    for decode in (decode_chexmask, decode_siim):
        with pytest.raises(RunLengthError):
            decode(text, 10, 10)


@pytest.mark.parametrize("size", [(-1, 5), (10**6, 10**6), (2**40, 1), (2**63, 0)])
def test_masks_of_impossible_sizes_are_refused(size):
    for decode, text in ((decode_chexmask, ""), (decode_siim, "-1")):
        with pytest.raises(RunLengthError, match="a mask of"):
            decode(text, *size)


@pytest.mark.parametrize("damage", [{"images": ["a"]}, {"findings": [[]]}, {"regions": None}, {"patients": "ab"}])
def test_a_damaged_index_is_refused(tmp_path, damage):
    index = RegionIndex(np.zeros((2, 1, 4), np.float16), ("left lung",), ("a", "b"), ("p", "q"), ({}, {}), "m")
    vars(index).update(damage)
    index.save(tmp_path / "x.safetensors")
    with pytest.raises(IndexFileError, match="damaged index"):
        RegionIndex.load(tmp_path / "x.safetensors")


def test_a_volume_of_a_few_bytes_does_not_ask_for_gigabytes(tmp_path):
    pytest.importorskip("nibabel")
    from fuzzing.arrays import volume_header

    from anatomy_vlm.synthesis.ct.nifti import read_nifti_ct
    from anatomy_vlm.synthesis.ct.volume import CTReadError

    path = write(tmp_path, "x.nii.gz", gzip.compress(volume_header((32_000, 32_000, 32_000), 64)))
    with pytest.raises(CTReadError, match=r"more than 268,435,456 voxels"):
        read_nifti_ct(path)


def test_tables_in_other_encodings_are_named(tmp_path):
    from anatomy_vlm.training.loaders.nih_chestxray14 import read_nih_boxes

    path = write(tmp_path, "BBox_List_2017.csv", b"Image Index,Finding Label,\xb1\n")
    for read in (read_nih_boxes, lambda p: list(read_table(p, ("id",)))):
        with pytest.raises(DatasetError, match="cannot be read as a table"):
            read(path)


def test_large_films_are_windowed_in_blocks_as_they_are_at_once():
    """More levels than a block, against the same steps on the whole."""
    levels = np.random.default_rng(0).integers(-300, 4000, (1100, 1000)).astype(np.int16)
    first, last = np.percentile(levels, (0.5, 99.5), method="inverted_cdf")
    expected = np.clip(np.rint((levels - float(first)) * (255 / (float(last) - float(first)))), 0, 255)
    assert np.array_equal(window_to_uint8(levels), expected.astype(np.uint8))
    assert np.array_equal(window_to_uint8(levels.astype(np.float32)), expected.astype(np.uint8))


# Reports. Before they were bounded, some of these took minutes and most of an hour.


@pytest.mark.parametrize(
    "text",
    [
        "." * 200_000 + "x",
        "?!" * 100_000 + "x",
        "Lungs are clear. Small left effusion. " * 3000,
        "abcdefgh" * 5000,
        "effusion at the left base, " * 1000,
        "carina " * 200 + "rib fracture " * 2000,
        "\n \n" * 60_000,
        "FINDINGS " * 20_000,
    ],
    ids=lambda text: text[:20],
)
def test_long_reports_come_to_an_end(text):
    assert all(text[s.start : s.end] == s.text for s in read_report(text).statements[:100])


def test_what_lies_beyond_the_limit_of_a_report_is_not_read():
    text = "No effusion. " + " " * 2**20 + "Pneumothorax."
    assert [statement.finding for statement in read_report(text).statements] == ["pleural effusion"]


def test_a_row_of_full_stops_ends_one_sentence():
    text = "Left effusion" + "." * 50 + " No pneumothorax..."
    assert [text[a:b].rstrip(".") for a, b in split_sentences(text)] == ["Left effusion", "No pneumothorax"]
