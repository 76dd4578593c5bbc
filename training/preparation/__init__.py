"""Prepare a dataset once: decode and resize its films into shards, list what is wrong, and write its passport."""

from anatomy_vlm.training.preparation.preparation import Preparation, prepare


__all__ = ["Preparation", "prepare"]
