"""What the MeSH and RadLex terms of OpenI's curators say: "Pleural Effusion/left/small", "normal"."""

from collections.abc import Iterable
from functools import cache
from importlib.resources import files

import yaml

from anatomy_vlm.processing.vocabulary import FINDING_NAMES, FINDINGS, get_finding, map_dataset_labels
from anatomy_vlm.training.loaders.record import RegionFinding


_NORMAL = "normal"
_SEVERITY_WORDS = {
    "mild": "mild", "small": "mild", "minimal": "mild", "moderate": "moderate", "severe": "severe", "large": "severe",
}  # fmt: skip
_SIDES = {"left": ("left lung",), "right": ("right lung",), "bilateral": ("right lung", "left lung")}


@cache
def _table() -> dict[str, str]:
    text = files("anatomy_vlm.training.loaders").joinpath("openi_terms.yaml").read_text(encoding="utf-8")
    own = {noun.text.lower(): finding.name for finding in FINDINGS for noun in finding.nouns}
    return own | {name: name for name in FINDING_NAMES} | yaml.safe_load(text)


def _finding(words: list[str]) -> str:
    """The finding of a term's words, the head first; "" for none."""
    table = _table()
    return next((table[key] for key in (*(f"{words[0]}/{w}" for w in words[1:]), words[0]) if key in table), "")


def term_findings(terms: Iterable[str]) -> list[RegionFinding]:
    """
    The findings that terms name as present, with severity and side of the lung where they say so.

    Examples:
        >>> [(f.finding, f.region, f.severity) for f in term_findings(["Pleural Effusion/left/small", "normal"])]
        [('pleural effusion', 'left lung', 'mild')]
    """
    found = []
    for term in terms:
        words = [word.strip().lower() for word in term.split("/")]
        name = _finding(words)
        if not name:
            continue
        finding = get_finding(name)
        severities = {_SEVERITY_WORDS[word] for word in words if word in _SEVERITY_WORDS}
        severity = severities.pop() if len(severities) == 1 else ""
        sides = [side for word in words for side in _SIDES.get(word, ()) if side in finding.regions]
        severity = severity if severity in finding.severities else ""
        found += [RegionFinding(name, "present", region, severity) for region in sides or [""]]
    return found


def term_labels(terms: Iterable[str]) -> dict[str, float]:
    """Labels of the image: 1 for what terms name; "normal" says that the usual findings are absent."""
    terms = list(terms)
    present = {finding.finding: 1.0 for finding in term_findings(terms)}
    if [term.strip().lower() for term in terms] == [_NORMAL]:
        return {name: float(value) for name, value in map_dataset_labels("chexpert", {"No Finding": 1}).items()}
    return present
