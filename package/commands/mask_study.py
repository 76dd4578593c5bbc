"""Study masks written as tokens: beside a U-Net, by scale, resolution, vision, shift, and transfer to new structures.

    anatomy-vlm mask-study unet --out study

trains the networks of one table on synthetic films and tests them on fresh ones, and on real films with masks where
they are named. Films and trained networks are kept in DIR: an interrupted study goes on, and studies share networks.
DIR/STUDY/table.md, table.tex and results.json hold the result, with intervals by patient and what was done with what.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anatomy_vlm.commands.arguments import add_writer_arguments, positive_int


STUDIES = ("unet", "scale", "resolution", "vision", "shift", "few-shot")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", choices=STUDIES, help="which table")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the studies")
    add_writer_arguments(parser)
    parser.add_argument("--test-films", type=positive_int, default=200, metavar="N", help="default: 200")
    parser.add_argument("--real", type=Path, metavar="DIR", help="folder of real films with masks")
    parser.add_argument(
        "--real-masks",
        nargs="+",
        default=[],
        metavar="NAME=DIR",
        help='a structure and the folder of its masks; "right lung+left lung=DIR" for one mask of both',
    )
    parser.add_argument("--name", metavar="NAME", help="of the folder of the table in DIR (default: the study)")
    parser.add_argument("--patients", type=Path, metavar="CSV", help="of the real films: file_name and patient_id")
    parser.add_argument(
        "--few-steps", type=positive_int, default=200, metavar="N", help="of a training on a few films (default: 200)"
    )
    parser.add_argument(
        "--structures-per-film", type=positive_int, default=12, metavar="N", help="asked of a film (default: 12)"
    )


def run(args: argparse.Namespace) -> int:
    from transformers import AutoImageProcessor

    from anatomy_vlm.hub_cards import REFERENCE_MODEL
    from anatomy_vlm.processing.atomic_files import write_json, write_text
    from anatomy_vlm.training.masks.film_shapes import drawn_or_kept
    from anatomy_vlm.training.masks.masked_films import ShapeFilms
    from anatomy_vlm.training.masks.study import STRUCTURES, MaskStudy, MaskStudySettings, describe
    from anatomy_vlm.training.masks.writer_training import CODEC_WEIGHTS, check_codec
    from anatomy_vlm.training.segmentation.films import MaskedFilms
    from anatomy_vlm.training.segmentation.table import summarise, to_latex, to_markdown

    source = args.model or REFERENCE_MODEL
    drawing: dict[str, Any] = {"image_size": args.image_size, "num_workers": args.workers}
    real = _real_films(args)
    codec = check_codec(args.codec or CODEC_WEIGHTS)
    train = drawn_or_kept(args.out / "films.safetensors", args.films, 8_000_000 + args.seed, **drawing)
    test = drawn_or_kept(args.out / "test-films.safetensors", args.test_films, 9_400_000 + args.seed, **drawing)
    tests: dict[str, MaskedFilms] = {"synthetic": ShapeFilms(test, STRUCTURES), **real}
    settings = MaskStudySettings(
        steps=args.steps,
        batch_size=args.batch_size,
        few_steps=args.few_steps,
        structures_per_film=args.structures_per_film,
        seed=args.seed,
        bf16=not args.float32,
        use_cpu=args.cpu,
    )
    processor = AutoImageProcessor.from_pretrained(source)
    study = MaskStudy(source, codec, processor, train, tests, settings, args.out)
    results = study.run(args.study)
    summaries = {name: _summary(rows, summarise, args.seed) for name, rows in results.items()}
    text = "\n\n".join(f"### {name}\n\n{to_markdown(summary)}" for name, summary in summaries.items())
    folder = args.out / (args.name or args.study)
    write_json(folder / "results.json", {"tables": summaries, "receipt": describe(study, results)})
    write_text(folder / "table.md", text)
    write_text(folder / "table.tex", "\n\n".join(to_latex(summary) for summary in summaries.values()))
    print(text)
    return 0


def _summary(rows: Sequence[Mapping[str, Any]], summarise: Any, seed: int) -> Any:
    structures = [name for name in rows[0]["films"][0] if name not in ("film", "patient")]
    return summarise(rows, structures, seed=seed, baseline="U-Net")


def _real_films(args: argparse.Namespace) -> dict[str, Any]:
    from anatomy_vlm.training.segmentation.films import FolderFilms

    if (args.real is None) != (not args.real_masks):
        raise ValueError("--real and --real-masks belong together: the films, and NAME=DIR for their masks")
    if args.real is None:
        return {}
    pairs = [mask.partition("=") for mask in args.real_masks]
    if not all(name and separator and folder for name, separator, folder in pairs):
        raise ValueError(f"--real-masks {' '.join(args.real_masks)}: write NAME=DIR, such as 'left lung=masks/left'")
    return {"real": FolderFilms(args.real, {name: folder for name, _, folder in pairs}, args.patients)}
