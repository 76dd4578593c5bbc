"""The tables of the paper, each with intervals, baselines and a receipt that `anatomy-vlm verify` measures again.

zero-shot, regions, detection, queries and probing are measured on synthetic films that no training has seen, which
are drawn once, and on dataset folders of --data. ablation and hard-negatives are made of the runs of a study. For each
NAME the folder --out gets NAME.md, NAME.tex and NAME.json, the receipt.
"""

import argparse
from pathlib import Path

from anatomy_vlm.commands.arguments import positive_int, whole_number


NAMES = ("zero-shot", "regions", "detection", "queries", "probing", "ablation", "hard-negatives")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="+", choices=NAMES, metavar="NAME", help=f"{', '.join(NAMES)}")
    parser.add_argument("--out", type=Path, default=Path("outputs/tables"), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--model", metavar="MODEL", help="folder or Hub id (default: the checkpoint of the package)")
    parser.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="also test on the split 'test' of this dataset folder, under this name (repeatable)",
    )
    parser.add_argument(
        "--patients", type=positive_int, default=500, metavar="N", help="synthetic ones (default: %(default)s)"
    )
    parser.add_argument(
        "--films",
        type=Path,
        default=Path("outputs/table-films"),
        metavar="DIR",
        help="keeps them (default: %(default)s)",
    )
    parser.add_argument("--runs", metavar="DIR", help="folder of a study, or of its receipts")
    parser.add_argument("--study", default="ablation", metavar="STUDY", help="which one (default: %(default)s)")
    parser.add_argument("--bootstrap", type=positive_int, default=1000, metavar="N", help="resamples (default: 1000)")
    parser.add_argument(
        "--min-events", type=positive_int, default=10, metavar="N", help="patients for an interval (default: 10)"
    )
    parser.add_argument("--seed", type=whole_number, default=0, metavar="N", help="of the bootstrap (default: 0)")
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, ... (default: cpu)")


def run(args: argparse.Namespace) -> int:
    from anatomy_vlm.hub_cards import REFERENCE_MODEL
    from anatomy_vlm.processing.atomic_files import replacing, write_text
    from anatomy_vlm.training.receipts.tasks import measure, typed_command
    from anatomy_vlm.training.tables.catalogue import TABLES, table_inputs

    data = {}
    for setting in args.data:
        title, separator, folder = setting.partition("=")
        if not separator or not title:
            raise ValueError(f"--data {setting}: expected NAME=DIR, such as hospital=films/test")
        if title in ("test", "train", "validation"):
            raise ValueError(f"--data {setting}: '{title}' is a set of the table already; choose another name")
        if not Path(folder).is_dir():
            raise ValueError(f"--data {setting}: {folder}: no such folder")
        data[title] = Path(folder)
    for name in args.names:
        inputs = table_inputs(
            name,
            args.model or str(REFERENCE_MODEL),
            data=data,
            patients=args.patients,
            runs=args.runs,
            study=args.study,
            settings={"bootstrap": args.bootstrap, "min_events": args.min_events, "seed": args.seed},
            films=args.films,
            device=args.device or "cpu",
        )
        receipt, outcome = measure(TABLES[name].task, inputs, typed_command())
        write_text(args.out / f"{name}.md", outcome.table.to_markdown())
        write_text(args.out / f"{name}.tex", outcome.table.to_latex())
        for title, picture in outcome.pictures.items():
            with replacing(args.out / f"{title}.png") as beside:
                picture.save(beside)
        receipt.save(args.out / f"{name}.json")
        print(outcome.table.to_markdown())
    return 0
