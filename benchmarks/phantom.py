"""What a film of the parametric chest costs: films per second of one process, with boxes, findings and report.

    python benchmarks/phantom.py [--films 12] [--json]

Every film is a whole example, from the seed to the report. Compiling happens before the clock starts. The figures come
from the median film; the processor's seconds beside those of the clock tell a busy machine from a slow generator. With
`--json`, the last line is one JSON object.
"""

import argparse
import json
import statistics
import time

from anatomy_vlm.synthesis import generate_patient


SIZES = (224, 512)
# Away from the seeds that recipes start at, so that nobody trains on what is timed.
FIRST_SEED = 9_000_000


def seconds_per_film(image_size: int, films: int) -> tuple[list[float], list[float]]:
    """Seconds of the clock and of the processor, one of each per film."""
    wall, cpu = [], []
    for seed in range(FIRST_SEED, FIRST_SEED + films):
        clock, processor = time.perf_counter(), time.process_time()
        generate_patient(seed, image_size=image_size, domain="mixed")
        wall.append(time.perf_counter() - clock)
        cpu.append(time.process_time() - processor)
    return wall, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=12, help="per size (default: 12)")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    args = parser.parse_args()
    # The first call compiles, or loads what was compiled.
    seconds_per_film(SIZES[0], 1)
    found: dict[str, float] = {}
    print(f"parametric chest, one process, medians of {args.films} films")
    print(f"{'pixels':>10}{'s/film':>10}{'CPU s/film':>12}{'films/s':>10}{'films/CPU s':>13}")
    for size in SIZES:
        wall, cpu = (statistics.median(seconds) for seconds in seconds_per_film(size, args.films))
        print(f"{f'{size} x {size}':>10}{wall:10.3f}{cpu:12.3f}{1 / wall:10.2f}{1 / cpu:13.2f}")
        found |= {
            f"films_per_second_{size}": 1 / wall,
            f"seconds_per_film_{size}": wall,
            f"cpu_seconds_per_film_{size}": cpu,
        }
    if args.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
