"""Real films with boxes as dataset folders, for `anatomy-vlm tables detection --data`.

    python benchmarks/real_folders.py [--data FOLDER] [--out outputs/real-films]
    anatomy-vlm tables detection \\
        --data Wingspan=outputs/real-films/wingspan --data Hannover=outputs/real-films/hannover

FOLDER is that of `benchmarks/real_films.py`. Each dataset folder gets a `metadata.jsonl` whose lines are all of the
split "test", and a link to the films, which stay where they are.
"""

import argparse
import csv
import json
from pathlib import Path

from real_films import default_data, hannover, wingspan

from anatomy_vlm.processing.atomic_files import write_text


def hannover_patients(folder: Path) -> dict[str, str]:
    """Patient by the name of the film."""
    with (folder / "data.csv").open(newline="") as file:
        return {f"{row['image_id'][:8]}.png": row["patient_id"] for row in csv.DictReader(file)}


def write_folder(out: Path, truth: dict[Path, dict[str, list[float]]], patients: dict[str, str]) -> Path:
    """A dataset folder of films with boxes."""
    films = next(iter(truth)).parent
    out.mkdir(parents=True, exist_ok=True)
    link = out / "films"
    link.unlink(missing_ok=True)
    link.symlink_to(films.resolve(), target_is_directory=True)
    lines = [
        json.dumps(
            {
                "file_name": f"films/{file.name}",
                "patient_id": patients.get(file.name, file.stem),
                "split": "test",
                "boxes": boxes,
            }
        )
        for file, boxes in truth.items()
    ]
    write_text(out / "metadata.jsonl", "\n".join(lines) + "\n")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=default_data())
    parser.add_argument("--out", type=Path, default=Path("outputs/real-films"))
    args = parser.parse_args()
    source = args.data / "cxr_hannover_v7"
    print(write_folder(args.out / "wingspan", wingspan(args.data / "cxr_wingspan_ctr"), {}))
    print(write_folder(args.out / "hannover", hannover(source), hannover_patients(source)))


if __name__ == "__main__":
    main()
