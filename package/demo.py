"""The demo: synthesise, train, evaluate on unseen patients, read films, write a report."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from anatomy_vlm.processing.atomic_files import write_json, write_text


if TYPE_CHECKING:
    from anatomy_vlm.training.evaluation import EvaluationResult


_NUM_EXAMPLES = 8


@dataclass(frozen=True)
class DemoResult:
    """What a demo leaves behind.

    Attributes:
        out: the folder; `model`, `results.json`, `results.md`, `report.html` and `overlays` are below it.
        evaluation: of the test split.
        seconds: of each step.
    """

    out: Path
    evaluation: "EvaluationResult"
    seconds: Mapping[str, float]


def demo(
    out: str | Path = "outputs/demo",
    *,
    recipe: str = "phantom-tiny",
    overrides: Sequence[str] = (),
    films: Sequence[str | Path] = (),
    bootstrap: int = 1000,
) -> DemoResult:
    """Run the main job end to end; what an earlier run with the same settings finished is used again.

    Args:
        out: folder of everything that is written.
        recipe: a recipe file or the name of one that the package ships.
        overrides: `key.key=value` settings for the recipe.
        films: real films to read and show as well; files, folders, patterns.
        bootstrap: resamples of the intervals.

    Raises:
        RecipeError: the recipe cannot be used, or `out` holds a run of another one.
        InputFilesError: there are no such films.
    """
    from anatomy_vlm.demo_report import evaluate_run, read_real_films, read_test_films, split_sizes, write_report
    from anatomy_vlm.hub_cards import model_card
    from anatomy_vlm.input_files import find_images
    from anatomy_vlm.prediction import Predictor, library_versions
    from anatomy_vlm.training.export_hub import export
    from anatomy_vlm.training.recipe import load_recipe
    from anatomy_vlm.training.run import train, with_overrides

    out = Path(out)
    paths = find_images(films) if films else []
    settings = load_recipe(recipe)
    # The films belong to this demo, wherever the recipe would put them.
    keep_films = [f"data.arguments.out={out / 'films'}"] if settings.data.loader == "phantom" else []
    settings = with_overrides(settings, [*keep_films, *overrides])
    clock = _Clock()

    with clock.step("synthesis and training"):
        run = train(settings, out / "training")
    with clock.step("evaluation"):
        model, processor, result = evaluate_run(run, bootstrap)
    with clock.step("export"):
        sizes, versions = split_sizes(run), library_versions()
        card = model_card(run.recipe.to_dict(), result.to_dict(), sizes=sizes, versions=versions)
        export(model, out / "model", processor, card)
    write_json(out / "results.json", result.to_dict())
    write_text(out / "results.md", f"# {settings.name}: results on unseen patients\n\n{result.to_markdown()}")
    with clock.step("pictures"):
        predictor = Predictor(model, processor, name=str(out / "model"))
        galleries = [read_test_films(predictor, run.splits[settings.data.test], out / "overlays", _NUM_EXAMPLES)]
        if paths:
            galleries.append(read_real_films(predictor, paths, out / "overlays"))
    write_report(out / "report.html", run, result, galleries, clock.seconds)
    print(result.to_markdown(details=False))
    print(
        f"Wrote {out}/report.html, results.json, results.md, model and overlays in {sum(clock.seconds.values()):.0f} s"
    )
    return DemoResult(out, result, clock.seconds)


@dataclass
class _Clock:
    """Seconds of each step."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        print(f"-- {name}", flush=True)
        start = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - start
