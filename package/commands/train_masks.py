"""Train a writer of masks on synthetic chests.

    anatomy-vlm train-masks --out writer

makes what `predict --masks` uses by default. Films are drawn once and kept in DIR/films.safetensors; an interrupted
training goes on from its last checkpoint. The result is a folder that `from_pretrained` loads.
"""

import argparse
from pathlib import Path

from anatomy_vlm.commands.arguments import add_writer_arguments, whole_number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the training and its model")
    add_writer_arguments(parser)
    parser.add_argument("--learning-rate", type=float, default=1e-3, metavar="R", help="default: 0.001")
    parser.add_argument(
        "--encoder-factor", type=float, default=0.3, metavar="F", help="rate of the tower; 0 freezes it (default: 0.3)"
    )
    parser.add_argument("--save-steps", type=whole_number, default=200, metavar="N", help="default: 200")


def run(args: argparse.Namespace) -> int:
    from transformers import AutoImageProcessor

    from anatomy_vlm.hub_cards import REFERENCE_MODEL, writer_card
    from anatomy_vlm.training.export_masks import export_mask_model
    from anatomy_vlm.training.masks.film_shapes import drawn_or_kept
    from anatomy_vlm.training.masks.writer_training import (
        CODEC_WEIGHTS,
        WriterSettings,
        build_writer,
        check_codec,
        train_writer,
        training_facts,
    )

    settings = WriterSettings(
        steps=args.steps,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        encoder_factor=args.encoder_factor,
        bf16=not args.float32,
        save_steps=args.save_steps,
        use_cpu=args.cpu,
    )
    source = args.model or REFERENCE_MODEL
    codec = check_codec(args.codec or CODEC_WEIGHTS)
    image_processor = AutoImageProcessor.from_pretrained(source)
    shapes = drawn_or_kept(
        args.out / "films.safetensors", args.films, 8_000_000 + args.seed, args.image_size, num_workers=args.workers
    )
    model = build_writer(source, shapes.names, codec, args.seed)
    done = train_writer(model, shapes, image_processor, settings, args.out / "checkpoints", args.seed)
    size = {"height": model.config.image_size, "width": model.config.image_size}
    image_processor.size = size
    folder = args.out / "model"
    card = writer_card(shapes.names, training_facts(settings, args.films, done, source), model_id=str(folder))
    export_mask_model(model, folder, image_processor, card, half=True)
    print(f"{folder}: loss {done['last_loss']}, {done['trained_weights']:,} trained weights")
    return 0
