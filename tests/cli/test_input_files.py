"""Files, folders and patterns."""

import pytest

from anatomy_vlm.input_files import InputFilesError, find_images, looks_like_image


def names(paths, root):
    return [path.relative_to(root).as_posix() for path in paths]


def test_folders_are_searched_and_other_files_left_alone(films):
    assert names(find_images([films]), films) == ["a.png", "text.dcm", "truncated.png", "ward/b.jpg"]


def test_patterns_reach_into_folders(films):
    assert names(find_images([str(films / "**" / "*.jpg")]), films) == ["ward/b.jpg"]
    assert names(find_images([str(films / "?.png")]), films) == ["a.png"]


def test_a_named_file_is_taken_whatever_it_is_called_and_only_once(films):
    assert names(find_images([films / "notes.txt", films / "a.png", films]), films)[:2] == ["notes.txt", "a.png"]
    assert len(find_images([films, films / "a.png", str(films / "*.png")])) == 4


def test_dicom_without_suffix_is_recognised(tmp_path):
    (tmp_path / "IM0001").write_bytes(b"\0" * 128 + b"DICM")
    (tmp_path / "headerless").write_bytes(b"\x08\x00\x05\x00CS")
    (tmp_path / "README").write_text("hello")
    (tmp_path / ".hidden.png").write_bytes(b"x")
    assert [path.name for path in find_images([tmp_path])] == ["IM0001", "headerless"]
    assert not looks_like_image(tmp_path / "gone")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone.png", "gone.png: no such file"),
        ("*.bmp", "no image matches this pattern"),
        ("empty", "no images in this"),
    ],
)
def test_nothing_to_read_is_named(films, name, message):
    (films / "empty").mkdir()
    with pytest.raises(InputFilesError, match=message):
        find_images([films / "a.png", str(films / name)])
    with pytest.raises(InputFilesError, match="no images given"):
        find_images([])
