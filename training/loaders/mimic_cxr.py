"""MIMIC-CXR and MIMIC-CXR-JPG: films, reports, CheXpert labels, official splits."""

from collections import Counter

from anatomy_vlm.training.loaders.mimic_layout import MimicFiles, mimic_view
from anatomy_vlm.training.loaders.patient_splits import split_name
from anatomy_vlm.training.loaders.record import Entry, Record, label_findings
from anatomy_vlm.training.loaders.reports import report_statements
from anatomy_vlm.training.loaders.source import Source
from anatomy_vlm.training.loaders.tables import column_names, find_file, need_file, number, read_table


_KEYS = ("subject_id", "study_id")
_SECTIONS = ("findings", "impression", "last_paragraph", "comparison")


class MimicCXR(Source):
    """
    MIMIC-CXR 2.0.0, as JPEG or DICOM.

    Labels are CheXpert's of the study; an uncertain one (-1) becomes an uncertain statement of the image, and its
    label stays unknown. Statements on regions are read from the report.

    Args:
        root: Folder with the tables and `files`.
        images: Folder with the films, where it is another one.
        reports: Folder with the reports (`files/.../s<study>.txt`), where it is another one.
        frontal_only: Only films whose view is PA or AP.
        splits: Shares to draw splits by patient instead of those of the dataset.
    """

    name = "mimic_cxr"

    def __init__(
        self,
        root: str,
        images: str | None = None,
        reports: str | None = None,
        frontal_only: bool = True,
        splits: dict[str, float] | None = None,
    ):
        self.notes, self.left_out = Counter[str](), Counter[str]()
        files = MimicFiles(images or root)
        self.report_files = MimicFiles(reports or root)
        labels, sections = self._labels(root), self._sections(root)
        metadata = need_file(root, "mimic-cxr-2*-metadata.csv", holds="the view of each film")
        official = self._splits(root)
        entries = []
        for row in read_table(metadata, (*_KEYS, "dicom_id", "ViewPosition")):
            view = mimic_view(row["ViewPosition"])
            subject, study, dicom = row["subject_id"], row["study_id"], row["dicom_id"]
            if frontal_only and view not in ("PA", "AP"):
                self.leave_out("not frontal", official.get(dicom, ""))
            elif dicom not in official:
                self.leave_out("in no split")
            else:
                path = files.image(subject, study, dicom)
                entries.append(
                    Entry(dicom, subject, official[dicom], path, (study, view, labels.get(study), sections.get(study)))
                )
        self.set_entries(entries, f"mimic_cxr in {root}", splits)

    def _splits(self, root: str) -> dict[str, str]:
        path = need_file(root, "mimic-cxr-2*-split.csv", holds="the split of each film")
        return {
            row["dicom_id"]: split_name(row["split"], str(path)) for row in read_table(path, ("dicom_id", "split"))
        }

    def _labels(self, root: str) -> dict[str, dict[str, float]]:
        path = find_file(root, "mimic-cxr-2*-chexpert.csv")
        if path is None:
            self.notes["table missing: mimic-cxr-2.0.0-chexpert.csv, so labels are unknown"] += 1
            return {}
        names = [name for name in column_names(path) if name not in _KEYS]
        return {
            row["study_id"]: {name: number(row[name], f"{path}: {name}") for name in names if row[name]}
            for row in read_table(path, ("study_id", *names))
        }

    def _sections(self, root: str) -> dict[str, str]:
        path = find_file(root, "mimic_cxr_sectioned.csv")
        if path is None:
            return {}
        rows = read_table(path, ("study", "findings", "impression"), _SECTIONS[2:])
        return {row["study"].lstrip("s"): joined_sections({name: row[name] for name in _SECTIONS}) for row in rows}

    def record(self, entry: Entry) -> Record:
        study, view, values, sections = entry.row
        labels, uncertain = label_findings("chexpert", values or {})
        report = sections or self.report_files.report_text(entry.patient_id, study)
        return Record(
            findings=[*uncertain, *report_statements(report)],
            labels=labels,
            report=report,
            study_id=study,
            view=view,
        )


def joined_sections(sections: dict[str, str]) -> str:
    """
    A report of its sections, each under its name; the last paragraph stands in where there is neither of the others.

    Examples:
        >>> joined_sections({"findings": "Clear lungs.", "impression": "Normal.", "last_paragraph": "x"})
        'FINDINGS: Clear lungs.\\n\\nIMPRESSION: Normal.'
    """
    kept = {name: " ".join(text.split()) for name, text in sections.items() if text.strip()}
    if kept.keys() & {"findings", "impression"}:
        kept.pop("last_paragraph", None)
    return "\n\n".join(f"{name.replace('last_paragraph', 'findings').upper()}: {text}" for name, text in kept.items())
