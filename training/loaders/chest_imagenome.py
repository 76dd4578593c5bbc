"""Chest ImaGenome: 29 (36) regions with boxes and statements, on the frontal films of MIMIC-CXR."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from anatomy_vlm.training.loaders.errors import DatasetError
from anatomy_vlm.training.loaders.gold_annotations import gold_records
from anatomy_vlm.training.loaders.mimic_layout import MimicFiles, mimic_view
from anatomy_vlm.training.loaders.patient_splits import split_name
from anatomy_vlm.training.loaders.record import Entry, Record
from anatomy_vlm.training.loaders.scene_graph import image_labels, read_graph
from anatomy_vlm.training.loaders.source import Source
from anatomy_vlm.training.loaders.tables import need_file, read_table
from anatomy_vlm.training.loaders.zip_members import ZipMembers


_COLUMNS = ("subject_id", "study_id", "dicom_id")


class ChestImaGenome(Source):
    """
    Chest ImaGenome 1.0.0.

    Boxes are the original coordinates, statements those of the scene graphs, read from the archive as they are needed.
    Where MIMIC-CXR's reports lie beside the films they become the `report`.

    Args:
        root: Folder of Chest ImaGenome, with `silver_dataset` and `gold_dataset`.
        images: Folder of MIMIC-CXR-JPG or MIMIC-CXR, with `files`.
        additional_regions: Also take what is said of the seven of the 36 regions with boxes that are not among the 29:
            what is present there is present in the region around it.
        gold: Add the 1,000 films annotated by hand as the split "gold".
        keep_avoided: Keep the films of gold patients in the silver splits (images_to_avoid.csv).
        splits: Shares to draw splits by patient instead of those of the dataset.
    """

    name = "chest_imagenome"

    def __init__(
        self,
        root: str,
        images: str,
        additional_regions: bool = False,
        gold: bool = False,
        keep_avoided: bool = False,
        splits: dict[str, float] | None = None,
    ):
        if gold and (splits is not None or keep_avoided):
            raise DatasetError(
                "chest_imagenome: gold goes with the dataset's own splits and without keep_avoided; patients would be "
                "in two splits"
            )
        self.additional_regions = additional_regions
        self.notes, self.left_out = Counter[str](), Counter[str]()
        self.files = MimicFiles(images)
        folder = Path(root)
        avoided = self._rows(need_file(folder, "silver_dataset/splits/images_to_avoid.csv", holds="the gold patients"))
        self.graphs = ZipMembers(need_file(folder, "silver_dataset/scene_graph.zip", holds="the scene graphs"))
        left_out = set() if keep_avoided else {row["dicom_id"] for row in avoided}
        left_out_patients = set() if keep_avoided else {row["subject_id"] for row in avoided}
        entries = [
            entry
            for split in ("train", "valid", "test")
            for entry in self._silver(folder, split, left_out, left_out_patients)
        ]
        if gold:
            entries += self._gold(folder, avoided)
        self.set_entries(entries, f"chest_imagenome in {root}", splits)
        self.graphs.keep({graph_name(entry.image_id) for entry in self.entries})

    def _rows(self, path: Path) -> list[dict[str, str]]:
        return list(read_table(path, _COLUMNS, ("ViewPosition",)))

    def _silver(self, folder: Path, split: str, left_out: set[str], patients: set[str]) -> Iterator[Entry]:
        path = need_file(folder, f"silver_dataset/splits/{split}.csv", holds="a silver split")
        for row in self._rows(path):
            subject, study, dicom = row["subject_id"], row["study_id"], row["dicom_id"]
            name = split_name(split, str(path))
            if dicom in left_out or subject in patients:
                self.leave_out("of a gold patient (images_to_avoid.csv)", name)
            elif graph_name(dicom) not in self.graphs:
                self.leave_out("without a scene graph", name)
            else:
                yield Entry(
                    dicom, subject, name, self.files.image(subject, study, dicom),
                    (study, row["ViewPosition"], None),
                )  # fmt: skip

    def _gold(self, folder: Path, avoided: list[dict[str, str]]) -> Iterator[Entry]:
        known = {row["dicom_id"]: row for row in avoided}
        for dicom, annotations in gold_records(folder / "gold_dataset").items():
            row = known.get(dicom) or annotations
            subject, study = row.get("subject_id", ""), row.get("study_id", "")
            if not subject or not study:
                self.leave_out("gold, but no table names its patient and study", "gold")
                continue
            path = self.files.image(subject, study, dicom)
            yield Entry(dicom, subject, "gold", path, (study, row.get("ViewPosition", ""), annotations))

    def record(self, entry: Entry) -> Record:
        study, position, gold = entry.row
        notes: list[str] = []
        if gold is not None:
            boxes, findings, view = gold["boxes"], gold["findings"], ""
        else:
            name = graph_name(entry.image_id)
            graph = read_graph(self.graphs.read(name), f"{self.graphs.path}: {name}", self.additional_regions)
            boxes, findings, view, notes = graph.boxes, graph.findings, graph.view, graph.notes
        return Record(
            boxes=boxes,
            findings=findings,
            labels=image_labels(findings),
            report=self.files.report_text(entry.patient_id, study),
            study_id=study,
            view=mimic_view(position or view),
            notes=notes,
        )


def graph_name(dicom: str) -> str:
    """File name of the scene graph of a film."""
    return f"{dicom}_SceneGraph.json"
