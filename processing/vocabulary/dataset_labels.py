"""Image labels of public datasets in terms of our findings."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from .findings import more_general_findings
from .tables import VocabularyError, closest, load_table


@cache
def _tables() -> dict[str, dict[str, dict[str, Any]]]:
    return load_table("dataset_labels.yaml")


def dataset_label_names(dataset: str) -> tuple[str, ...]:
    """Label names of a dataset ("chexpert", "nih", "vindr", "padchest", "rsna", "siim"), as the dataset spells them.

    Raises:
        VocabularyError: no table for this dataset.

    Examples:
        >>> len(dataset_label_names("chexpert"))
        14
    """
    if dataset not in _tables():
        raise VocabularyError(f"no label table for dataset {dataset!r}; there are {', '.join(_tables())}")
    return tuple(_tables()[dataset])


def map_dataset_labels(dataset: str, labels: Mapping[str, float], *, ignore_unknown: bool = False) -> dict[str, int]:
    """What the labels of one image say about our findings.

    A label that is a special form of a finding ("Emphysema" of "copd/emphysema") says nothing when it is 0. Where two
    labels disagree, present wins: an image with consolidation has a lung opacity, whether that label is set or not.

    Args:
        dataset: see `dataset_label_names`.
        labels: value by label name; 1 present, 0 absent, anything else (-1, NaN) unknown.
        ignore_unknown: leave out label names that the table does not have.

    Returns:
        1 or 0 by finding name; a finding that is not in it is unknown.

    Raises:
        VocabularyError: unknown dataset or label.

    Examples:
        >>> map_dataset_labels("nih", {"Effusion": 1, "Emphysema": 0, "Pneumonia": 0})
        {'pneumonia': 0, 'pleural effusion': 1}
    """
    names = dataset_label_names(dataset)
    table = _tables()[dataset]
    unknown = [name for name in labels if name not in table]
    if unknown and not ignore_unknown:
        raise VocabularyError(f"unknown {dataset} label {unknown[0]!r}{closest(unknown[0], names)}")
    positive = [table[name] for name, value in labels.items() if name in table and value == 1]
    negative = [table[name] for name, value in labels.items() if name in table and value == 0]
    if any(entry.get("normal") for entry in positive):
        negative += [entry for entry in table.values() if not entry.get("normal") and not entry.get("device")]
    absent = [f for entry in negative for f in (*filter(None, [entry.get("same")]), *entry.get("covers", ()))]
    present = [f for entry in positive for f in (*filter(None, [entry.get("same")]), *entry.get("implies", ()))]
    implied = {general for finding in present for general in more_general_findings(finding)}.intersection(absent)
    return dict.fromkeys(absent, 0) | dict.fromkeys([*present, *implied], 1)
