"""The passport as text for a person."""

from collections.abc import Iterable, Sequence
from typing import Any

from anatomy_vlm.training.preparation.counts import expected_text


def passport_text(passport: dict[str, Any]) -> str:
    """The passport as Markdown."""
    parts = [
        f"# {passport['title']}, prepared",
        "\n".join(
            (
                f"- Licence: {passport['licence']}",
                f"- Cite: {passport['citation']}",
                f"- Origin: {passport['origin']}",
                *(f"- Known: {note}" for note in passport["known"]),
            )
        ),
        "## Images",
        _table(
            ("", "expected", "found", "left out", "missing"),
            [
                (row["name"], expected_text(row), row["found"], row["left_out"], row["missing"])
                for row in passport["counts"]
            ],
        ),
        _table(
            ("split", "patients", "studies", "images"),
            [(split, n["patients"], n["studies"], n["images"]) for split, n in passport["splits"].items()],
        ),
        *_problems(passport["problems"], passport["origin"]),
        *_checks(passport),
        "## Films",
        *_films(passport),
        "## Findings",
        _prevalence(passport["prevalence"]),
        "## Regions with boxes",
        _table(
            ("region", *passport["splits"]),
            [(region, *(n[split] for split in passport["splits"])) for region, n in passport["regions"].items()],
        )
        if passport["regions"]
        else "None.",
    ]
    return "\n\n".join(parts) + "\n"


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _list(items: Sequence[str], nothing: str = "None.") -> str:
    return "\n".join(f"- {item}" for item in items) or nothing


def _problems(problems: dict[str, Any], origin: str) -> list[str]:
    counts = [f"{number} {kind}" for kind, number in problems["counts"].items()]
    parts = [
        "## What is wrong",
        ", ".join(counts) + " (problems.csv lists them all)." if counts else "Every file is there.",
    ]
    if "missing" in problems["counts"]:
        parts.append(f"Missing files come from: {origin}.")
    if problems["examples"]:
        parts.append(_list(problems["examples"][:10]))
    if problems["notes"]:
        parts.append(_table(("annotations", "times"), problems["notes"].items()))
    return parts


def _checks(passport: dict[str, Any]) -> list[str]:
    leaks, twins, mirrored = passport["leaks"], passport["near_duplicates"], passport["mirrored"]
    checked = (
        f"of {mirrored['checked']} frontal films" if mirrored["checked"] else "not checked, too few frontal films"
    )
    parts = [
        "## Checks",
        _list(
            [
                f"patients in several splits: {leaks['patients']}; studies: {leaks['studies']}",
                f"near duplicates: {twins['pairs']} pairs, {twins['across_splits']} of them across splits",
                f"look mirrored: {mirrored['doubtful']} ({checked})",
            ]
        ),
    ]
    if twins["examples"]:
        rows = [(e["first"], e["second"], e["bits"], " / ".join(e["splits"])) for e in twins["examples"][:10]]
        parts.append(_table(("film", "near duplicate", "bits of 256", "splits"), rows))
    if mirrored["examples"]:
        parts.append("Least like the others, left against right:\n\n" + _list(mirrored["examples"][:10]))
    return parts


def _films(passport: dict[str, Any]) -> list[str]:
    spacing, photometry = passport["spacing"], passport["photometry"]
    width, height, row = spacing["width"], spacing["height"], spacing["row_mm"]
    facts = [
        f"original size: {width['min']:g} to {width['max']:g} wide, {height['min']:g} to {height['max']:g} high",
        f"pixel spacing: known of {spacing['films_with_spacing']}"
        + (f", {row['min']:g} to {row['max']:g} mm, {spacing['not_square']} not square" if row else ""),
        "doubts: " + (", ".join(f"{flag} {number}" for flag, number in photometry["doubts"].items()) or "none"),
    ]
    rows = [
        (
            split, ", ".join(f"{view} {number}" for view, number in views.items()),
            " / ".join(f"{photometry['levels'][split][name]:g}" for name in ("low", "middle", "high")),
            f"{passport['marks'][split]['left']:.1%} / {passport['marks'][split]['right']:.1%}",
        )
        for split, views in passport["views"].items()
    ]  # fmt: skip
    header = ("split", "views", "gray levels: 1 %, 50 %, 99 %", "white marks: image's left / right")
    return [
        _list(facts),
        _table(header, rows),
        *([_list(photometry["examples"][:10])] if photometry["examples"] else []),
    ]


def _prevalence(prevalence: dict[str, Any]) -> str:
    if not prevalence:
        return "None."
    splits = list(next(iter(prevalence.values())))
    rows = []
    for finding, counts in prevalence.items():
        cells = []
        for split in splits:
            known = counts[split]["present"] + counts[split]["absent"]
            share = f" ({counts[split]['present'] / known:.1%})" if known else ""
            cells.append(f"{counts[split]['present']} / {counts[split]['absent']}{share}")
        rows.append((finding, *cells))
    return "Films with / without; the rest does not say.\n\n" + _table(("finding", *splits), rows)
