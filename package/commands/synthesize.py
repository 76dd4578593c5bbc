"""Make synthetic radiographs with boxes of the regions, split by patient: of parametric chests, or of CT scans.

anatomy-vlm synthesize phantom --out films --patients 200
anatomy-vlm synthesize ct scans --label-scheme totalsegmentator_v2_total --out films
"""

import argparse
import sys
from pathlib import Path

from anatomy_vlm.commands.arguments import positive_int, whole_number


PHANTOM = """Draw a parametric chest: body, pose, findings, devices and film look from a seed; boxes, labels, reports.

The folder holds Arrow shards, each film's parameters as JSON lines, manifest.json and a dataset card (README.md);
`evaluate`, `calibrate` and the loader "saved" read it.
"""
CT = """Project CT scans with their segmentations to films with boxes of the regions.

The format "dataset" is read by the loader "saved" and by datasets.load_from_disk; "chexanatomy" is CheXanatomy's
layout: CT_projections_PA/CASE/ct.png and one PNG per structure, and the same under CT_projections_LR. Pose and look of
every film are in cases/CASE.json. A scan that is done is not done again when the command is given again. Scans that
cannot be used are skipped with a line each, and the exit status is 1; 2 where none can be used.

  anatomy-vlm synthesize ct ct_1.nii.gz --labels seg_1.nii.gz --label-scheme totalsegmentator_v2_total --out films
  anatomy-vlm synthesize ct volumes --labels "segmentations/{case}*.nii.gz" --poses 4 --workers 8 --out films
"""
# What the card says of itself.
_OUR_CARD = "<!-- Written by `anatomy-vlm synthesize`"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True, title="kinds")
    _add_phantom(_kind(kinds, "phantom", "a parametric chest: all 29 regions, findings, reports", PHANTOM))
    _add_ct(_kind(kinds, "ct", "films projected from CT scans with segmentations: regions, structures", CT))


def _kind(kinds: "argparse._SubParsersAction", name: str, line: str, text: str) -> argparse.ArgumentParser:
    kind: argparse.ArgumentParser = kinds.add_parser(
        name, help=line, description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    return kind


def _add_phantom(phantom: argparse.ArgumentParser) -> None:
    phantom.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the dataset (resumable)")
    phantom.add_argument("--patients", type=positive_int, default=100, metavar="N", help="default: %(default)s")
    phantom.add_argument("--studies", type=positive_int, default=1, metavar="N", help="per patient (default: 1)")
    phantom.add_argument("--image-size", type=positive_int, default=224, metavar="PIXELS", help="default: %(default)s")
    phantom.add_argument("--seed", type=whole_number, default=0, metavar="N", help="default: %(default)s")
    phantom.add_argument("--workers", type=positive_int, default=2, metavar="N", help="processes (default: 2)")
    phantom.add_argument(
        "--splits",
        type=_splits,
        default={"train": 0.7, "validation": 0.1, "test": 0.2},
        metavar="NAME=SHARE,...",
        help="shares of the patients (default: train=0.7,validation=0.1,test=0.2)",
    )
    phantom.add_argument(
        "--label-noise",
        type=_share,
        default=0.0,
        metavar="SHARE",
        help="chance that the reader misses a finding, and that he states one that is not there (default: 0)",
    )
    phantom.add_argument(
        "--reader-style",
        choices=("narrative", "structured", "terse", "mixed"),
        default="narrative",
        help="how reports are written (default: %(default)s)",
    )


def _add_ct(ct: argparse.ArgumentParser) -> None:
    ct.add_argument(
        "scans", nargs="+", metavar="SCANS", help="NIfTI files, folders of DICOM series, folders of either"
    )
    ct.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to (resumable)")
    ct.add_argument(
        "--labels",
        metavar="PATTERN",
        help="where a scan's labels are, with {case} for its name and {folder} for its folder, or a folder of files "
        "named as the scans (default: NAME_labels.nii.gz, NAME_seg.nii.gz, NAME_segmentations or labels/NAME.nii.gz "
        "beside the scan)",
    )
    ct.add_argument(
        "--label-scheme",
        metavar="NAME",
        help="what the values of label maps mean, such as totalsegmentator_v2_total, or a CSV file with the columns "
        "id and structure (default: the names in the files' headers)",
    )
    ct.add_argument(
        "--views",
        nargs="+",
        choices=("PA", "AP", "LR", "LATERAL"),
        default=["PA", "LR"],
        metavar="VIEW",
        help="PA, AP, LR or LATERAL, the last two being one (default: PA LR)",
    )
    ct.add_argument(
        "--poses",
        type=whole_number,
        default=0,
        metavar="N",
        help="films per view in random poses and looks (default: one in the standard pose and look)",
    )
    ct.add_argument("--size", type=positive_int, default=512, metavar="PIXELS", help="longer side (default: 512)")
    ct.add_argument("--seed", type=whole_number, default=0, metavar="N", help="default: %(default)s")
    ct.add_argument("--workers", type=positive_int, default=2, metavar="N", help="processes (default: 2)")
    ct.add_argument(
        "--format",
        choices=("dataset", "chexanatomy", "both"),
        default="dataset",
        help="a dataset in our schema, CheXanatomy's folders of PNG files, or both (default: %(default)s)",
    )
    ct.add_argument(
        "--splits",
        type=_splits,
        metavar="NAME=SHARE,...",
        help="shares of the patients (default: train=0.7,validation=0.1,test=0.2, of fewer than 3 patients train=1)",
    )


def run(args: argparse.Namespace) -> int:
    return _run_ct(args) if args.kind == "ct" else _run_phantom(args)


def _run_ct(args: argparse.Namespace) -> int:
    from anatomy_vlm.ct_scans import find_scans
    from anatomy_vlm.synthesis.ct import generate_ct_dataset

    cases = find_scans(args.scans, args.labels)
    made = generate_ct_dataset(
        cases,
        args.out,
        scheme=args.label_scheme,
        views=["LATERAL" if view == "LR" else view for view in args.views],
        num_poses=args.poses,
        image_size=args.size,
        seed=args.seed,
        splits=args.splits,
        output_format=args.format,
        num_workers=args.workers,
    )
    for case, problem in made.problems.items():
        print(f"anatomy-vlm: skipped {case}: {problem}", file=sys.stderr)
    if not made.films:
        print("anatomy-vlm: error: none of the scans could be used", file=sys.stderr)
        return 2
    for split, films in made.films.items():
        print(f"{split}: {films} films")
    _write_card(args.out, made.films)
    print(f"saved in {args.out}")
    return 1 if made.problems else 0


def _run_phantom(args: argparse.Namespace) -> int:
    from anatomy_vlm.training.loaders import load_data

    dataset = load_data(
        "phantom",
        {
            "num_patients": args.patients,
            "studies_per_patient": args.studies,
            "seed": args.seed,
            "image_size": args.image_size,
            "splits": args.splits,
            "out": str(args.out),
            "num_workers": args.workers,
            "label_noise": args.label_noise,
            "reader_style": args.reader_style,
        },
    )
    for name, split in dataset.items():
        print(f"{name}: {len(split)} images")
    _write_card(args.out, {name: len(split) for name, split in dataset.items()})
    print(f"saved in {args.out}")
    return 0


def _write_card(folder: Path, films: dict[str, int]) -> None:
    """Put the dataset's card beside its films; one that somebody took over stays as it is."""
    import json

    from anatomy_vlm.hub_cards import dataset_card
    from anatomy_vlm.processing.atomic_files import write_text

    path = folder / "README.md"
    if not path.exists() or _OUR_CARD in path.read_text(encoding="utf-8"):
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        write_text(path, dataset_card(manifest, films))


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share from 0 to 1")
    return share


def _splits(text: str) -> dict[str, float]:
    try:
        shares = {name.strip(): float(share) for name, share in (part.split("=") for part in text.split(","))}
    except ValueError:
        shares = {}
    if not shares or min(shares.values()) <= 0 or "" in shares or abs(sum(shares.values()) - 1) > 1e-6:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form train=0.7,validation=0.1,test=0.2 with sum 1")
    return shares
