"""Paths that stand in the files of a dataset: they stay below the folder that the user named."""

import os
from pathlib import Path

from anatomy_vlm.training.loaders.errors import DatasetError


_LONGEST = 255  # bytes of a name on the usual file systems


def path_inside(root: str | Path, name: str, where: str) -> Path:
    """
    The path `name` below `root`. Links on the disk are the user's own and are followed.

    Args:
        root: A folder.
        name: Relative path, as a file of the dataset has it.
        where: Names that file in errors.

    Raises:
        DatasetError: an absolute path, or one that leaves the folder.

    Examples:
        >>> path_inside("films", "a/../b.png", "metadata.csv:2").as_posix()
        'films/b.png'
    """
    if any(len(part.encode("utf-8", "surrogatepass")) > _LONGEST for part in name.split("/")) or len(name) > 2000:
        raise DatasetError(f"{where}: '{name[:80]}...' is longer than names of files are")
    plain = os.path.normpath(name.replace("\\", "/") if os.sep == "/" else name)
    if os.path.isabs(plain) or plain.split(os.sep)[0] == os.pardir or "\0" in name:
        raise DatasetError(f"{where}: the path '{name}' leaves {root}; name files by their path below that folder")
    return Path(root, plain)


def plain_name(name: str, where: str) -> str:
    """
    `name`, if it is one part of a path.

    Raises:
        DatasetError: it holds separators, stands for a folder, or is longer than names of files are.

    Examples:
        >>> plain_name("50414267", "metadata.csv")
        '50414267'
    """
    # Room for a letter before it and a suffix after it.
    if len(name.encode("utf-8", "surrogatepass")) > _LONGEST - 8:
        raise DatasetError(f"{where}: '{name[:80]}...' is longer than names of files are")
    if not name or name in (os.curdir, os.pardir) or any(mark in name for mark in "/\\\0"):
        raise DatasetError(f"{where}: '{name}' is no name of a patient, study or film")
    return name
