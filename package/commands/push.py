"""Publish a trained model on the Hugging Face Hub: weights in safetensors, processor, code and card.

Needs a token with write access (`hf auth login`, or HF_TOKEN). An upload that broke off goes on when the same command
is given again.
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL", help="folder of a model or of a mask writer; with --stages that of a run"
    )
    parser.add_argument("repo_id", metavar="REPO_ID", help="where to, owner/name")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--gated", choices=("auto", "manual"), help="who loads it has to ask for access")
    parser.add_argument("--branch", default="main", metavar="NAME", help="default: %(default)s")
    parser.add_argument("--tag", metavar="NAME", help="tag the commit, for example v1.0")
    parser.add_argument("--stages", action="store_true", help="one tagged commit per stage of a run")
    parser.add_argument("--message", default="Upload Anatomy-VLM", metavar="TEXT", help="of the commits")
    parser.add_argument("--half", action="store_true", help="store the weights in float16, half the size")
    parser.add_argument("--no-code", action="store_true", help="weights and processor only; loads with this package")
    parser.add_argument(
        "--max-shard-size", default="1GB", metavar="SIZE", help="of a file of weights (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    from anatomy_vlm.training.push_hub import push

    published = push(
        args.model,
        args.repo_id,
        private=args.private,
        gated=args.gated,
        branch=args.branch,
        tag=args.tag,
        stages=args.stages,
        message=args.message,
        half=args.half,
        code=not args.no_code,
        max_shard_size=args.max_shard_size,
    )
    print(f"published {published.url} at {published.commit}" + "".join(f", tag {tag}" for tag in published.tags))
    return 0
