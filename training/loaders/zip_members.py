"""Members of a zip archive, read one by one without unpacking it."""

import os
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

from anatomy_vlm.training.loaders.errors import DatasetError


# The largest scene graphs have some 500 kB, and shrink to a tenth.
MAX_MEMBER_BYTES = 64 * 2**20
_LOCAL_HEADER = struct.Struct("<26xHH")  # lengths of name and extra field (PKWARE APPNOTE 4.3.7)


class ZipMembers:
    """
    The members of an archive by file name, without their folders. May be copied into other processes.

    Args:
        path: The archive.

    Nothing is unpacked to the disk, and no folder of a name is used. A member of more than `MAX_MEMBER_BYTES` is
    refused, whatever size the archive states.

    Raises:
        DatasetError: no such archive, or a damaged one.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        try:
            with zipfile.ZipFile(self.path) as archive:
                infos = archive.infolist()
        except FileNotFoundError:
            raise DatasetError(f"{self.path}: no such file") from None
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, OverflowError, struct.error) as error:
            raise DatasetError(f"{self.path}: damaged archive ({error}); download it again") from error
        # Plain tuples: a quarter of a million ZipInfo objects are slow to hand to another process.
        self._members = {
            info.filename.rsplit("/", 1)[-1]: (info.header_offset, info.compress_size, info.compress_type, info.CRC)
            for info in infos
            if info.filename and not info.is_dir()
        }
        self._file: Any = None
        self._process = 0

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def __len__(self) -> int:
        return len(self._members)

    def names(self) -> list[str]:
        """File names, in the order of the archive."""
        return list(self._members)

    def keep(self, names: set[str]) -> None:
        """Forget all other members, to be light to copy."""
        self._members = {name: member for name, member in self._members.items() if name in names}

    def read(self, name: str) -> bytes:
        """The bytes of a member. Raises `DatasetError` for none of this name, or a damaged one."""
        if name not in self._members:
            raise DatasetError(f"{self.path}: no member {name}")
        offset, length, method, checksum = self._members[name]
        if self._file is None or self._process != os.getpid():
            # A forked process shares the position of its parent's file.
            self._file, self._process = self.path.open("rb"), os.getpid()
        try:
            self._file.seek(offset)
            skipped = sum(_LOCAL_HEADER.unpack(self._file.read(30)))
            self._file.seek(skipped, os.SEEK_CUR)
            data = self._file.read(min(length, MAX_MEMBER_BYTES + 1))
            content = data if method == zipfile.ZIP_STORED else _inflated(data)
        except (struct.error, zlib.error, OSError, ValueError, OverflowError) as error:
            raise DatasetError(f"{self.path}: member {name} is damaged ({error})") from error
        if len(content) > MAX_MEMBER_BYTES:
            raise DatasetError(f"{self.path}: member {name} is larger than {MAX_MEMBER_BYTES >> 20} MB")
        if zlib.crc32(content) != checksum:
            raise DatasetError(f"{self.path}: member {name} is damaged (its checksum differs)")
        return content

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def __repr__(self) -> str:
        stat = self.path.stat()
        return f"ZipMembers({str(self.path)!r}, {stat.st_size}, {stat.st_mtime_ns})"


def _inflated(data: bytes) -> bytes:
    """The bytes that a member inflates to, and no more than one beyond the limit of them."""
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    content = inflate.decompress(data, MAX_MEMBER_BYTES + 1)
    if not inflate.eof and len(content) <= MAX_MEMBER_BYTES:
        raise zlib.error("incomplete data")
    return content
