"""Read reports: findings with polarity, severity and the regions where they are, with their place in the text.

Files are plain text or OpenI's XML; folders are searched for .txt and .xml; - is standard input.

Exit status: 0 every report was read, 1 some could not be read, 2 nothing to read or a mistake in the arguments.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from anatomy_vlm.processing.report_reading import Report

REPORT_SCHEMA_VERSION = "1.0"
_STANDARD_INPUT = "-"
_SUFFIXES = (".txt", ".xml")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILES", help="text or OpenI XML, folders of them; - for stdin")
    parser.add_argument("--json", metavar="FILE", help="write all readings to this file; - for standard output")


def run(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from anatomy_vlm.processing.atomic_files import write_json

    files = find_reports(args.files)
    records = []
    with tqdm(total=len(files), desc="read-report", unit="report", file=sys.stderr, disable=None) as bar:
        for record in read_files(files):
            if "error" in record:
                tqdm.write(f"{record['file']}: {record['error']}", file=sys.stderr)
            elif not args.json:
                print(summary(record))
            records.append(record)
            bar.update()
    if args.json == "-":
        import json

        print(json.dumps(records, indent=2, ensure_ascii=False, allow_nan=False))
    elif args.json:
        write_json(args.json, records)
    failed = sum("error" in record for record in records)
    print(f"{len(records) - failed} of {len(records)} reports read", file=sys.stderr)
    return 1 if failed else 0


def find_reports(inputs: Sequence[str]) -> list[str]:
    """Files in the order given, each once; a folder stands for its .txt and .xml files.

    Raises:
        ValueError: a folder without reports.
    """
    found: dict[str, None] = {}
    for item in inputs:
        if item == _STANDARD_INPUT or not Path(item).is_dir():
            found.setdefault(item)
            continue
        inside = [str(path) for path in sorted(Path(item).rglob("*")) if path.suffix.lower() in _SUFFIXES]
        if not inside:
            raise ValueError(f"{item}: no reports in this folder; expected files that end in {' or '.join(_SUFFIXES)}")
        found.update(dict.fromkeys(inside))
    return list(found)


def read_files(files: Sequence[str]) -> Iterator[dict[str, Any]]:
    """One record of `report_schema.json` per file, in order; a file that cannot be read gives `file` and `error`."""
    from anatomy_vlm.processing.report_reading import ReportFileError, read_report
    from anatomy_vlm.processing.report_reading.files import MAX_BYTES, decode_report, read_report_file

    for file in files:
        try:
            if file == _STANDARD_INPUT:
                text = decode_report(sys.stdin.buffer.read(MAX_BYTES + 1))
            else:
                text = read_report_file(file)
        except ReportFileError as error:
            yield {"file": file, "error": str(error)}
        else:
            yield report_record(file, read_report(text))


def report_record(file: str, report: "Report") -> dict[str, Any]:
    """A record of `report_schema.json`."""
    from anatomy_vlm import __version__

    versions = {"report_schema": REPORT_SCHEMA_VERSION, "anatomy_vlm": __version__}
    return {"file": file, "text": report.text, **report.to_record(), "versions": versions}


def summary(record: dict[str, Any]) -> str:
    """The statements of a report, one per line, under the name of its file."""
    lines = [f"{record['file']}:"]
    for statement in record["statements"]:
        words = [statement["polarity"], statement["severity"], statement["temporal"], statement["finding"]]
        line = "  " + " ".join(word for word in words if word)
        if statement["regions"]:
            line += f" in {', '.join(statement['regions'])}"
        lines.append(line + (f" ({statement['comparison']})" if statement["comparison"] else ""))
    return "\n".join(lines if record["statements"] else [*lines, "  no statement about a finding"])
