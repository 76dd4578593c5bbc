"""Tables of studies, from the receipts of their runs: the ablation, and hard negatives on and off."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from anatomy_vlm.training.receipts.tasks import Outcome, TaskInputs
from anatomy_vlm.training.studies.scores import (
    BOX_IOU,
    BOX_MAP,
    IMAGE_AUC,
    IMAGE_AUC_WITH_REGIONS,
    NEGATED_AUC,
    PAIRED_AUC,
    REGION_AUC,
    REGION_AUC_BY_FINDING,
    REGION_AUC_OF_IMAGE,
    STATED_AUC,
)
from anatomy_vlm.training.studies.study import Study, load_study
from anatomy_vlm.training.studies.summary import answers, collect_scores, difference_table, receipts_in, score_table
from anatomy_vlm.training.tables.table import Table


ABLATION = (
    BOX_IOU,
    BOX_MAP,
    IMAGE_AUC,
    IMAGE_AUC_WITH_REGIONS,
    REGION_AUC_OF_IMAGE,
    REGION_AUC,
    REGION_AUC_BY_FINDING,
)
HARD_NEGATIVES = (IMAGE_AUC, REGION_AUC_BY_FINDING, STATED_AUC, NEGATED_AUC, PAIRED_AUC)
# Variants of the shipped study that the table of hard negatives is about.
OF_HARD_NEGATIVES = ("full", "no-hard-negatives", "no-perturbation", "no-attributes")


def study_table(inputs: TaskInputs) -> Outcome:
    """
    The task "table-study", by the settings `study` (file or name), `runs` (folder of the study or of its receipts) and
    `part` ("ablation" or "hard-negatives"): means over seeds, then differences from the reference.
    """
    study = load_study(str(inputs.settings["study"]))
    names: Sequence[str] = ABLATION
    scores = collect_scores(receipts_in(Path(str(inputs.settings["runs"]))))
    title = study.title or study.name
    if inputs.settings["part"] == "hard-negatives":
        study, names = _only(study, OF_HARD_NEGATIVES), HARD_NEGATIVES
        title = "Hard negatives on and off"
    means = score_table(study, scores, names, title)
    gaps = difference_table(study, scores, names, f"{title}: differences")
    gaps.notes += answers(study, scores, names)
    means.measured += [replace(item, name=f"difference | {item.name}") for item in gaps.numbers]
    return Outcome(means.numbers, Tables([means, gaps]))


def _only(study: Study, names: tuple[str, ...]) -> Study:
    """The study with these variants, and the questions about them."""
    return replace(
        study,
        variants=[variant for variant in study.variants if variant.name in names],
        questions=[question for question in study.questions if {question.of, question.without} <= set(names)],
    )


class Tables(list[Table]):
    """Tables that belong together."""

    def to_markdown(self) -> str:
        """One after another."""
        return "\n".join(table.to_markdown() for table in self)

    def to_latex(self) -> str:
        """One after another."""
        return "\n".join(table.to_latex() for table in self)
