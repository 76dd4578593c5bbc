"""PadChest: films with Spanish reports and labels of findings and places."""

import ast
from collections import Counter
from collections.abc import Iterator
from typing import Any

from anatomy_vlm.processing.vocabulary import dataset_label_names, get_finding, map_dataset_labels
from anatomy_vlm.training.loaders.errors import DatasetError
from anatomy_vlm.training.loaders.image_index import ImageIndex
from anatomy_vlm.training.loaders.record import Entry, Record, RegionFinding, label_findings
from anatomy_vlm.training.loaders.source import Source
from anatomy_vlm.training.loaders.tables import need_file, read_table


_COLUMNS = ("ImageID", "PatientID", "StudyID", "Projection", "Labels")
_OPTIONAL = ("Report", "MethodLabel", "LabelsLocalizationsBySentence")
_VIEWS = {"PA": "PA", "AP": "AP", "AP_horizontal": "AP", "L": "LATERAL"}
_FRONTAL = ("PA", "AP")
_SIDES = {"loc right": ("right lung",), "loc left": ("left lung",), "loc bilateral": ("right lung", "left lung")}


class PadChest(Source):
    """
    PadChest. What a report does not name counts as absent, as its makers have it; a label whose sentence says "left"
    or "right" is in that lung. Reports are Spanish, so statements are rendered from the labels.

    Args:
        root: Folder with the table and the films.
        images: Folder with the films, where it is another one.
        frontal_only: Only the projections PA, AP and AP_horizontal.
        physicians_only: Only reports that physicians labelled (MethodLabel "Physician"), not the network.
        splits: Shares of the splits drawn by patient; 70, 10 and 20 % by default.
    """

    name = "padchest"

    def __init__(
        self,
        root: str,
        images: str | None = None,
        frontal_only: bool = True,
        physicians_only: bool = False,
        splits: dict[str, float] | None = None,
    ):
        self.notes, self.left_out = Counter[str](), Counter[str]()
        path = need_file(root, "PADCHEST_chest_x_ray_images_labels_160K*.csv", "*.csv", holds="the labels")
        index = ImageIndex(images or root)
        entries = []
        for row in read_table(path, _COLUMNS, _OPTIONAL):
            view = _VIEWS.get(row["Projection"], "")
            if frontal_only and view not in _FRONTAL:
                self.leave_out("not frontal")
            elif physicians_only and row["MethodLabel"] != "Physician":
                self.leave_out("not labelled by a physician")
            elif not row["Labels"] or row["Labels"] == "nan":
                self.leave_out("without labels")
            else:
                where = f"{path}: {row['ImageID']}"
                labels = tuple(words(row["Labels"], f"{where}: Labels"))
                places = row["LabelsLocalizationsBySentence"]
                sentences = tuple(map(tuple, sentence_labels(places, where))) if places not in ("", "nan") else ()
                details = (row["StudyID"], view, labels, sentences, row["Report"])
                entries.append(
                    Entry(row["ImageID"], row["PatientID"], "", index.find(row["ImageID"]), details)
                )  # fmt: skip
        self.set_entries(entries, f"padchest in {root}", splits)

    def record(self, entry: Entry) -> Record:
        study, view, listed, sentences, report = entry.row
        known = dataset_label_names("padchest")
        labels, _ = label_findings("padchest", {name: float(name in listed) for name in known})
        return Record(
            findings=[f for sentence in sentences for f in _placed(sentence)],
            labels=labels,
            report=report,
            study_id=study,
            view=view,
        )


def _placed(sentence: tuple[str, ...]) -> Iterator[RegionFinding]:
    """The findings of a sentence whose places name one side of the lungs, or both."""
    regions = {region for word in sentence for region in _SIDES.get(word, ())}
    for label in sentence:
        for name, value in map_dataset_labels("padchest", {label: 1}, ignore_unknown=True).items():
            if value == 1:
                yield from (RegionFinding(name, region=r) for r in sorted(regions) if r in get_finding(name).regions)


def words(text: str, where: str) -> list[str]:
    """
    The strings of a printed Python list, without evaluating it.

    Raises:
        DatasetError: not a printed list of strings.

    Examples:
        >>> words("['cardiomegaly', ' loc right', '']", "a cell")
        ['cardiomegaly', 'loc right']
    """
    value = _literal(text, where)
    if not isinstance(value, list | tuple) or not all(isinstance(word, str) for word in value):
        raise DatasetError(f"{where}: expected a list of words, found {text[:60]!r}")
    return [word.strip() for word in value if word.strip()]


def sentence_labels(text: str, where: str) -> list[list[str]]:
    """
    Labels and places of each sentence; the cell is a printed list of lists, or lists one after another.

    Examples:
        >>> sentence_labels("['pleural effusion', 'loc left'], ['scoliosis']", "a cell")
        [['pleural effusion', 'loc left'], ['scoliosis']]
    """
    value = _literal(text, where)
    if isinstance(value, list | tuple) and all(isinstance(word, str) for word in value):
        value = [value]
    if not isinstance(value, list | tuple) or not all(
        isinstance(sentence, list | tuple) and all(isinstance(word, str) for word in sentence) for sentence in value
    ):
        raise DatasetError(f"{where}: expected lists of words, found {text[:60]!r}")
    return [[word.strip() for word in sentence if word.strip()] for sentence in value]


def _literal(text: str, where: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise DatasetError(f"{where}: expected a list, found {text[:60]!r}") from None
