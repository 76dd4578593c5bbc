"""CheXanatomy's training files: one NPZ a film, with the boxes and mask tokens of its structures.

    python -m anatomy_vlm.training.masks.chexanatomy_npz FOLDER_OF_CASES OUT --codec vae-oid.npz

`img_array` is the film, `metadata` a pickled dictionary (github.com/sergiosgatidis/CheXanatomy): `case`, `orientation`
("PA", "LR", "ax"), `img_shape`, `num_structures` and `structure_info` by structure: `label`, `bbox` (y0, x0, y1, x1,
pixels, the last ones included), `bbox_norm`, `bbox_token`, `segmentation_token`. Reading runs no code of the file.
Unlike the published ones our files have tight boxes, and `absent`, the structures known to be off the film.
"""

import argparse
import io
import pickle
import sys
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from tqdm.auto import tqdm

from anatomy_vlm.modeling.mask_codec_anatomy_vlm import RasterCodec
from anatomy_vlm.modeling.mask_raster_anatomy_vlm import crop_to_box, mask_box
from anatomy_vlm.processing.atomic_files import replacing
from anatomy_vlm.processing.data_files import one_line
from anatomy_vlm.processing.mask_text_anatomy_vlm import MaskGrammar, read_answer
from anatomy_vlm.training.masks.codec_files import load_codec


PUBLISHED = MaskGrammar()
# A film of 120 million pixels of 8 bits.
_MOST_BYTES = 120_000_000
# What NumPy's own pickles of arrays and numbers are made of, in versions 1 and 2.
_SAFE = {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}
_SAFE |= {(f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")}


class CheXanatomyFileError(ValueError):
    """A file that is not in CheXanatomy's layout; one line that names it."""


@dataclass(frozen=True)
class CodedShape:
    """
    A structure as tokens.

    Args:
        box: y0, x0, y1, x1, edges as fractions of the film.
        codes: Its shape tokens inside the box; empty where the file has none.
    """

    box: tuple[float, float, float, float]
    codes: tuple[int, ...] = ()


@dataclass(frozen=True)
class CheXanatomyFilm:
    """
    The content of a file.

    Args:
        image: uint8 `(height, width)`.
        orientation: "PA", "LR" (lateral) or "ax".
        case: Its name.
        shapes: By structure.
        absent: Structures known to be off the film; the published files do not say.
    """

    image: np.ndarray = field(repr=False)
    orientation: str
    case: str
    shapes: dict[str, CodedShape]
    absent: tuple[str, ...] = ()


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _SAFE:
            raise pickle.UnpicklingError(f"it would run {module}.{name}")
        return super().find_class(module, name)


def _member(archive: zipfile.ZipFile, name: str) -> BinaryIO:
    """A member in memory; `zipfile` never unpacks more of it than the size that the archive states."""
    size = archive.getinfo(name).file_size
    if size > _MOST_BYTES:
        raise ValueError(f"{name} unpacks to {size >> 20} MB, more than {_MOST_BYTES >> 20}")
    return io.BytesIO(archive.read(name))


def _read_object(file: BinaryIO) -> Any:
    """The one Python object of an `.npy` member, made of plain values alone."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if shape != () or not dtype.hasobject:
        raise ValueError(f"it is an array of shape {shape}, no dictionary")
    return _Unpickler(file).load().item()


def read_npz(path: str | Path) -> CheXanatomyFilm:
    """
    Read a film with its structures.

    Raises:
        CheXanatomyFileError: for a file of another layout, or one whose pickle holds more than plain values.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            image = np.load(_member(archive, "img_array.npy"), allow_pickle=False)
            metadata = _read_object(_member(archive, "metadata.npy"))
        if image.ndim != 2:
            raise ValueError(f"img_array has the shape {image.shape}, not (height, width)")
        shapes = {str(name): _shape(info, image.shape) for name, info in metadata["structure_info"].items()}
        return CheXanatomyFilm(
            image.astype(np.uint8),
            str(metadata["orientation"]),
            str(metadata.get("case", Path(path).stem)),
            shapes,
            tuple(map(str, metadata.get("absent", ()))),
        )
    except FileNotFoundError:
        raise CheXanatomyFileError(f"{path}: there is no such file") from None
    except Exception as error:
        reason = f"no {error}" if isinstance(error, KeyError) else one_line(error, 300)
        raise CheXanatomyFileError(f"{path}: not a training file of CheXanatomy: {reason}") from error


def _shape(info: Mapping[str, Any], size: Sequence[int]) -> CodedShape:
    y0, x0, y1, x1 = (float(edge) for edge in info["bbox"])
    height, width = size
    # The last row and column are inside: what was cut out and coded ends behind them.
    box = (y0 / height, x0 / width, (y1 + 1) / height, (x1 + 1) / width)
    answers = read_answer(f"{info.get('segmentation_token') or ''} x", PUBLISHED)
    codes = answers[0].codes[4:] if answers else ()
    return CodedShape(box, tuple(codes))


def write_npz(
    path: str | Path,
    image: np.ndarray,
    masks: Mapping[str, np.ndarray],
    codec: RasterCodec,
    *,
    orientation: str = "PA",
    case: str | None = None,
    absent: Iterable[str] = (),
) -> None:
    """
    Write a film with its structures; a file is whole or not there.

    Args:
        path: Of the file.
        image: uint8 `(height, width)`.
        masks: bool `(height, width)` by structure; empty ones are noted as absent.
        codec: With PaliGemma's tokens, whatever it was trained on.
        orientation: "PA", "LR" or "ax".
        case: Its name; None is that of the file.
        absent: Further structures known to be off the film.

    Raises:
        ValueError: for a codec with other tokens than PaliGemma's, or a mask of another size than the film.
    """
    if codec.code_sizes != (1024,) * 4 + (128,) * 16:
        raise ValueError("CheXanatomy's files hold PaliGemma's tokens, 4 of 1024 and 16 of 128; name such a codec")
    gone, rasters = list(absent), []
    boxes: dict[str, list[int]] = {}
    for name, mask in masks.items():
        if mask.shape != image.shape:
            raise ValueError(f"{path}: the mask of {name!r} is {mask.shape}, but the film {image.shape}")
        tensor = torch.from_numpy(np.ascontiguousarray(mask))
        box = mask_box(tensor)
        if box is None:
            gone.append(name)
            continue
        boxes[name] = [int(box[0]), int(box[1]), int(box[2]) - 1, int(box[3]) - 1]
        rasters.append(crop_to_box(tensor, box, codec.side))
    with torch.no_grad():
        codes = codec.encode_rasters(torch.stack(rasters)).tolist() if rasters else []
    info = {name: _info(name, boxes[name], shape, image.shape) for name, shape in zip(boxes, codes, strict=True)}
    metadata = {
        "case": case or Path(path).stem,
        "orientation": orientation,
        "img_shape": tuple(image.shape),
        "num_structures": len(info),
        "structure_info": info,
        "absent": sorted(set(gone)),
    }
    with replacing(path) as beside:
        np.savez_compressed(beside, img_array=image, metadata=np.array(metadata, dtype=object))


def _info(name: str, box: list[int], codes: list[int], size: Sequence[int]) -> dict[str, Any]:
    norm = [round(edge / extent, 3) for edge, extent in zip(box, (*size, *size))]
    places = [min(round(edge * 1023), 1023) for edge in norm]
    return {
        "label": name,
        "bbox": tuple(box),
        "bbox_norm": tuple(norm),
        "bbox_token": PUBLISHED.write(places),
        "segmentation_token": PUBLISHED.write([*places, *codes]),
    }


def convert_cases(folder: str | Path, out: str | Path, codec: RasterCodec, progress: bool = True) -> int:
    """
    Write the training files of all cases (`ct.png` and masks beside it) below a folder, and return their number.

    Cases keep their place in the tree; those that have been written before are left alone.

    Raises:
        CheXanatomyFileError: without cases.
    """
    from anatomy_vlm.training.masks.vlm_films import CaseFolders

    cases = CaseFolders(folder)
    for index, case in enumerate(tqdm(cases.folders, desc="cases", unit="film", disable=not progress)):
        path = (Path(out) / case.relative_to(folder)).with_suffix(".npz")
        if not path.exists():
            image, masks = cases.read(index)
            write_npz(path, image, masks, codec, orientation=cases.orientation(index), case=case.name)
    return len(cases)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "folder", type=Path, help="folder with cases, such as `synthesize --format chexanatomy` writes"
    )
    parser.add_argument("out", type=Path, help="folder for the NPZ files")
    parser.add_argument("--codec", type=Path, required=True, help="vae-oid.npz, or a codec with PaliGemma's tokens")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    args = parser.parse_args(arguments)
    try:
        number = convert_cases(args.folder, args.out, load_codec(args.codec), not args.quiet)
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print(f"{args.out}: {number} films")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
