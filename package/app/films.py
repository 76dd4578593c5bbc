"""From a file that somebody uploaded to a film in memory, with nothing left of the file."""

import contextlib
import os
from pathlib import Path

from anatomy_vlm.input_files import IMAGE_SUFFIXES
from anatomy_vlm.prediction import DecodedFilm
from anatomy_vlm.processing.image_io import ImageReadError, read_image


_SUFFIXES = {"DICOM": "dcm", "JPEG": "jpg", "TIFF": "tif"}


def take_film(upload: str | os.PathLike[str], name: str) -> DecodedFilm:
    """Decode an uploaded file and delete it, whether it can be read or not.

    The film is called `name` and what kind of file it was: the name of the file may be a patient's, and goes no
    further. Of a DICOM header only coded, technical values are kept (`read_dicom`).

    Raises:
        ValueError: one line on what is wrong with the file, without its name.
    """
    path = Path(upload)
    suffix = path.suffix.lower() if path.suffix.lower() in IMAGE_SUFFIXES else ""
    neutral = path.with_name(f"{name}{suffix}")
    try:
        # Libraries quote the path of what they cannot read.
        neutral = path.replace(neutral)
        image = read_image(neutral)
    except ImageReadError as error:
        problem = " ".join(error.problem.replace(str(neutral), neutral.name).split())
        raise ValueError(f"The file cannot be read as a film: {problem}.") from None
    except FileNotFoundError:
        raise ValueError("The file is not there any more: choose it again.") from None
    finally:
        discard(path)
        discard(neutral)
    kind = str(image.metadata.get("format") or "image")
    return DecodedFilm(f"{name}.{_SUFFIXES.get(kind, kind.lower())}", image)


def discard(upload: str | os.PathLike[str]) -> None:
    """Delete an uploaded file and the folder that was made for it alone."""
    path = Path(upload)
    with contextlib.suppress(OSError):
        path.unlink()
    with contextlib.suppress(OSError):
        path.parent.rmdir()  # only where it is empty
