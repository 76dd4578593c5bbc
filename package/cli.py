"""The command `anatomy-vlm`: parses arguments, hands over to a sub-command, and turns mistakes into one line."""

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module


# Name of the sub-command, its module in `commands`, and its line in the overview.
_COMMANDS = (
    ("demo", "demo", "synthesise chests, train three stages, evaluate, predict, write a report"),
    ("predict", "predict", "read radiographs: boxes of 29 regions and scores of findings"),
    ("evidence", "evidence", "what the findings of a film rest on: regions, masking, maps, neighbours"),
    ("index", "index", "index the regions of a dataset, for nearest neighbours"),
    ("compare", "compare", "two studies of one patient: what is new, worse, stable, better, resolved"),
    ("app", "app", "read films in the browser: regions, scores, evidence, comparison"),
    ("read-report", "read_report", "read reports: findings, regions, polarity, places in the text"),
    ("prepare", "prepare", "check a dataset and keep its films at training size"),
    ("inspect", "inspect", "look at films of a dataset with their boxes, phrases and labels"),
    ("synthesize", "synthesize", "make synthetic radiographs with ground truth"),
    ("train", "train", "train a model from a recipe"),
    ("evaluate", "evaluate", "evaluate a model on a dataset, with intervals and baselines"),
    ("verify", "verify", "measure again what receipts of evaluations say"),
    ("study", "study", "train and compare the variants of a study over several seeds"),
    ("tables", "tables", "make the tables of the paper, with intervals, baselines and receipts"),
    ("calibrate", "calibrate", "make a model's scores probabilities, on a validation split"),
    ("robustness", "robustness", "what scores survive and rest on: negation, side, masks, corruptions, groups"),
    ("segment-transfer", "segment_transfer", "transfer the encoder to masks, beside a plain U-Net, in one table"),
    ("train-masks", "train_masks", "train a writer of masks on synthetic chests"),
    ("mask-study", "mask_study", "masks as tokens beside a U-Net: scale, resolution, shift, few-shot"),
    ("export", "export", "write a self-contained folder of a trained model"),
    ("push", "push", "publish a model on the Hugging Face Hub"),
    ("doctor", "doctor", "what this installation can do, and the cure for what it cannot"),
)

EXIT_OK, EXIT_SOME_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130


def build_parser() -> argparse.ArgumentParser:
    """The parser with all sub-commands; imports none of the heavy libraries."""
    parser = argparse.ArgumentParser(
        prog="anatomy-vlm",
        description="Anatomy-VLM: anatomy-centred vision-language models for chest radiographs. Research software, "
        "not a medical device.",
    )
    parser.add_argument("--version", action="store_true", help="print the versions of the libraries and exit")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, module, help_line in _COMMANDS:
        command = import_module(f"anatomy_vlm.commands.{module}")
        subparser = subparsers.add_parser(
            name, help=help_line, description=command.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        subparser.add_argument("--debug", action="store_true", help="show the traceback of an error")
        command.add_arguments(subparser)
        subparser.set_defaults(run=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: arguments without the program's name; those of the process by default.

    Returns:
        Exit status: 0 all went well, 1 some inputs failed, 2 a mistake in usage or input, 130 interrupted.
    """
    parser = build_parser()
    try:
        args = parser.parse_args(argv)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else EXIT_USAGE
    if args.version:
        from anatomy_vlm.prediction import library_versions

        print(", ".join(f"{name} {version}" for name, version in library_versions().items()))
        return EXIT_OK
    if args.command is None:
        parser.print_help()
        return EXIT_USAGE
    return run_command(args)


def run_command(args: argparse.Namespace) -> int:
    """Run the chosen sub-command; mistakes of the user become one line on stderr and status 2."""
    # The package has imported it by now. Its bars for every file of weights drown those of the commands.
    from transformers.utils import logging

    from anatomy_vlm.processing.data_files import one_line

    logging.disable_progress_bar()
    try:
        status = int(args.run(args) or EXIT_OK)
        # A reader of the output that has gone away shows when the buffer is written, at the latest here.
        sys.stdout.flush()
        return status
    except KeyboardInterrupt as stop:
        # A training that was asked to stop says what it kept.
        print(f"anatomy-vlm: {' '.join(str(stop).split()) or 'interrupted'}", file=sys.stderr)
        return getattr(stop, "exit_status", EXIT_INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_SOME_FAILED
    except (ValueError, OSError, ImportError) as error:
        # These are what the library raises for input that it cannot use; anything else is a bug and shows itself.
        if args.debug:
            traceback.print_exc()
        print(f"anatomy-vlm: error: {one_line(error, 2000)}", file=sys.stderr)
        return EXIT_USAGE
    except RuntimeError as error:
        # A training that cannot go on for now (`anatomy_vlm.training.recovery`) has a status of its own.
        stopped = getattr(error, "exit_status", None)
        if stopped is None:
            raise
        print(f"anatomy-vlm: {' '.join(str(error).split())}", file=sys.stderr)
        return int(stopped)


if __name__ == "__main__":
    sys.exit(main())
