"""The evidence for the findings of a film: regions, what masking them does to the score, maps and neighbours.

Writes NAME.html and NAME.json. Doubts about the film come first; with a serious one findings are withheld.
"""

import argparse
from pathlib import Path

from anatomy_vlm.commands.arguments import add_device_arguments, positive_int
from anatomy_vlm.hub_cards import REFERENCE_MODEL


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", metavar="IMAGE", help="a film: PNG, JPEG, TIFF, BMP, DICOM")
    parser.add_argument("--model", default=REFERENCE_MODEL, metavar="DIR_OR_ID", help="folder or Hub id of a model")
    parser.add_argument(
        "--out", type=Path, default=Path("evidence"), metavar="DIR", help="folder of the card (default: %(default)s)"
    )
    parser.add_argument("--findings", nargs="+", metavar="NAME", help="default: those that are called")
    parser.add_argument("--max-findings", type=positive_int, default=3, metavar="N", help="default: %(default)s")
    parser.add_argument("--index", type=Path, metavar="FILE", help="of 'anatomy-vlm index', for nearest neighbours")
    parser.add_argument("--force", action="store_true", help="show findings even where they are withheld")
    add_device_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from anatomy_vlm.evidence import EvidenceSettings, gather_evidence
    from anatomy_vlm.evidence_page import render_evidence
    from anatomy_vlm.input_files import find_images
    from anatomy_vlm.neighbours import RegionIndex
    from anatomy_vlm.prediction import Predictor
    from anatomy_vlm.processing.atomic_files import write_json, write_text

    files = find_images([args.image])
    if len(files) != 1:
        raise ValueError(f"{args.image}: {len(files)} images; evidence takes one film")
    index = None if args.index is None else RegionIndex.load(args.index)
    predictor = Predictor.load(args.model, device=args.device, bf16=args.bf16, force=args.force)
    settings = EvidenceSettings(findings=args.findings, max_findings=args.max_findings)
    card = gather_evidence(predictor, files[0], index, settings)
    write_json(args.out / f"{files[0].stem}.json", card.record)
    write_text(args.out / f"{files[0].stem}.html", render_evidence(card))
    for flag in card.record["reading"]["quality"]["flags"]:
        print(f"! {flag['reason']}")
    if card.record["reading"]["quality"]["findings_withheld"]:
        print("findings withheld; --force shows them")
    for item in card.record["findings"]:
        loss = min(row["change"] for row in item["regions"] if row["name"] == item["cited_region"])
        rests = (
            item["cited_region"] if item["cited_carries"] else f"on no plausible region alone; {item['cited_region']}"
        )
        print(f"{item['name']} {item['score']:.2f}: {rests} ({loss:+.2f} without it)")
    print(args.out / f"{files[0].stem}.html")
    return 0
