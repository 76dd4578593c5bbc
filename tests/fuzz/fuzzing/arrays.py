"""Arrays in files: NIfTI volumes, indices of regions in safetensors, the arrays of a published mask codec in npz."""

import gzip
import io
import json
import struct
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from anatomy_vlm.neighbours import IndexFileError, RegionIndex
from anatomy_vlm.synthesis.ct.nifti import read_nifti_ct, read_nifti_labels
from anatomy_vlm.synthesis.ct.volume import CTReadError
from anatomy_vlm.training.masks.chexanatomy_npz import CheXanatomyFileError, read_npz
from fuzzing.expect import Finding, attempt, outcome
from fuzzing.mutate import NUMBERS, bytes_of, data_of, dump_json


_METADATA = {
    "case": "c1", "orientation": "PA", "img_shape": (8, 6), "num_structures": 1, "absent": ["liver"],
    "structure_info": {
        "heart": {"label": "heart", "bbox": [1, 1, 5, 4], "segmentation_token": "<loc0001><loc0001><loc0009><loc0009>"}
    },
}  # fmt: skip
RAN: list[int] = []


class Runs:
    """Calls `RAN.append` when it is unpickled."""

    def __reduce__(self) -> Any:
        return (_ran, (1,))


def _ran(number: int) -> None:
    RAN.append(number)


class Arrays:
    """Reads volumes and indices."""

    name = "array"

    def __init__(self, folder: Path, heavy: bool = False) -> None:
        self.folder = folder
        self.nifti = _nifti()
        index = RegionIndex(
            np.eye(4, dtype=np.float16).reshape(2, 2, 4), ("left lung", "right lung"), ("a", "b"), ("p", "q"),
            ({"left lung": ["pneumothorax"]}, {}), "m",
        )  # fmt: skip
        index.save(folder / "seed.safetensors")
        self.index = (folder / "seed.safetensors").read_bytes()
        self.bombs = [gzip.compress(volume_header((2000, 2000, 2000), 16) + bytes(2**24), 1)]

    def case(self, random: Random) -> str:
        draw = random.random()
        if draw < 0.35:
            return self._index(random)
        if draw < 0.6:
            return self._npz(random)
        data = self._volume(random)
        path = self.folder / random.choice(("x.nii", "x.nii.gz"))
        if random.random() < 0.01:
            data, path = random.choice(self.bombs), self.folder / "x.nii.gz"
        elif path.suffix == ".gz":
            data = gzip.compress(data, 1)
            data = bytes_of(random, data) if random.random() < 0.3 else data
        path.write_bytes(data)
        try:
            read = random.choice((read_nifti_ct, read_nifti_labels))
            volume = attempt(CTReadError, read, path)
            return f"{read.__name__} {outcome(volume)}"
        finally:
            path.unlink()

    def _npz(self, random: Random) -> str:
        """CheXanatomy's files: an array and a pickled dictionary of odd values, or with calls that may not be made."""
        image = np.zeros(random.choice(((8, 6), (0, 3), (4,), (2, 3, 4))), random.choice((np.uint8, np.float32, bool)))
        metadata: Any = data_of(random, _METADATA)
        if random.random() < 0.2:
            metadata = {"x": random.choice((Runs(), np.float64(1), np.zeros(3), {1}, b"x", 1j, Path("x")))}
        stream = io.BytesIO()
        try:
            np.savez_compressed(stream, img_array=image, metadata=np.array(metadata, dtype=object))
        except (RecursionError, ValueError):
            return "npz unwritten"
        data = stream.getvalue()
        path = self.folder / "x.npz"
        path.write_bytes(bytes_of(random, data) if random.random() < 0.3 else data)
        try:
            film = attempt(CheXanatomyFileError, read_npz, path)
            if RAN:
                RAN.clear()
                raise Finding("a call of the pickle was made")
            return f"npz {outcome(film)}"
        finally:
            path.unlink()

    def _volume(self, random: Random) -> bytes:
        if random.random() < 0.3:
            return bytes_of(random, self.nifti)
        data = bytearray(self.nifti)
        for _ in range(random.randint(1, 3)):
            kind = random.randrange(4)
            if kind == 0:
                place = 40 + 2 * random.randrange(8)
                data[place : place + 2] = struct.pack("<h", random.choice((-1, 0, 1, 2, 3, 7, 8, 2000, 32_767)))
            elif kind == 1:
                place = random.choice((70, 72, 252, 254))
                data[place : place + 2] = struct.pack(
                    "<h", random.choice((0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 768, 1536, 2304))
                )
            elif kind == 2:
                place = random.choice((76, 80, 84, 88, 108, 112, 116, *range(256, 328, 4)))
                data[place : place + 4] = struct.pack("<f", random.choice((0, -1, 1e30, np.nan, np.inf, 352, -5)))
            else:
                data[: random.choice((0, 4))] = bytes(random.choice((0, 4)))
        return bytes(data)

    def _index(self, random: Random) -> str:
        (size,) = struct.unpack("<Q", self.index[:8])
        header, body = json.loads(self.index[8 : 8 + size]), self.index[8 + size :]
        if random.random() < 0.8:
            header = data_of(random, header)
            if isinstance(header, dict) and isinstance(header.get("__metadata__"), dict) and random.random() < 0.7:
                key = random.choice(("regions", "images", "patients", "findings"))
                odd = data_of(random, json.loads(self._told(key)))
                header["__metadata__"][key] = dump_json(odd)
        text = dump_json(header).encode("utf-8", "surrogatepass")
        length = (
            len(text)
            if random.random() < 0.9
            else random.choice([n for n in NUMBERS if isinstance(n, int) and 0 <= n < 2**64])
        )
        data = struct.pack("<Q", length) + text + body
        path = self.folder / "x.safetensors"
        path.write_bytes(bytes_of(random, data) if random.random() < 0.2 else data)
        try:
            index = attempt(IndexFileError, RegionIndex.load, path)
            if not isinstance(index, Exception):
                found = attempt(IndexFileError, _nearest, index)
                if not isinstance(found, Exception) and not all(isinstance(row["image"], str) for row in found):
                    raise Finding(f"neighbours {found}")
            return f"index {outcome(index)}"
        finally:
            path.unlink()

    def _told(self, key: str) -> str:
        (size,) = struct.unpack("<Q", self.index[:8])
        told: dict[str, Any] = json.loads(self.index[8 : 8 + size])["__metadata__"]
        return str(told[key])


def _nearest(index: RegionIndex) -> Any:
    return index.nearest(np.ones(4), "left lung", 5, model="m")


def volume_header(shape: tuple[int, int, int], datatype: int) -> bytes:
    """A NIfTI-1 header of float32 (16), int16 (4) or float64 (64) and the four bytes behind it."""
    import nibabel

    kind = {4: np.int16, 16: np.float32, 64: np.float64}[datatype]
    header = nibabel.Nifti1Header()
    header.set_data_dtype(kind)
    header.set_data_shape(shape)
    header.set_sform(np.diag([1.0, 1.0, 2.0, 1.0]), code=1)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    return bytes(header.binaryblock) + b"\0" * 4


def _nifti() -> bytes:
    hu = np.linspace(-1000, 400, 6 * 8 * 10).astype("<i2")
    return volume_header((10, 8, 6), 4) + hu.tobytes()
