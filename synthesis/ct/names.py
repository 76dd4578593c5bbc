"""Structure names: what a label value means, and how other vocabularies call it."""

import csv
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml


@lru_cache(maxsize=2)
def _yaml(name: str) -> dict[str, Any]:
    return yaml.safe_load((Path(__file__).parent / name).read_text(encoding="utf-8"))


def label_schemes() -> tuple[str, ...]:
    """Names of the label schemes that `label_names` knows, each one task of one version of a tool."""
    return tuple(_yaml("label_schemes.yaml")["schemes"])


def label_names(scheme: str | Path | Mapping[int, str]) -> dict[int, str]:
    """Label value -> structure name.

    Args:
        scheme: a name from `label_schemes`, a mapping, or a CSV file with the columns `id` and `structure`.

    Raises:
        ValueError: for an unknown scheme, or a CSV file without the two columns.

    Example:
        >>> label_names("totalsegmentator_v2_total")[51], label_names("totalsegmentator_v1_total")[7]
        ('heart', 'aorta')
    """
    if isinstance(scheme, Mapping):
        return {int(value): str(name) for value, name in scheme.items()}
    known = _yaml("label_schemes.yaml")["schemes"]
    if str(scheme) in known:
        return {i: name for i, name in enumerate(known[str(scheme)]["names"], start=1) if name != "-"}
    if Path(scheme).is_file():
        with Path(scheme).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        if not rows or not {"id", "structure"} <= set(rows[0]):
            raise ValueError(f"{scheme}: expected a CSV file with the columns id and structure")
        return {int(row["id"]): row["structure"] for row in rows if row["id"]}
    raise ValueError(f"unknown label scheme {str(scheme)!r}; give a CSV file or one of {', '.join(known)}")


def vocabularies() -> tuple[str, ...]:
    """Vocabularies that `structure_parts` translates into."""
    return tuple(_yaml("structure_names.yaml")["vocabularies"])


def structure_parts(vocabulary: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    """How another vocabulary's names are made from our structure names.

    Returns:
        Name -> (rule, structures); "any" is the union of those that exist, "all" the union if all exist, "within" the
        part of the first inside the second.

    Raises:
        ValueError: for an unknown vocabulary.

    Example:
        >>> structure_parts("chexanatomy")["lung_left"]
        ('all', ('lung_upper_lobe_left', 'lung_lower_lobe_left'))
    """
    if vocabulary not in vocabularies():
        raise ValueError(f"unknown vocabulary {vocabulary!r}; choose one of {', '.join(vocabularies())}")
    table = _yaml("structure_names.yaml")["vocabularies"][vocabulary]
    parts: dict[str, tuple[str, tuple[str, ...]]] = {name: ("any", (name,)) for name in table["same"]}
    for name, rule in table["unions"].items():
        kind, members = ("any", rule) if isinstance(rule, list) else next(iter(rule.items()))
        parts[name] = (kind, tuple(members))
    return parts
