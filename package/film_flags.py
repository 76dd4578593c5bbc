"""Doubts about a film, in the order in which they are asked, and which of them withhold findings."""

from collections.abc import Iterable, Mapping, Sequence

from anatomy_vlm.processing.film_audit import audit_flags
from anatomy_vlm.processing.image_quality import quality_flags
from anatomy_vlm.processing.radiograph import RadiographImage


# What makes every score of a finding meaningless. A mirrored or cut film is still read: its situs may be inverted, and
# what is on it can be seen.
WITHHOLDING = frozenset({"not_a_chest", "lateral", "rotated", "inverted", "body_part"})


def film_flags(images: Sequence[RadiographImage]) -> list[list[dict[str, str]]]:
    """Per film `{flag, reason}` each: first what header and grey values say, then what the picture looks like.

    A flag is named once, with the first reason.
    """
    audited = audit_flags([image.pixels for image in images])
    return [_once([*quality_flags(image), *audit]) for image, audit in zip(images, audited, strict=True)]


def withholding_flags(flags: Iterable[Mapping[str, str]]) -> list[str]:
    """Names of the flags for which findings are withheld."""
    return [flag["flag"] for flag in flags if flag["flag"] in WITHHOLDING]


def _once(flags: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    first: dict[str, dict[str, str]] = {}
    for flag in flags:
        first.setdefault(flag["flag"], flag)
    return list(first.values())
