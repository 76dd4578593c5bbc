"""Read radiographs: boxes of the 29 regions, scores of findings in the image and in each region.

Exit status: 0 every image was read, 1 some could not be read, 2 nothing to read or a mistake in the arguments.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from anatomy_vlm.commands.arguments import add_device_arguments, positive_int
from anatomy_vlm.hub_cards import REFERENCE_MODEL, REFERENCE_WRITER


if TYPE_CHECKING:
    from anatomy_vlm.exports.mask_files import MaskFiles
    from anatomy_vlm.exports.readings import ReadingFiles
    from anatomy_vlm.prediction import FileReading


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "images", nargs="+", metavar="IMAGES", help="files, folders or patterns: PNG, JPEG, TIFF, BMP, DICOM"
    )
    parser.add_argument(
        "--model",
        default=REFERENCE_MODEL,
        metavar="DIR_OR_ID",
        help="folder or Hub id of a model (default: the reference checkpoint that comes with the package)",
    )
    parser.add_argument("--json", metavar="FILE", help="write all readings to this file; - for standard output")
    parser.add_argument("--overlay", metavar="DIR", type=Path, help="write a picture of each reading to this folder")
    parser.add_argument(
        "--save-as",
        metavar="FORMATS",
        help="write the readings to --save-to in other forms too: sr (DICOM Structured Report of a DICOM film), coco, "
        "fhir; separated by commas",
    )
    parser.add_argument("--save-to", metavar="DIR", type=Path, help="folder for --save-as")
    parser.add_argument(
        "--prompts", nargs="+", default=[], metavar="TEXT", help="texts to score in the image and in each region"
    )
    parser.add_argument(
        "--boxes",
        metavar="FILE",
        type=Path,
        help="JSON of your own boxes to score: a list for every image, or lists by image; [x0, y0, x1, y1] in pixels, "
        'or {"box": [...], "label": "..."}',
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="state findings even of a film that is flagged as no chest, lateral, rotated or inverted",
    )
    parser.add_argument("--batch-size", type=positive_int, default=8, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--backend",
        choices=("torch", "onnx", "openvino"),
        default="torch",
        help="what runs the model; for the others --model is a folder of 'anatomy-vlm export --format'",
    )
    masks = parser.add_argument_group("masks")
    masks.add_argument(
        "--masks", metavar="NAMES", help='structures whose masks are written, such as "heart,left lung", lungs, ribs'
    )
    masks.add_argument(
        "--mask-model",
        default=REFERENCE_WRITER,
        metavar="DIR_OR_ID",
        help="folder or Hub id of the model that writes them (default: the one that comes with the package)",
    )
    masks.add_argument("--save-masks", metavar="DIR", type=Path, help="folder for the masks")
    masks.add_argument(
        "--mask-format",
        default="png",
        choices=("png", "rle", "coco", "seg", "nifti"),
        help="of the masks in it; seg is DICOM, of DICOM films (default: %(default)s)",
    )
    add_device_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from anatomy_vlm.film_masks import MaskPredictor
    from anatomy_vlm.input_files import find_images
    from anatomy_vlm.prediction import Predictor
    from anatomy_vlm.processing.atomic_files import write_json
    from anatomy_vlm.user_boxes import read_user_boxes

    if bool(args.save_as) != bool(args.save_to):
        raise ValueError("--save-as and --save-to belong together: which formats, and the folder for them")
    if args.save_as:
        from anatomy_vlm.exports.readings import read_formats

        formats = read_formats(args.save_as)
    if args.save_masks and not args.masks:
        raise ValueError("--save-masks needs --masks: which structures, such as --masks heart,lungs")
    files = find_images(args.images)
    boxes = None if args.boxes is None else read_user_boxes(args.boxes)
    if boxes is not None:
        boxes.check_images(files)
    if args.backend != "torch" and (args.bf16 or boxes is not None):
        raise ValueError(f"--bf16 and --boxes go with --backend torch, not {args.backend}")
    predictor = Predictor.load(
        args.model,
        backend=args.backend,
        prompts=args.prompts,
        device=args.device,
        bf16=args.bf16,
        boxes=boxes,
        force=args.force,
        masks=MaskPredictor.load(args.masks, args.mask_model, device=args.device, bf16=args.bf16)
        if args.masks
        else None,
    )
    overlays = _overlay_paths(files, args.overlay)
    saved = None
    if args.save_as:
        from anatomy_vlm.exports.readings import ReadingFiles

        saved = ReadingFiles(args.save_to, formats, model=predictor.name)
    mask_files = None
    if args.save_masks:
        from anatomy_vlm.exports.mask_files import MaskFiles

        mask_files = MaskFiles(args.save_masks, args.mask_format, model=predictor.masks.name)
    records, unsaved = [], 0
    with tqdm(total=len(files), desc="predict", unit="image", file=sys.stderr, disable=None) as bar:
        for file, reading in zip(files, predictor.read_files(files, batch_size=args.batch_size), strict=True):
            if reading.film is None:
                tqdm.write(f"{file}: {reading.record['error']}", file=sys.stderr)
            elif args.overlay is not None:
                _write_overlay(overlays[file], reading)
            if reading.film is not None:
                problems = _save(saved, mask_files, file, reading)
                unsaved += bool(problems)
                for problem in problems:
                    tqdm.write(problem, file=sys.stderr)
            records.append(reading.record)
            bar.update()
    for outputs in (saved, mask_files):
        if outputs is not None:
            outputs.finish()
    if args.json == "-":
        import json

        print(json.dumps(records, indent=2, ensure_ascii=False, allow_nan=False))
    elif args.json:
        write_json(args.json, records)
    if args.json != "-":
        for record in records:
            if "error" not in record:
                print(_summary(record))
    failed = sum("error" in record for record in records)
    print(f"{len(records) - failed} of {len(records)} images read", file=sys.stderr)
    if unsaved:
        print(f"{unsaved} readings not saved in every format", file=sys.stderr)
    return 1 if failed or unsaved else 0


def _save(saved: "ReadingFiles | None", masks: "MaskFiles | None", file: Path, reading: "FileReading") -> list[str]:
    """Write one film's reading and masks; what could not be, for a film that is no DICOM object stops no other."""
    problems = []
    try:
        if saved is not None:
            saved.add(reading.record)
    except ValueError as error:
        problems.append(str(error))
    try:
        if masks is not None and reading.masks is not None:
            masks.add(file, reading.masks.masks, scores=reading.masks.presence)
    except ValueError as error:
        problems.append(str(error))
    return problems


def _overlay_paths(files: Sequence[Path], folder: Path | None) -> dict[Path, Path]:
    """One picture per file, named after it; files of one name are told apart by a number."""
    if folder is None:
        return {}
    taken: dict[str, int] = {}
    paths = {}
    for file in files:
        taken[file.stem] = taken.get(file.stem, 0) + 1
        number = f"-{taken[file.stem]}" if taken[file.stem] > 1 else ""
        paths[file] = folder / f"{file.stem}{number}.png"
    return paths


def _write_overlay(path: Path, reading: "FileReading") -> None:
    from anatomy_vlm.prediction import draw_reading
    from anatomy_vlm.processing.atomic_files import replacing

    with replacing(path) as beside:
        draw_reading(reading).save(beside)
    if reading.masks is not None and reading.film is not None:
        from anatomy_vlm.processing.mask_pictures import draw_masks

        lateral = reading.record["view"] == "LATERAL"
        with replacing(path.with_name(f"{path.stem}.masks.png")) as beside:
            draw_masks(reading.film, reading.masks.masks, sides=not lateral).save(beside)


def _summary(record: dict) -> str:
    """One line: file, findings at or above their threshold, cardiothoracic ratio, flags."""
    called = [finding for finding in record["findings"] if finding["score"] >= finding["threshold"]]
    called.sort(key=lambda finding: -finding["score"])
    none = "findings withheld" if record["quality"]["findings_withheld"] else "no finding"
    parts = [", ".join(f"{finding['name']} {finding['score']:.2f}" for finding in called) or none]
    ratio = record["measurements"]["cardiothoracic_ratio"]
    if ratio is not None:
        parts.append(f"cardiothoracic ratio {ratio:.2f}")
    parts += [f"'{prompt['text']}' {prompt['score']:.2f}" for prompt in record.get("prompts", [])]
    parts += [f"! {flag['reason']}" for flag in record["quality"]["flags"]]
    return f"{record['file']}: {'; '.join(parts)}"
