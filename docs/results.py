"""Write docs/results.md from the tables and put their receipts into docs/receipts.

    anatomy-vlm tables zero-shot regions queries probing
    python benchmarks/real_folders.py && anatomy-vlm tables detection --data Wingspan=... --data Hannover=...
    anatomy-vlm study ablation
    python docs/results.py [--tables outputs/tables] [--study outputs/ablation]

Whatever is not there keeps the part that docs/results.md has.
"""

import argparse
import re
import shutil
from pathlib import Path

from anatomy_vlm.processing.atomic_files import write_text
from anatomy_vlm.training.receipts.receipt import load_receipt
from anatomy_vlm.training.receipts.tasks import TaskInputs, measure


DOCS = Path(__file__).parent
PAGE, RECEIPTS = DOCS / "results.md", DOCS / "receipts"
TABLES = ("zero-shot", "regions", "detection", "queries", "probing")
STUDY = ("ablation", "hard-negatives")


def replace_part(page: str, name: str, text: str) -> str:
    """The page with another text between the marks of `name`."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(page):
        raise ValueError(f"{PAGE}: has no part '{name}'")
    return pattern.sub(lambda _: f"{begin}\n{text.strip()}\n{end}", page)


def with_receipt(table: str, receipt: Path) -> str:
    """The table and how it was made."""
    held = load_receipt(receipt)
    return f"{table.strip()}\n\nReceipt: [{receipt.name}](receipts/{receipt.name}); `{held.command}`"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=Path, default=Path("outputs/tables"))
    parser.add_argument("--study", type=Path, default=Path("outputs/ablation"))
    args = parser.parse_args()
    page = PAGE.read_text(encoding="utf-8")
    for name in TABLES:
        if (args.tables / f"{name}.json").is_file():
            receipt = RECEIPTS / f"{name}.json"
            shutil.copyfile(args.tables / f"{name}.json", receipt)
            page = replace_part(page, name, with_receipt((args.tables / f"{name}.md").read_text("utf-8"), receipt))
    if (args.tables / "queries.png").is_file():
        shutil.copyfile(args.tables / "queries.png", DOCS / "queries.png")
    runs = sorted(args.study.glob("runs/*/receipt.json"))
    folder = RECEIPTS / "ablation-runs"
    if runs:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for path in runs:
            shutil.copyfile(path, folder / f"{path.parent.name}.json")
    if folder.is_dir():
        for name in STUDY:
            # From the committed receipts, so that the table verifies without the runs.
            runs_folder = folder.relative_to(DOCS.parent).as_posix()
            inputs = TaskInputs(None, {}, {"study": "ablation", "part": name, "runs": runs_folder})
            receipt, outcome = measure("table-study", inputs, f"anatomy-vlm tables {name} --runs {runs_folder}")
            receipt.save(RECEIPTS / f"{name}.json")
            page = replace_part(page, name, with_receipt(outcome.table.to_markdown(), RECEIPTS / f"{name}.json"))
    write_text(PAGE, page)


if __name__ == "__main__":
    main()
