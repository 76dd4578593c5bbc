"""Weights of regions and findings for the long tail: what is rare counts for more."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from anatomy_vlm.training.recipe import suggestion


def balanced_weights(counts: torch.Tensor) -> torch.Tensor:
    """
    Weights of classes that were counted `counts` `(num_classes,)` times: proportional to 1 / sqrt(count) (Mahajan et
    al., 2018), with a mean of 1 over everything counted, so that a loss keeps its size; 1 for what was never counted.

    Example:
        >>> balanced_weights(torch.tensor([100.0, 4.0, 0.0]))
        tensor([0.8667, 4.3333, 1.0000])
    """
    counts = counts.float()
    roots = counts.sqrt()
    return torch.where(counts > 0, counts.sum() / roots.sum() / roots, torch.ones_like(counts))


def count_entries(entries: Iterable[Mapping[str, str]], key: str, names: Sequence[str]) -> torch.Tensor:
    """How many of the `region_findings` entries name each of `names` under `key`; of findings, as present."""
    index = {name: i for i, name in enumerate(names)}
    counts = torch.zeros(len(names))
    for entry in entries:
        if entry[key] and (key != "finding" or entry["polarity"] == "present"):
            counts[index[entry[key]]] += 1
    return counts


def tail_weights(
    option: str | Mapping[str, float] | None, key: str, names: Sequence[str], region_findings: Iterable[Any]
) -> torch.Tensor | None:
    """
    The weights `(len(names),)` of an option of a recipe.

    Args:
        option: None for no weights; "balanced", see `balanced_weights`; or a weight by name, 1 for other names.
        key: "region" or "finding".
        names: The regions or findings, in order.
        region_findings: That column of the training data, counted where the weights are balanced.

    Raises:
        ValueError: for another option, an unknown name, or a weight that is not a positive number.
    """
    if option is None:
        return None
    if option == "balanced":
        return balanced_weights(count_entries((e for entries in region_findings for e in entries), key, names))
    if not isinstance(option, Mapping):
        raise ValueError(f"{key}_weights must be 'balanced' or weights by name, not {option!r}")
    weights = torch.ones(len(names))
    for name, weight in option.items():
        if name not in names:
            raise ValueError(f"{key}_weights: unknown {key} '{name}'; {suggestion(str(name), tuple(names))}")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < float("inf"):
            raise ValueError(f"{key}_weights: the weight of '{name}' must be a positive number, not {weight!r}")
        weights[list(names).index(name)] = weight
    return weights
