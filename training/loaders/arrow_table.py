"""A large CSV as an Arrow file in the cache, so that its rows are read without holding it in memory."""

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv

from anatomy_vlm.training.loaders.errors import DatasetError


# See `tables`; the disk is the user's.
_MOST_TIMES, _FREE = 200, 2**28


class ArrowTable:
    """
    Text columns of a CSV, by row number. Converted once, and again when the CSV changes. May be copied into other
    processes.

    Args:
        source: CSV file with a header, plain or gzipped; cells may hold line breaks.
        columns: Columns to keep, as far as they are there.

    Raises:
        DatasetError: not a table.
    """

    def __init__(self, source: str | Path, columns: Sequence[str]):
        import datasets

        self.source = Path(source)
        stat = self.source.stat()
        key = repr((str(self.source.resolve()), stat.st_size, stat.st_mtime_ns, tuple(columns)))
        folder = Path(datasets.config.HF_DATASETS_CACHE) / "anatomy_vlm_tables"
        self.path = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.arrow"
        if not self.path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            self._convert(columns)
        self._table: pa.Table | None = None

    def _convert(self, columns: Sequence[str]) -> None:
        options = {
            "read_options": pyarrow.csv.ReadOptions(block_size=1 << 26),
            "parse_options": pyarrow.csv.ParseOptions(newlines_in_values=True),
        }
        handle, beside = tempfile.mkstemp(dir=self.path.parent, suffix=".part")
        os.close(handle)
        try:
            with pyarrow.csv.open_csv(self.source, **options) as reader:
                header = reader.schema.names
            kept = [name for name in columns if name in header]
            convert = pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.large_string()), include_columns=kept, strings_can_be_null=False
            )
            with (
                pyarrow.csv.open_csv(self.source, convert_options=convert, **options) as reader,
                pa.OSFile(beside, "wb") as file,
                pa.ipc.new_file(file, reader.schema) as writer,
            ):
                for batch in reader:
                    writer.write_batch(batch)
                    if file.tell() > max(_FREE, _MOST_TIMES * self.source.stat().st_size):
                        raise OSError(f"it unpacks to more than {_MOST_TIMES} times its size")
            os.replace(beside, self.path)
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise DatasetError(f"{self.source}: cannot be read as a table: {error}") from error
        finally:
            Path(beside).unlink(missing_ok=True)

    @property
    def table(self) -> pa.Table:
        """The columns, memory-mapped."""
        if self._table is None:
            self._table = pa.ipc.open_file(pa.memory_map(str(self.path))).read_all()
        return self._table

    def __len__(self) -> int:
        return self.table.num_rows

    def pairs(self, first: str, second: str) -> Iterator[tuple[str, str]]:
        """The values of two columns, row by row."""
        for batch in self.table.select([first, second]).to_batches():
            yield from zip(batch.column(0).to_pylist(), batch.column(1).to_pylist())

    def row(self, number: int) -> dict[str, str]:
        """The cells of a row by column."""
        return {name: values[0] for name, values in self.table.slice(number, 1).to_pydict().items()}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_table": None}

    def __repr__(self) -> str:
        return f"ArrowTable({self.path.name})"
