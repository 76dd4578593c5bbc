"""Read films in the browser: drop a film, see its regions and their scores, ask in words, compare with a prior study.

The page is served to this computer alone unless --host says otherwise. Films are kept in memory only and are forgotten
when the page is closed or loaded anew; nothing is sent anywhere.
"""

import argparse

from anatomy_vlm.commands.arguments import add_device_arguments, positive_int
from anatomy_vlm.hub_cards import REFERENCE_MODEL


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        default=REFERENCE_MODEL,
        metavar="DIR_OR_ID",
        help="folder or Hub id of a model (default: the reference checkpoint that comes with the package)",
    )
    parser.add_argument(
        "--mask-model",
        metavar="DIR_OR_ID",
        help="folder or Hub id of a model that writes masks (default: the one that comes with the package, if any)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    parser.add_argument("--port", type=positive_int, metavar="N", help="default: the first free one from 7860 on")
    parser.add_argument(
        "--max-megabytes",
        type=positive_int,
        default=64,
        metavar="N",
        help="refuse larger files (default: %(default)s)",
    )
    parser.add_argument("--no-examples", action="store_true", help="draw no synthetic films to try it with")
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    add_device_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from anatomy_vlm.app.server import AppSettings, serve

    return serve(
        AppSettings(
            model=args.model,
            mask_model=args.mask_model,
            host=args.host,
            port=args.port,
            max_megabytes=args.max_megabytes,
            examples=not args.no_examples,
            device=args.device,
            bf16=args.bf16,
            open_browser=args.open,
        )
    )
