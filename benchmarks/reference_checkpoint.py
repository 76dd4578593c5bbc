"""From a run of `phantom-reference` to the checkpoint that the package ships: calibrated, measured, with its card.

    anatomy-vlm train phantom-reference --output outputs/phantom-reference
    python benchmarks/reference_checkpoint.py [--run outputs/phantom-reference] [--out hub_cards/phantom-reference]

Findings that the validation films do not show the model to see (a lower end of the AUC's interval under 0.6, or too
few patients) are not asked for. Scores are calibrated and thresholds selected on the validation films, and reported on
the test films of the recipe; boxes are measured on real films too (`benchmarks/real_films.py`), if the folder of real
data is there.
"""

import argparse
from pathlib import Path
from typing import Any

from real_films import default_data, measure_sets, to_markdown

from anatomy_vlm.hub_cards import model_card
from anatomy_vlm.prediction import library_versions
from anatomy_vlm.processing.atomic_files import write_json, write_text
from anatomy_vlm.training.evaluation import evaluate_model
from anatomy_vlm.training.evaluation.model_calibration import calibrate_model
from anatomy_vlm.training.evaluation.result import IMAGE_FINDINGS
from anatomy_vlm.training.export_hub import export
from anatomy_vlm.training.loaders import load_data
from anatomy_vlm.training.model_folder import load_checkpoint
from anatomy_vlm.training.recipe import load_recipe


MIN_AUC = 0.6
ABOUT_REAL_FILMS = """\
Boxes on films of patients, none of which was in training; intervals (95 %) by bootstrap over films. "Set's mean box"
is the mean box of the very set, which nobody has beforehand. These films guided how the synthetic chest is drawn, so
they are no untouched test. CTR is the cardiothoracic ratio from the boxes, compared with the table of the set.

{table}

In the second set readers drew the lungs to the outer edge of the ribs, at times beyond the exposed field; the boxes of
this model end where the air does."""


def keep_seen_findings(model: Any, processor: Any, validation: Any) -> str:
    """Leave the processor the prompts of findings that the model sees; the others in words."""
    result = evaluate_model(model, processor, validation)
    aucs = {s.name: s for s in result.scores if (s.task, s.metric) == (IMAGE_FINDINGS, "roc_auc")}
    names = list(processor.finding_prompts)
    seen = [name for name in names if aucs[name].low > MIN_AUC]
    processor.finding_prompts = {name: processor.finding_prompts[name] for name in seen}
    return ", ".join(f"{name} ({aucs[name].value:.2f})" for name in names if name not in seen)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("outputs/phantom-reference"))
    parser.add_argument("--out", type=Path, default=Path("hub_cards/phantom-reference"))
    parser.add_argument("--data", type=Path, default=default_data())
    parser.add_argument(
        "--history", default="", metavar="TEXT", help="how the weights came about, where not by one run"
    )
    args = parser.parse_args()
    recipe = load_recipe(str(args.run / "recipe.yaml"))
    splits = load_data(recipe.data.loader, recipe.data.arguments)
    train, validation, test = (splits[name] for name in (recipe.data.train, recipe.data.validation, recipe.data.test))
    model, processor = load_checkpoint(args.run / "model")
    unseen = keep_seen_findings(model, processor, validation)
    calibrate_model(model, processor, validation)
    result = evaluate_model(model, processor, test, validation=validation, train=train)
    processor.finding_thresholds = {name: cut.value for name, cut in result.thresholds.items()}
    export(model, args.out, processor, half=True, code=False)

    real = measure_sets(args.data, str(args.out)) if args.data.is_dir() else {}
    sections = {"How these weights came about": args.history} if args.history else {}
    if unseen:
        sections["Trained for, but not asked for"] = (
            f"On the validation films the AUC of these was too low or too uncertain to be of use: {unseen}."
        )
    if real:
        sections["Real films"] = ABOUT_REAL_FILMS.format(table=to_markdown(real))
    card = model_card(
        recipe.to_dict(),
        result.to_dict(),
        model_id="hub_cards/phantom-reference",
        sizes={split: f"{len(splits[split])} films" for split in splits},
        versions=library_versions(),
        calibrated=True,
        code=False,
        sections=sections,
    )
    write_text(args.out / "README.md", card)
    write_json(args.out / "results.json", {"synthetic films": result.to_dict(), "real films": real})
    print(result.to_markdown())
    print(to_markdown(real))


if __name__ == "__main__":
    main()
