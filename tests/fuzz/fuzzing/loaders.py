"""The tables of every dataset's layout with odd cells and values, read as far as examples."""

import gzip
from pathlib import Path
from random import Random
from typing import Any

import datasets

from anatomy_vlm.processing.radiograph import ImageReadError
from anatomy_vlm.training.loaders import open_source
from anatomy_vlm.training.loaders.errors import DatasetError
from anatomy_vlm.training.loaders.layouts import LAYOUTS, write_layout
from anatomy_vlm.training.recipe import RecipeError
from fuzzing.expect import Finding, attempt, outcome
from fuzzing.mutate import NUMBERS, TEXTS, bytes_of, data_of, dump_json, text_of


_TABLES = (".csv", ".csv.gz", ".json", ".jsonl", ".xml", ".txt", ".zip")
_OUTSIDE = "outside the root"


class Loaders:
    """Changes one file of a layout, opens the dataset, makes the example of each of its first films."""

    name = "loader"

    def __init__(self, folder: Path, heavy: bool = False) -> None:
        self.layouts = []
        datasets.config.HF_DATASETS_CACHE = folder / "cache"
        # What a path that leaves its root could reach.
        (folder / "secret.txt").write_text(f"FINDINGS: {_OUTSIDE}.", encoding="utf-8")
        for name in sorted(LAYOUTS):
            if name == "ct_projection":
                continue  # its cases are volumes, see the kind `array`
            root = folder / name
            arguments = write_layout(name, root, num_patients=4)
            files = [path for path in sorted(root.rglob("*")) if path.name.endswith(_TABLES)]
            self.layouts.append((name, arguments, files))

    def case(self, random: Random) -> str:
        name, arguments, files = random.choice(self.layouts)
        path = random.choice(files)
        before = path.read_bytes()
        path.write_bytes(_changed(random, path.name, before))
        try:
            return f"{name} {outcome(self._read(name.partition('-')[0], arguments))}"
        finally:
            path.write_bytes(before)

    def _read(self, name: str, arguments: dict[str, Any]) -> Any:
        source = attempt((DatasetError, RecipeError), open_source, name, arguments)
        if isinstance(source, Exception):
            return source
        last: Any = None
        for entry in source.entries[:3]:
            last = attempt((DatasetError, ImageReadError), source.sample, entry, 32)
            if not isinstance(last, Exception) and _OUTSIDE in last.example["report"]:
                raise Finding(f"{entry.image_id}: the report of a file outside the folder")
        return last


def _changed(random: Random, name: str, data: bytes) -> bytes:
    if name.endswith(".zip") or random.random() < 0.1:
        return bytes_of(random, data)
    if name.endswith(".gz"):
        return gzip.compress(_changed(random, name[:-3], gzip.decompress(data)), 1)
    text = data.decode("utf-8", "replace")
    if name.endswith(".json"):
        import json

        return dump_json(data_of(random, json.loads(text))).encode("utf-8", "surrogatepass")
    lines = text.splitlines(keepends=True)
    for _ in range(random.randint(1, 4)):
        place = random.randrange(len(lines))
        if name.endswith(".csv") and random.random() < 0.8:
            cells = lines[place].rstrip("\n").split(",")
            odd = random.choice(
                (*TEXTS, *map(str, NUMBERS), "../" * 8 + "etc/hostname", "../secret", "../../secret.txt")
            )
            cells[random.randrange(len(cells))] = '"' + odd.replace('"', '""') + '"'
            lines[place] = ",".join(cells) + "\n"
        else:
            lines[place] = text_of(random, lines[place])
    return "".join(lines).encode("utf-8", "surrogatepass")
