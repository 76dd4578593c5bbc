"""Which files a user means by files, folders and glob patterns."""

import glob
from collections.abc import Iterable, Sequence
from pathlib import Path


IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".dcm", ".dicom", ".dic", ".ima"})


class InputFilesError(ValueError):
    """Nothing to read where the user pointed."""


def find_images(inputs: Sequence[str | Path]) -> list[Path]:
    """Expand files, folders (searched recursively) and glob patterns (`**` too) to files, each once, in a fixed order.

    A file that is named is taken whatever it is called; in a folder or a pattern only files are taken that look like
    images: by suffix, or without a suffix by the DICOM prefix.

    Raises:
        InputFilesError: an input that does not exist or matches nothing, or no image at all.
    """
    found: dict[Path, None] = {}
    for item in inputs:
        found.update(dict.fromkeys(_expand(item)))
    if not found:
        raise InputFilesError("no images given; name files, folders or patterns such as 'films/**/*.dcm'")
    return list(found)


def looks_like_image(path: Path) -> bool:
    """Whether a file in a folder is worth opening: a known suffix, or none and DICOM inside.

    Files without a suffix are what DICOM archives export; headerless ones start with group 0008 (PS3.10 section 7).
    """
    if path.name.startswith("."):
        return False
    if path.suffix:
        return path.suffix.lower() in IMAGE_SUFFIXES
    try:
        with path.open("rb") as stream:
            head = stream.read(132)
    except OSError:
        return False
    return head[128:] == b"DICM" or head[:2] == b"\x08\x00"


def _expand(item: str | Path) -> Iterable[Path]:
    path = Path(item)
    if path.is_dir():
        images = [child for child in sorted(path.rglob("*")) if child.is_file() and looks_like_image(child)]
        if not images:
            raise InputFilesError(
                f"{path}: no images in this folder; expected {', '.join(sorted(IMAGE_SUFFIXES))} or DICOM"
            )
        return images
    if path.exists():
        return [path]
    if glob.has_magic(str(item)):
        matches = sorted(Path(match) for match in glob.glob(str(item), recursive=True))
        images = [match for match in matches if match.is_file() and looks_like_image(match)]
        if not images:
            raise InputFilesError(f"{item}: no image matches this pattern; quote it if the shell expands it")
        return images
    raise InputFilesError(f"{item}: no such file or folder")
