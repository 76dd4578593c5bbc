"""IU X-ray (OpenI): films with reports, in the three forms in which they go round."""

from collections import Counter
from pathlib import Path
from typing import Any

from anatomy_vlm.processing.report_reading import OpenIReport, ReportFileError, read_openi_file
from anatomy_vlm.training.loaders.errors import DatasetError
from anatomy_vlm.training.loaders.image_index import ImageIndex, image_stem
from anatomy_vlm.training.loaders.mimic_cxr import joined_sections
from anatomy_vlm.training.loaders.openi_terms import term_findings, term_labels
from anatomy_vlm.training.loaders.paths import path_inside
from anatomy_vlm.training.loaders.patient_splits import split_name
from anatomy_vlm.training.loaders.record import Entry, Record
from anatomy_vlm.training.loaders.reports import report_statements
from anatomy_vlm.training.loaders.scene_graph import image_labels
from anatomy_vlm.training.loaders.source import Source
from anatomy_vlm.training.loaders.tables import find_file, need_file, read_json, read_table


_SECTIONS = ("indication", "comparison", "findings", "impression")


class IUXray(Source):
    """
    The Indiana University collection, as OpenI's XML files, Kaggle's two tables or R2Gen's `annotation.json`.

    Labels come from the curators' MeSH terms where there are some, and from the report. Every examination counts as
    its own patient, as the collection has it. Whether a film is frontal only Kaggle's table of projections says; it is
    used for the XML files beside it, too.

    Args:
        root: Folder with reports and films.
        images: Folder with the films, where it is another one.
        form: "openi", "kaggle" or "r2gen"; by default the first of them whose files are there.
        frontal_only: Leave out films that are known to be lateral.
        splits: Shares to draw splits by patient; R2Gen's own, or 70, 10 and 20 % by default.
    """

    name = "iu_xray"

    def __init__(
        self,
        root: str,
        images: str | None = None,
        form: str | None = None,
        frontal_only: bool = False,
        splits: dict[str, float] | None = None,
    ):
        self.notes, self.left_out = Counter[str](), Counter[str]()
        readers = {"openi": self._openi, "kaggle": self._kaggle, "r2gen": self._r2gen}
        if form is None:
            form = _found_form(root)
        if form not in readers:
            raise DatasetError(f"iu_xray: form '{form}' is not one of {', '.join(readers)}")
        self._frontal_only = frontal_only
        self._images = ImageIndex(images or root)
        entries = readers[form](Path(root))
        del self._images
        self.set_entries(entries, f"iu_xray in {root}", splits)

    def _keep(self, view: str) -> bool:
        if self._frontal_only and view == "LATERAL":
            self.leave_out("lateral")
            return False
        return True

    def _openi(self, root: Path) -> list[Entry]:
        views = _projections(root)
        entries = []
        for path in _xml_files(root):
            report = _openi_report(path)
            if not report.images:
                self.notes["report left out: without films"] += 1
            parts = {label.lower(): " ".join(text.split()) for label, text in report.parts}
            sections = {name: parts.get(name, "") for name in _SECTIONS}
            for image in report.images:
                # Kaggle dropped the examination from the front of OpenI's names.
                view = views.get(image.partition("_")[2], "")
                if self._keep(view):
                    row = (view, sections, report.terms)
                    entries.append(Entry(image, report.uid, "", self._images.find(image), row))
        return entries

    def _kaggle(self, root: Path) -> list[Entry]:
        path = need_file(root, "indiana_reports.csv", holds="the reports")
        studies = {row["uid"]: row for row in read_table(path, ("uid", "MeSH", *_SECTIONS))}
        films = need_file(root, "indiana_projections.csv", holds="the films of each report")
        entries = []
        for row in read_table(films, ("uid", "filename", "projection")):
            study, view = studies.get(row["uid"]), _view(row["projection"])
            if study is None:
                self.leave_out("without a report")
            elif self._keep(view):
                terms = tuple(term.strip() for term in study["MeSH"].split(";") if term.strip())
                details = (view, {name: study[name] for name in _SECTIONS}, terms)
                path_of_film = self._images.find(row["filename"])
                entries.append(Entry(image_stem(row["filename"]), f"CXR{row['uid']}", "", path_of_film, details))
        return entries

    def _r2gen(self, root: Path) -> list[Entry]:
        path = need_file(root, "annotation.json", holds="R2Gen's reports and splits")
        value = read_json(path)
        if not isinstance(value, dict):
            raise DatasetError(f"{path}: expected an object with train, val and test")
        entries = []
        for split, studies in value.items():
            if not isinstance(studies, list) or not all(map(_is_study, studies)):
                raise DatasetError(f"{path}: '{split}' must be a list of studies with texts and lists of images")
            for study in studies:
                for key in ("id", "report", "image_path"):
                    if key not in study:
                        raise DatasetError(f"{path}: a study of '{split}' has no '{key}'; found {', '.join(study)}")
                for image in study["image_path"]:
                    path_inside(root, image, str(path))
                    place = next(
                        (p for p in (root / "images" / image, self._images.root / image) if p.is_file()), None
                    )
                    entries.append(
                        Entry(
                            image, study["id"].partition("_")[0], split_name(split, str(path)),
                            str(place or root / "images" / image), ("", {"findings": study["report"]}, ()),
                        )
                    )  # fmt: skip
        return entries

    def record(self, entry: Entry) -> Record:
        view, sections, terms = entry.row
        report = joined_sections({name: text or "" for name, text in sections.items()})
        findings = [*term_findings(terms), *report_statements(report)]
        return Record(
            findings=findings,
            labels=term_labels(terms) | image_labels(findings),
            report=report,
            study_id=entry.patient_id,
            view=view,
        )


def _is_study(study: Any) -> bool:
    """Whether what a study has is of the kinds that R2Gen's studies have; what it lacks is named later."""
    if not isinstance(study, dict):
        return False
    images = study.get("image_path", [])
    texts = [study.get("id", ""), study.get("report", ""), *(images if isinstance(images, list) else [None])]
    return all(isinstance(text, str) for text in texts)


def _openi_report(path: Path) -> OpenIReport:
    try:
        report = read_openi_file(path)
    except ReportFileError as error:
        raise DatasetError(f"{path}: {error}") from error
    if not report.uid:
        raise DatasetError(f"{path}: no element uId with an id, so not one of OpenI's reports")
    return report


def _xml_files(root: Path) -> list[Path]:
    return sorted(root.glob("**/*.xml"), key=lambda path: (len(path.stem), path.stem))


def _found_form(root: str) -> str:
    if find_file(root, "indiana_reports.csv") is not None and not any(Path(root).glob("ecgen-radiology/*.xml")):
        return "kaggle"
    if any(Path(root).glob("**/*.xml")):
        return "openi"
    if find_file(root, "annotation.json") is not None:
        return "r2gen"
    raise DatasetError(
        f"{root}: neither ecgen-radiology/*.xml (OpenI) nor indiana_reports.csv (Kaggle) nor annotation.json (R2Gen)"
    )


def _view(projection: str) -> str:
    return "LATERAL" if projection.lower() == "lateral" else ""


def _projections(root: Path) -> dict[str, str]:
    path = find_file(root, "indiana_projections.csv")
    if path is None:
        return {}
    return {
        image_stem(row["filename"]): _view(row["projection"]) for row in read_table(path, ("filename", "projection"))
    }
