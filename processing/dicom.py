"""Read a DICOM radiograph: decode, apply its grayscale pipeline, and lay it out as a radiologist hangs it."""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from anatomy_vlm.processing.codestream import stream_size, too_many_scans
from anatomy_vlm.processing.dicom_display import render
from anatomy_vlm.processing.dicom_orientation import hang, pixel_spacing, view_position
from anatomy_vlm.processing.picture_file import check_size
from anatomy_vlm.processing.quiet_decoders import quiet_decoders
from anatomy_vlm.processing.radiograph import ImageReadError, RadiographImage


_EXTRA = 'pip install "anatomy-vlm[dicom]"'
_DEFLATED = "1.2.840.10008.1.2.1.99"
# What a deflated file may inflate to: a film of as many pixels as are read, of 32 bits.
_MOST_INFLATED = 2**29
_PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def read_dicom(path: Path, max_pixels: int, max_side: int) -> RadiographImage:
    """
    Read a single-frame DICOM file (PS3.10), with or without preamble, in any transfer syntax that pydicom's plugins
    decode. Nothing of the patient is kept: the metadata holds only coded, technical attributes.

    Raises [`ImageReadError`] for what is not DICOM, has no or several frames, is damaged, or needs a missing codec.
    """
    with quiet_decoders():  # pydicom warns of every value that breaks its VR, and quotes it; none concerns pixels
        try:
            return _read(path, max_pixels, max_side)
        except ImageReadError:
            raise
        except Exception as error:
            # pydicom parses an element when it is asked for, and raises nearly anything on damaged bytes. Its messages
            # quote the values, which may be a patient's: only the kind of error goes into ours, and no traceback
            # shows it as the cause.
            problem = f"not a readable DICOM file ({type(error).__name__}); copy it again from its source"
            raise ImageReadError(path, problem) from None


def _read(path: Path, max_pixels: int, max_side: int) -> RadiographImage:
    data_set = _load(path)
    _check_frames(path, data_set)
    check_size(path, int(data_set.Rows), int(data_set.Columns), max_pixels, max_side)
    stored = _decode(path, data_set)
    metadata = _describe(data_set)
    if not np.isfinite(stored).all():
        raise ImageReadError(path, "its pixels hold NaN or infinity; export the film again")
    pixels, transposed = hang(render(stored, data_set, metadata), data_set, metadata)
    spacing = pixel_spacing(data_set)
    if spacing is not None and transposed:
        spacing = spacing[1], spacing[0]
    return RadiographImage(
        pixels=np.ascontiguousarray(pixels), view=view_position(data_set), metadata=metadata, pixel_spacing=spacing
    )


def _load(path: Path) -> Any:
    try:
        import pydicom
    except ImportError:
        raise ImageReadError(path, f"reading DICOM needs pydicom; {_EXTRA}") from None
    _check_inflation(path)
    data_set = pydicom.dcmread(path, force=True)
    is_image = all(data_set.get(keyword) for keyword in ("Rows", "Columns"))
    is_data_set = is_image or "SOPClassUID" in data_set or "MediaStorageSOPClassUID" in data_set.file_meta
    if not is_data_set:
        raise ImageReadError(path, "not a DICOM file, nor a PNG, JPEG, TIFF or BMP; check what it holds")
    if not is_image or not any(keyword in data_set for keyword in _PIXEL_KEYWORDS):
        raise ImageReadError(path, "DICOM without pixels (a report, a presentation state?); give the image object")
    if "TransferSyntaxUID" not in data_set.file_meta:
        data_set.file_meta.TransferSyntaxUID = _assumed_transfer_syntax(path, data_set)
    return data_set


def _check_inflation(path: Path) -> None:
    """Raises [`ImageReadError`] for a deflated file that inflates to more than any film: pydicom has no limit."""
    from pydicom.filereader import read_file_meta_info

    with path.open("rb") as stream:
        head = stream.read(4096)
        # Nearly all files are told by this look alone.
        if head[128:132] != b"DICM" or _DEFLATED.encode() not in head:
            return
        meta = read_file_meta_info(path)
        length = meta.get("FileMetaInformationGroupLength")
        if str(meta.get("TransferSyntaxUID", "")) != _DEFLATED or length is None:
            raise ImageReadError(path, "its header is damaged; copy it again from its source")
        stream.seek(128 + 4 + 12 + int(length))
        inflate, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while not inflate.eof and (block := inflate.unconsumed_tail or stream.read(1 << 16)):
            total += len(inflate.decompress(block, 1 << 22))
            if total > _MOST_INFLATED:
                problem = f"too large: it inflates to more than {_MOST_INFLATED >> 20} MB; export it without deflation"
                raise ImageReadError(path, problem)


def _assumed_transfer_syntax(path: Path, data_set: Any) -> Any:
    """A file without meta header is uncompressed; how its elements parsed tells its encoding (PS3.5 section 10)."""
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if "PixelData" in data_set and data_set["PixelData"].is_undefined_length:
        raise ImageReadError(path, "compressed DICOM without a transfer syntax in its header; export the film again")
    implicit, little_endian = data_set.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little_endian else ExplicitVRBigEndian


def _check_frames(path: Path, data_set: Any) -> None:
    frames = int(data_set.get("NumberOfFrames") or 1)
    if frames > 1:
        raise ImageReadError(path, f"multi-frame DICOM ({frames} frames), not one radiograph; export one frame")


def _decode(path: Path, data_set: Any) -> np.ndarray:
    """Stored values `(rows, columns)`, or `(rows, columns, 3)` in RGB."""
    from pydicom.pixels import get_decoder
    from pydicom.pixels.processing import apply_color_lut

    syntax = data_set.file_meta.TransferSyntaxUID
    if not syntax.is_transfer_syntax:
        raise ImageReadError(path, "its header names no known transfer syntax; export the film again")
    if syntax.is_compressed and not syntax.is_deflated:
        try:
            available = get_decoder(syntax).is_available
        except NotImplementedError:
            raise ImageReadError(
                path, f"transfer syntax {syntax.name} is not supported; export it uncompressed"
            ) from None
        if not available:
            raise ImageReadError(path, f"no decoder for {syntax.name} is installed; {_EXTRA}")
        _check_stream(path, data_set)
    try:
        stored = data_set.pixel_array
        if data_set.get("PhotometricInterpretation") == "PALETTE COLOR":
            stored = apply_color_lut(stored, data_set)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a decoder written in Rust panics past Exception
        # Its message may quote values of the header.
        problem = f"damaged pixel data ({type(error).__name__}); copy it again from its source"
        raise ImageReadError(path, problem) from None
    if stored.ndim not in (2, 3) or stored.shape[:2] != (data_set.Rows, data_set.Columns):
        raise ImageReadError(path, f"pixel data of shape {stored.shape} is not one radiograph; export one frame")
    return stored


def _check_stream(path: Path, data_set: Any) -> None:
    """Raises [`ImageReadError`] for a compressed frame of another size than the header's: decoders go by their own."""
    from pydicom.encaps import get_frame

    try:
        frame = get_frame(data_set.PixelData, 0, number_of_frames=1)
    except Exception:
        return  # the decoder says what is wrong
    size = stream_size(frame)
    if size is not None and (size.height, size.width) != (data_set.Rows, data_set.Columns):
        raise ImageReadError(
            path,
            f"damaged pixel data: a compressed frame of {size.width}x{size.height} pixels in a film of "
            f"{data_set.Columns}x{data_set.Rows}; copy it again from its source",
        )
    if (size is not None and size.components > 4) or (frame.startswith(b"\xff\xd8") and too_many_scans(frame)):
        raise ImageReadError(path, "damaged pixel data: more channels or scans than films have; export it again")


def _describe(data_set: Any) -> dict[str, Any]:
    return {
        "format": "DICOM",
        "modality": _code(data_set.get("Modality")),
        "body_part": _code(data_set.get("BodyPartExamined")),
        "photometric_interpretation": _code(data_set.get("PhotometricInterpretation")),
        "transfer_syntax": data_set.file_meta.TransferSyntaxUID.name,
        "bits_stored": int(data_set.get("BitsStored") or data_set.get("BitsAllocated") or 0),
        "notes": [],
    }


def _code(value: Any) -> str:
    """A value only if it is a Code String (PS3.5 section 6.2): free text may hold anything, also a name."""
    text = str(value or "").strip().upper()
    return text if re.fullmatch(r"[A-Z0-9_ ]{1,16}", text) else ""
