"""Where the images of a dataset are, by their names."""

import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from anatomy_vlm.training.loaders.errors import DatasetError


IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm", ".dicom", ".tif", ".tiff", ".bmp")


def image_stem(name: str) -> str:
    """A file name without its folders and image suffixes.

    Examples:
        >>> image_stem("images/1_IM-0001-4001.dcm.png"), image_stem("1.2.840.113")
        ('1_IM-0001-4001', '1.2.840.113')
    """
    stem = name.replace("\\", "/").rsplit("/", 1)[-1]
    while stem.lower().endswith(IMAGE_SUFFIXES):
        stem = stem[: stem.rindex(".")]
    return stem


class ImageIndex:
    """
    The image files below a folder by their names without suffix, found in one walk.

    Args:
        root: Folder that is searched with all its folders.

    Raises:
        DatasetError: no such folder.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
        if not self.root.is_dir():
            raise DatasetError(f"{self.root}: no such folder; give the folder of the images")

    @cached_property
    def _paths(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for folder, folders, names in os.walk(self.root, followlinks=True):
            folders.sort()
            for name in sorted(names):
                # DICOM archives leave the suffix away; tables and notes have one.
                if name.lower().endswith(IMAGE_SUFFIXES):
                    found.setdefault(image_stem(name), os.path.join(folder, name))
        return found

    def __len__(self) -> int:
        return len(self._paths)

    def find(self, name: str) -> str:
        """The file of an image, given its name with or without folders and suffix; "" where there is none."""
        return self._paths.get(image_stem(name), "")


def first_existing(paths: Iterable[str | Path]) -> str:
    """The first of `paths` that is a file, "" if none is."""
    return next((str(path) for path in paths if os.path.isfile(path)), "")
