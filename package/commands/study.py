"""Train and score the variants of a study over several seeds, and put them into one table.

A study is a YAML file, or the name of one that the package ships (ablation): one recipe, variants, one budget. What is
finished is not run again. The folder --out gets runs/VARIANT-SEED with each model and its receipt, and the tables as
Markdown, LaTeX and JSON.
"""

import argparse
from pathlib import Path

from anatomy_vlm.commands.arguments import whole_number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", metavar="STUDY", help="a study file, or the name of one that the package ships")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the study (default: outputs/NAME)")
    parser.add_argument("--seeds", nargs="+", type=whole_number, metavar="N", help="default: those of the study")
    parser.add_argument("--variants", nargs="+", default=[], metavar="NAME", help="default: all")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="change a key of the recipe"
    )
    parser.add_argument("--device", metavar="NAME", help="for scoring: cpu, cuda, ... (default: cpu)")


def run(args: argparse.Namespace) -> int:
    from anatomy_vlm.processing.atomic_files import write_text
    from anatomy_vlm.training.receipts.tasks import TaskInputs, measure
    from anatomy_vlm.training.studies.runner import run_study
    from anatomy_vlm.training.studies.study import load_study
    from anatomy_vlm.training.tables.studies import OF_HARD_NEGATIVES

    study = load_study(args.study, args.overrides)
    out = args.out or Path("outputs") / study.name
    run_study(study, out, args.seeds, args.variants, device=args.device or "cpu")
    names = {variant.name for variant in study.variants}
    # A study of one's own has one table, the ablation another one on a part of its variants.
    for part in ("ablation", "hard-negatives") if names.issuperset(OF_HARD_NEGATIVES) else ("ablation",):
        settings = {"study": args.study, "part": part, "runs": out.as_posix()}
        receipt, outcome = measure("table-study", TaskInputs(None, {}, settings), f"anatomy-vlm study {args.study}")
        name = study.name if part == "ablation" else part
        write_text(out / f"{name}.md", outcome.table.to_markdown())
        write_text(out / f"{name}.tex", outcome.table.to_latex())
        receipt.save(out / f"{name}.json")
        print(outcome.table.to_markdown())
    return 0
