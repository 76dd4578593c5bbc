"""Training on prepared shards as they are: rows are read when asked for, and nothing is unpacked into a cache.

Parquet reads a row group at a time. The order of an epoch therefore mixes the rows of a few dozen groups at a time,
and is made so that processes which share a batch read different groups. Like any other order it depends on seed and
epoch alone: so a stream trains as the unpacked dataset would in that order, by any number of processes and workers,
and one that was interrupted goes on at the image where it stopped, without reading what came before.
"""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq
import torch

from anatomy_vlm.training.prepared import prepare_example
from anatomy_vlm.training.recipe import Recipe, RecipeError


# Row groups whose rows are mixed. Divided by the processes and steps of accumulation, it is what each keeps open.
LANES = 32
PIXELS = ("image", "mask")
# Images from which the mean boxes of a stream are taken.
SAMPLED_BOXES = 2048


def mixed_order(groups: Sequence[int], generator: torch.Generator, lanes: int = LANES) -> list[int]:
    """
    A permutation of rows that are kept in groups of the given sizes, one after another.

    The groups are dealt at random to lanes; each lane gives the rows of one group after the other, shuffled within the
    group, and the lanes take turns. Once some lanes are at their end, the others take turns without them.
    """
    starts = np.cumsum([0, *groups])
    rows: list[list[np.ndarray]] = [[] for _ in range(lanes)]
    for turn, group in enumerate(torch.randperm(len(groups), generator=generator).tolist()):
        rows[turn % lanes].append(starts[group] + torch.randperm(groups[group], generator=generator).numpy())
    table = np.full((max(sum(map(len, lane)) for lane in rows), lanes), -1, dtype=np.int64)
    for number, lane in enumerate(rows):
        if lane:
            members = np.concatenate(lane)
            table[: len(members), number] = members
    order = table.reshape(-1)
    return order[order >= 0].tolist()


class ShardStream:
    """
    The examples of a split in its Parquet shards. By name of a column, what is no picture, of all of them; by number,
    one example whole.

    Args:
        files: The shards, in order.
        schema: Features of the examples.
    """

    def __init__(self, files: Sequence[str], schema: datasets.Features):
        self.files = list(files)
        self.schema = schema
        self._facts: datasets.Dataset | None = None
        self._readers: dict[str, pq.ParquetFile] = {}
        self._groups: OrderedDict[int, datasets.Dataset] = OrderedDict()
        self.groups: list[tuple[str, int, int]] = []  # file, number of the group within it, rows
        for file in self.files:
            layout = pq.read_metadata(file)
            self.groups += [(file, g, layout.row_group(g).num_rows) for g in range(layout.num_row_groups)]
        self.starts = np.cumsum([0, *(size for *_, size in self.groups)])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_readers": {}, "_groups": OrderedDict()}

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def facts(self) -> datasets.Dataset:
        """All but the pictures, of every example."""
        if self._facts is None:
            kept = datasets.Features({name: kind for name, kind in self.schema.items() if name not in PIXELS})
            loaded = datasets.load_dataset(
                "parquet", data_files={"shards": self.files}, split="shards", features=kept, columns=list(kept)
            )
            self._facts = loaded
        return self._facts

    @property
    def column_names(self) -> list[str]:
        return list(self.schema)

    def select_columns(self, names: list[str]) -> datasets.Dataset:
        return self.facts.select_columns(names)

    def with_format(self, kind: str) -> datasets.Dataset:
        return self.facts.with_format(kind)

    def order(self, seed: int, epoch: int) -> list[int]:
        """The rows of an epoch."""
        generator = torch.Generator().manual_seed(seed + epoch)
        return mixed_order([size for *_, size in self.groups], generator)

    def __getitem__(self, key: int | str) -> Any:
        if isinstance(key, str):
            return self.facts[key]
        if not 0 <= key < len(self):
            raise IndexError(f"there is no example {key} of {len(self)}")
        number = int(np.searchsorted(self.starts, key, side="right")) - 1
        return self._group(number)[int(key - self.starts[number])]

    def _group(self, number: int) -> datasets.Dataset:
        """The rows of a group; the last ones that were asked for stay in memory."""
        if number in self._groups:
            self._groups.move_to_end(number)
            return self._groups[number]
        file, group, _ = self.groups[number]
        if file not in self._readers:
            self._readers[file] = pq.ParquetFile(file, memory_map=True)
        table = self._readers[file].read_row_group(group, columns=[name for name in self.schema if name != "mask"])
        kept = datasets.Features({name: kind for name, kind in self.schema.items() if name != "mask"})
        rows = datasets.Dataset(datasets.table.InMemoryTable(table).cast(kept.arrow_schema))
        self._groups[number] = rows.cast(kept) if rows.features != kept else rows
        # One more than are mixed, for the turn from one group of a lane to its next.
        while len(self._groups) > LANES + 1:
            self._groups.popitem(last=False)
        return self._groups[number]


class StreamedImages:
    """
    What `prepare_dataset` makes of examples, made when it is asked for.

    Args:
        stream: The examples.
        image_processor, side, sampler: As for `prepare_example`.
        seed: Of the order.
    """

    cache_files: Sequence[dict[str, str]] = ()

    def __init__(self, stream: ShardStream, image_processor: Any, side: int, sampler: Any, seed: int):
        self.stream = stream
        self.image_processor = image_processor
        self.side = side
        self.sampler = sampler
        self.seed = seed

    def __len__(self) -> int:
        return len(self.stream)

    def __getitem__(self, index: int) -> dict[str, bytes]:
        return prepare_example(self.stream[index], self.image_processor, self.side, self.sampler)

    def order(self, epoch: int) -> list[int]:
        return self.stream.order(self.seed, epoch)

    def select_columns(self, names: Sequence[str]) -> list[dict[str, bytes]]:
        """The columns of some examples, evenly spread; for a mean they tell enough."""
        count = min(len(self), SAMPLED_BOXES)
        rows = [index * len(self) // count for index in range(count)]
        return [{name: value for name, value in self[row].items() if name in names} for row in rows]


def training_splits(recipe: Recipe, splits: Any) -> dict[str, Any]:
    """
    The splits of a recipe as they are trained on: those of a prepared dataset that is streamed with `ShardStream` for
    the training images.

    Raises:
        RecipeError: for any other stream, whose every epoch would decode every film again, on every device.
    """
    train = splits[recipe.data.train]
    if not isinstance(train, datasets.IterableDataset):
        return splits
    if recipe.data.loader != "prepared":
        raise RecipeError(
            f"recipe {recipe.name}: data: a stream cannot be trained on; leave `streaming` out, or decode the "
            f"films once by `anatomy-vlm prepare {recipe.data.loader}` and use the loader prepared"
        )
    from anatomy_vlm.training.loaders.prepared import shard_files

    files, schema = shard_files(Path(recipe.data.arguments["path"]))
    loaded: dict[str, Any] = {name: ShardStream(members, schema) for name, members in files.items()}
    owner: dict[str, str] = {}
    for name, split in loaded.items():
        for patient in set(split["patient_id"]):
            if owner.setdefault(patient, name) != name:
                raise RecipeError(
                    f"{recipe.data.arguments['path']}: patient '{patient}' is in the splits '{owner[patient]}' and "
                    f"'{name}'"
                )
    return {**splits, recipe.data.train: loaded[recipe.data.train]}
