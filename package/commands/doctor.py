"""What this installation can do: versions, extras, device, cache and Hub, and cures for problems. Fetches nothing."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write what was found to this file, for a bug report"
    )


def run(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from anatomy_vlm.doctor import examine, to_text
    from anatomy_vlm.processing.atomic_files import write_json

    findings = examine()
    print(to_text(findings))
    if args.json:
        write_json(args.json, [asdict(finding) for finding in findings])
    return int(any(finding.state == "problem" for finding in findings))
