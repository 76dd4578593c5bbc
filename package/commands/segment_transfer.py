"""Segmentation transfer: our encoder, frozen or fine-tuned, beside a ViT from scratch and a plain U-Net.

Films and masks come from folders, where masks may overlap:

    anatomy-vlm segment-transfer --films png --masks "left lung=mask/left" "right lung=mask/right" --out study

or from a dataset with masks, whose own splits are used:

    anatomy-vlm segment-transfer --dataset siim_acr --root siim --out study --folds 0

Every run is kept in DIR/runs: an interrupted study goes on. DIR/table.md, table.tex and results.json hold the result.
"""

import argparse
from pathlib import Path
from typing import Any

from anatomy_vlm.commands.arguments import positive_int, whole_number


REFERENCE = "the checkpoint of the package"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    data = parser.add_argument_group("films and masks")
    data.add_argument("--films", type=Path, metavar="DIR", help="folder of the films")
    data.add_argument("--masks", nargs="+", default=[], metavar="NAME=DIR", help="a structure and its masks' folder")
    data.add_argument(
        "--patients", type=Path, metavar="CSV", help="columns file_name and patient_id; else one film each"
    )
    data.add_argument("--dataset", metavar="NAME", help="in place of folders: a loader with masks, such as chexmask")
    data.add_argument("--root", metavar="DIR", help="folder of the dataset")
    data.add_argument("--images", metavar="DIR", help="folder of its films, where it is another one")
    data.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="settings", help="argument of the loader"
    )
    data.add_argument("--structures", nargs="+", metavar="NAME", help="regions of the masks, or a name for the target")
    study = parser.add_argument_group("study")
    study.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the study")
    study.add_argument("--model", metavar="DIR_OR_ID", help=f"whose encoder is transferred (default: {REFERENCE})")
    study.add_argument("--methods", nargs="+", metavar="NAME", help="frozen-linear, frozen-unet, tuned-unet, ...")
    study.add_argument(
        "--train-films", nargs="+", default=["5", "20", "all"], metavar="N", help="numbers of films, or all"
    )
    study.add_argument("--folds", type=whole_number, default=5, metavar="N", help="default: 5; 0: the data's splits")
    study.add_argument(
        "--learning-rates",
        nargs="+",
        type=float,
        default=[1e-3, 3e-3, 1e-2],
        metavar="R",
        help="to choose from on validation films (default: 0.001 0.003 0.01)",
    )
    study.add_argument("--steps", type=positive_int, default=500, metavar="N", help="of a training (default: 500)")
    study.add_argument("--batch-size", type=positive_int, default=8, metavar="N", help="default: 8")
    study.add_argument(
        "--flip", type=float, default=0.0, metavar="P", help="flip that exchanges the sides (default: 0)"
    )
    study.add_argument("--save-steps", type=whole_number, default=0, metavar="N", help="steps between checkpoints")
    study.add_argument("--keep-models", action="store_true", help="keep the trained networks in DIR/models")
    study.add_argument("--seed", type=whole_number, default=0, metavar="N", help="default: 0")
    study.add_argument("--bf16", action="store_true", help="arithmetic in bfloat16 where it is safe")
    study.add_argument("--cpu", action="store_true", help="leave a GPU alone")


def run(args: argparse.Namespace) -> int:
    from transformers import AutoImageProcessor

    from anatomy_vlm.hub_cards import REFERENCE_MODEL
    from anatomy_vlm.processing.atomic_files import write_json, write_text
    from anatomy_vlm.training.segmentation import SegmentationSettings, StudySettings, run_study
    from anatomy_vlm.training.segmentation.networks import METHODS, Encoder
    from anatomy_vlm.training.segmentation.study import Study
    from anatomy_vlm.training.segmentation.table import summarise, to_latex, to_markdown

    settings = StudySettings(
        methods=args.methods or tuple(METHODS),
        train_films=[_films(text) for text in args.train_films],
        folds=args.folds,
        learning_rates=args.learning_rates,
        seed=args.seed,
        training=SegmentationSettings(
            steps=args.steps,
            batch_size=args.batch_size,
            flip=args.flip,
            save_steps=args.save_steps,
            bf16=args.bf16,
            use_cpu=args.cpu,
        ),
    )
    films = _read_films(args)
    source = args.model or REFERENCE_MODEL
    processor = AutoImageProcessor.from_pretrained(source)
    study = Study(films, Encoder(source), processor, settings, args.out, keep_models=args.keep_models)
    summary = summarise(run_study(study), films.structures, seed=args.seed)
    table = to_markdown(summary)
    write_json(args.out / "results.json", summary)
    write_text(args.out / "table.md", table)
    write_text(args.out / "table.tex", to_latex(summary))
    print(table)
    return 0


def _films(text: str) -> int:
    if text == "all":
        return 0
    if not text.isdigit() or int(text) < 1:
        raise ValueError(f"--train-films {text}: name a number of films, or all")
    return int(text)


def _read_films(args: argparse.Namespace) -> Any:
    from anatomy_vlm.training.segmentation import DatasetFilms, FolderFilms

    if (args.films is None) == (args.dataset is None):
        raise ValueError("name either --films with --masks, or a --dataset with its --root")
    if args.films is not None:
        pairs = [mask.partition("=") for mask in args.masks]
        wrong = [name for name, separator, folder in pairs if not (name and separator and folder)]
        if wrong or not pairs:
            raise ValueError("--masks: expected NAME=DIR for each structure, such as 'left lung=masks/left'")
        return FolderFilms(args.films, {name: folder for name, _, folder in pairs}, args.patients)
    from anatomy_vlm.commands.dataset_arguments import dataset_arguments
    from anatomy_vlm.training.loaders import get_loader, load_data
    from anatomy_vlm.training.segmentation.films import dataset_structures

    if args.root is None:
        raise ValueError(f"--dataset {args.dataset}: name its folder with --root")
    values = dataset_arguments(args, get_loader(args.dataset))
    structures = args.structures or dataset_structures(args.dataset, values)
    return DatasetFilms(load_data(args.dataset, values), structures)
