"""Measure again what receipts say: hashes of weights and data have to be equal, numbers within the stated tolerance.

One line per difference. Films that were synthesised are drawn again; other data is looked for where it was, or below
--data. Exit status: 0 all receipts verify, 1 some differ, 2 some cannot be verified here.
"""

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("receipts", nargs="+", type=Path, metavar="RECEIPT", help="a JSON file of --receipt")
    parser.add_argument("--model", type=Path, metavar="DIR", help="folder of the model, where it has moved")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of the data, or the one that holds it")
    parser.add_argument("--films", type=Path, metavar="DIR", help="keep films that are drawn again in this folder")
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, ... (default: cpu, where receipts agree best)")
    parser.add_argument("--quiet", action="store_true", help="no progress bars, and no remarks on versions")


def run(args: argparse.Namespace) -> int:
    from anatomy_vlm.training.receipts.errors import ReceiptError
    from anatomy_vlm.training.receipts.receipt import differences, load_receipt, remarks
    from anatomy_vlm.training.receipts.tasks import measure_again

    status = 0
    for path in args.receipts:
        try:
            receipt = load_receipt(path)
            again = measure_again(
                receipt,
                model=args.model,
                data_root=args.data,
                films=args.films,
                device=args.device or "cpu",
                progress=not args.quiet,
            )
        except (ReceiptError, OSError) as error:
            message = " ".join(str(error).split())
            prefix = "" if message.startswith(str(path)) else f"{path}: "
            print(f"{prefix}{message}", file=sys.stderr)
            status = 2
            continue
        found = differences(receipt, again)
        for line in found:
            print(f"{path}: {line}")
        if not args.quiet:
            for line in remarks(receipt, again):
                print(f"{path}: note: {line}")
        if found:
            status = max(status, 1)
        else:
            print(f"{path}: verified, {len(receipt.numbers)} numbers")
    return status
