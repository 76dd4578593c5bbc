"""What every kind of synthetic dataset needs: splits by patient, requests that are kept, and versions."""

import importlib.metadata
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


class SynthesisError(ValueError):
    """A request that cannot be met; the message names the argument and the cure."""


def split_counts(num_patients: int, splits: Mapping[str, float]) -> dict[str, int]:
    """Patients per split: every split with a share gets at least one patient, the largest takes the rest.

    Raises:
        SynthesisError: For negative shares, a sum other than 1, or fewer patients than splits.

    Examples:
        >>> split_counts(100, {"train": 0.8, "validation": 0.1, "test": 0.1})
        {'train': 80, 'validation': 10, 'test': 10}
    """
    if not splits or min(splits.values()) <= 0 or abs(sum(splits.values()) - 1) > 1e-6:
        raise SynthesisError(f"splits must be positive shares that sum to 1, got {dict(splits)}")
    if num_patients < len(splits):
        raise SynthesisError(
            f"num_patients is {num_patients}, fewer than the {len(splits)} splits; ask for more patients"
        )
    counts = {name: max(int(share * num_patients + 0.5), 1) for name, share in splits.items()}
    largest = max(splits, key=lambda name: splits[name])
    counts[largest] += num_patients - sum(counts.values())
    return counts


def check_request(path: Path, request: Mapping[str, Any]) -> None:
    """Raises `SynthesisError` if the file at `path` holds a request that differs from this one."""
    held = json.loads(path.read_text(encoding="utf-8"))["request"]
    wrong = sorted(key for key in request if held.get(key) != request[key])
    if wrong:
        raise SynthesisError(
            f"{path.parent} holds a dataset with another {', '.join(wrong)}; choose another folder or delete this one"
        )


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Installed version of each package, "unknown" for one that is not installed."""
    out = {}
    for name in packages:
        try:
            out[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            out[name] = "unknown"
    return out
