"""CSV, gzip and zip files that loaders read."""

import gzip
import io
import zipfile
from pathlib import Path
from random import Random

import datasets

from anatomy_vlm.training.loaders.arrow_table import ArrowTable
from anatomy_vlm.training.loaders.errors import DatasetError
from anatomy_vlm.training.loaders.padchest import sentence_labels, words
from anatomy_vlm.training.loaders.tables import column_names, read_json, read_table
from anatomy_vlm.training.loaders.zip_members import ZipMembers
from fuzzing.expect import Finding, attempt, outcome
from fuzzing.mutate import TEXTS, bytes_of, text_of


_CSV = 'id,patient, mask ,Note\na,p1,1 2 9 3,"two\nlines, ""quoted"""\nb,p2,,\n\nc,p3,-1,x\n'
_CELLS = ("['a', ' loc right']", "[['a'], ['b', 'loc left']]", "['a'], ['b']", "[", "(" * 300, "-" * 9000 + "1",
"[" * 90_000,
          "{'a': 1}", "'a' 'b'", "b'a'", "1 if 1 else 2", "__import__('os')", "[*a]", "'" * 7, "['\\N{DIGIT ONE}']",
          "[1j]",
          "['a']" + ", ['a']" * 3000, "~" * 3000 + "1", "f'{1}'", "'\\ud800'", "1_0", "lambda: 0")  # fmt: skip


class Tables:
    """Reads tables to their end and members by their names."""

    name = "table"

    def __init__(self, folder: Path, heavy: bool = False) -> None:
        self.folder = folder
        datasets.config.HF_DATASETS_CACHE = folder / "cache"
        self.bombs = _bombs(2**31 if heavy else 2**25)
        self.zip = _zip()

    def case(self, random: Random) -> str:
        kind = random.randrange(8)
        if random.random() < 0.002:
            name, data = random.choice(self.bombs)
            return f"bomb {self._read(random, name, data)}"
        if kind < 2:
            return self._read(random, "x.zip", _odd_zip(random, self.zip))
        if kind == 2:
            text = random.choice(_CELLS) if random.random() < 0.4 else text_of(random, random.choice(_CELLS[:3]))
            return f"cell {outcome(attempt(DatasetError, random.choice((words, sentence_labels)), text, 'a cell'))}"
        text = text_of(random, _CSV)
        data = text.encode("utf-8", "surrogatepass")
        if random.random() < 0.3:
            data = bytes_of(random, data)
        name = "x.csv"
        if random.random() < 0.3:
            data, name = gzip.compress(data, 1), "x.csv.gz"
            data = bytes_of(random, data) if random.random() < 0.6 else data
        return self._read(random, name, data)

    def _read(self, random: Random, name: str, data: bytes) -> str:
        path = self.folder / name
        path.write_bytes(data)
        try:
            if name.endswith(".zip"):
                return f"zip {outcome(_read_members(path))}"
            if random.random() < 0.15:
                return f"json {outcome(attempt(DatasetError, read_json, path))}"
            if random.random() < 0.3:
                return f"arrow {outcome(attempt(DatasetError, _read_arrow, path))}"
            attempt(DatasetError, column_names, path)
            return f"csv {outcome(attempt(DatasetError, _read_rows, path))}"
        finally:
            path.unlink()


def _read_rows(path: Path) -> int:
    count = 0
    for row in read_table(path, ("id", "patient"), ("mask", "absent")):
        if set(row) != {"id", "patient", "mask", "absent"} or not all(isinstance(cell, str) for cell in row.values()):
            raise Finding(f"a row {row}")
        count += 1
    return count


def _read_arrow(path: Path) -> None:
    table = ArrowTable(path, ("id", "patient", "mask"))
    try:
        if {"id", "patient"} <= set(table.table.column_names):
            list(table.pairs("id", "patient"))
        for number in range(min(len(table), 3)):
            table.row(number)
    finally:
        table._table = None
        table.path.unlink(missing_ok=True)


def _read_members(path: Path) -> object:
    archive = attempt(DatasetError, ZipMembers, path)
    if isinstance(archive, Exception):
        return archive
    last: object = None
    for name in archive.names()[:20]:
        if "/" in name:
            raise Finding(f"a member with a path: {name!r}")
        last = attempt(DatasetError, archive.read, name)
    return last


def _zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("scene_graph/d1_SceneGraph.json", '{"objects": []}' * 20, zipfile.ZIP_DEFLATED)
        archive.writestr("scene_graph/d2_SceneGraph.json", "{}", zipfile.ZIP_STORED)
        archive.writestr("../../d3_SceneGraph.json", "[1]", zipfile.ZIP_DEFLATED)
        archive.writestr("scene_graph/", "")
    return stream.getvalue()


def _odd_zip(random: Random, data: bytes) -> bytes:
    if random.random() < 0.4:
        return bytes_of(random, data)
    content = bytearray(data)
    # Fields of the entries of the central directory (PKWARE APPNOTE 4.3.12).
    places = [i for i in range(len(content) - 4) if content[i : i + 4] == b"PK\1\2"]
    for _ in range(random.randint(1, 3)):
        place = random.choice(places)
        offset, size = random.choice(((8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2), (42, 4)))
        number = random.choice((0, 1, 8, 9, 12, 14, 99, 255, 65_535, 2**31, 2**32 - 1)) % 256**size
        content[place + offset : place + offset + size] = number.to_bytes(size, "little")
    return bytes(content)


def zip_bomb(size: int) -> bytes:
    """An archive whose only scene graph inflates to `size` bytes."""
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("d1_SceneGraph.json", "w", force_zip64=True) as member,
    ):
        for _ in range(size >> 20):
            member.write(bytes(2**20))
    return stream.getvalue()


def gzip_bomb(size: int, line: bytes = b"") -> bytes:
    """A gzipped table whose first cell, or whose rows, are of `size` bytes."""
    block = line * (2**20 // len(line)) if line else b"1" * 2**20
    # Members one after another are one file.
    return gzip.compress(b"id,patient\n") + gzip.compress(block) * (size >> 20)


def _bombs(size: int) -> list[tuple[str, bytes]]:
    many = io.BytesIO()
    with zipfile.ZipFile(many, "w") as archive:
        for number in range(2000 if size < 2**28 else 20_000):
            archive.writestr(f"{number}.json", "")
    return [
        ("x.zip", zip_bomb(min(size, 2**27))), ("x.zip", many.getvalue()), ("x.csv.gz", gzip_bomb(size)),
        ("x.csv.gz", gzip_bomb(size // 16, b"a,b\n")), ("x.csv", b"id,patient\n" + b"1" * (size // 16)),
        ("x.csv", ("id,patient\n" + random_cells()).encode()),
    ]  # fmt: skip


def random_cells() -> str:
    return "\n".join(
        ",".join(f'"{text}"' for text in TEXTS[:20] if '"' not in text and "\ud800" not in text) for _ in range(50)
    )
