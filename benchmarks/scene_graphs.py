"""Reading Chest ImaGenome's scene graphs from the archive: records a second on one core, and all 242,072 of them.

    python benchmarks/scene_graphs.py [--graphs 2000] [--rounds 3] [--json]

The graphs are synthetic, with every key of the real ones. A record is what training needs of a graph: boxes in
original pixels, statements with region, polarity, severity and phrase, and labels of the image. Beside it: inflating
alone, and inflating and decoding JSON with the standard library through `zipfile`, as a script would. With `--json`,
the last line is one JSON object.
"""

import argparse
import importlib.util
import json
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from anatomy_vlm.training.loaders.layouts.scene_graphs import scene_graph
from anatomy_vlm.training.loaders.scene_graph import graph_boxes, graph_findings, image_labels, json_decoder
from anatomy_vlm.training.loaders.zip_members import ZipMembers


ALL_GRAPHS = 242_072
TARGET_SECONDS = 120


def write_archive(path: Path, count: int) -> tuple[float, float]:
    """Write synthetic graphs; mean KiB of a graph, plain and compressed."""
    size = 0
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(count):
            graph = scene_graph(f"{number:08x}", "19999999", "59999999", 2544, 3056, [number])
            text = json.dumps(graph)
            size += len(text)
            archive.writestr(f"scene_graph/{number:08x}_SceneGraph.json", text)
    return size / count / 1024, path.stat().st_size / count / 1024


def read_records(path: Path) -> int:
    members, decode, statements = ZipMembers(path), json_decoder(), 0
    for name in members.names():
        graph = decode(members.read(name))
        notes: list[str] = []
        boxes = graph_boxes(graph, notes)
        findings = graph_findings(graph, False, notes)
        statements += len(boxes) + len(findings) + len(image_labels(findings))
    return statements


def inflate(path: Path) -> int:
    members = ZipMembers(path)
    return sum(len(members.read(name)) for name in members.names())


def plain_json(path: Path) -> int:
    with zipfile.ZipFile(path) as archive:
        return sum(len(json.loads(archive.read(name))["objects"]) for name in archive.namelist())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graphs", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    methods: dict[str, Callable[[Path], int]] = {
        "inflating alone": inflate,
        "zipfile + json.loads": plain_json,
        "records (ours)": read_records,
    }
    times: dict[str, list[float]] = {name: [] for name in methods}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scene_graph.zip"
        plain, packed = write_archive(path, args.graphs)
        for _ in range(args.rounds):
            for name, method in methods.items():
                begin = time.process_time()
                method(path)
                times[name].append(time.process_time() - begin)
    rates = {name: args.graphs / statistics.median(values) for name, values in times.items()}
    seconds = ALL_GRAPHS / rates["records (ours)"]
    orjson = importlib.util.find_spec("orjson") is not None
    print(f"{args.graphs} graphs of {plain:.1f} KiB, {packed:.1f} KiB compressed; orjson: {'yes' if orjson else 'no'}")
    print(f"{'':<24}{'graphs/s':>10}{'all 242,072':>14}")
    for name, rate in rates.items():
        print(f"{name:<24}{rate:>10,.0f}{ALL_GRAPHS / rate:>12,.0f} s")
    print(f"target: all in {TARGET_SECONDS} s on one core")
    if args.json:
        result = {"graphs_per_second": rates, "seconds_for_all": seconds, "target_seconds": TARGET_SECONDS}
        print(json.dumps({**result, "kib_per_graph": plain, "orjson": orjson, "ok": seconds < TARGET_SECONDS}))


if __name__ == "__main__":
    main()
