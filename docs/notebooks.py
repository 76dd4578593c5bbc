"""Write the notebooks in `docs/notebooks/` and run them, so that they hold their output.

python docs/notebooks.py            # write and run
python docs/notebooks.py --check    # say which would change in text or code

A notebook is a list of cells here, where it can be read, compared and checked; the files are what Jupyter opens.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient


FOLDER = Path(__file__).parent / "notebooks"

QUICKSTART = """
# Quickstart: read a film

A synthetic film, drawn from a seed, so that the notebook runs anywhere. With a film of your own, write its path in the
place of `film.png`: PNG, JPEG, TIFF or DICOM.

```
from anatomy_vlm import generate_patient

example = generate_patient(seed=3, image_size=256)[0]
example["image"].save("film.png")
example["report"]
```

`predict` reads it with the small checkpoint of the package. It was trained on synthetic chests: on a film of a patient
the boxes are worth a look, the scores are not shown to mean anything.

```
from anatomy_vlm import predict

record = predict("film.png")[0]
record["view"], record["quality"]["flags"], len(record["regions"])
```

Boxes are pixels of the film; left is the patient's left, so the left lung lies on the image's right.

```
boxes = {region["name"]: [round(edge) for edge in region["box"]] for region in record["regions"]}
boxes["right lung"], boxes["left lung"], boxes["cardiac silhouette"]
```

Findings, the highest scores first, beside the truth of this film:

```
from anatomy_vlm.processing.vocabulary import FINDING_NAMES

truth = dict(zip(FINDING_NAMES, example["labels"]))
for finding in sorted(record["findings"], key=lambda finding: -finding["score"])[:5]:
    called = finding["score"] >= finding["threshold"]
    print(f"{finding['name']:<32}{finding['score']:.2f}  called {called!s:<6} true {truth[finding['name']] == 1}")
```

And the picture:

```
from anatomy_vlm.processing.pictures import draw_overlay

draw_overlay(example["image"], record["regions"], height=260)
```
"""

PROMPTS = """
# Prompts and regions

Any text can be scored against the film and against each of its 29 regions. One text alone is no answer; the difference
of a statement and its denial is.

```
import torch

from anatomy_vlm import AnatomyVLMModel, AnatomyVLMProcessor, generate_patient
from anatomy_vlm.hub_cards import REFERENCE_MODEL

model = AnatomyVLMModel.from_pretrained(REFERENCE_MODEL).eval()
processor = AnatomyVLMProcessor.from_pretrained(REFERENCE_MODEL)
example = generate_patient(seed=11, image_size=256)[0]
texts = ["There is an enlarged cardiac silhouette.", "The cardiac silhouette is of normal size."]
inputs = processor(images=example["image"], text=texts, return_tensors="pt")
with torch.no_grad():
    outputs = model(**inputs)
tuple(outputs.logits_per_image.shape), tuple(outputs.logits_per_region.shape)
```

(films, texts) and (films, regions, texts). The margin of the statement over its denial is read in the regions where
the finding can be; nobody states a large heart of a lung, so training never taught an answer there, and what the
matrix holds for such a pair means nothing.

```
from anatomy_vlm.processing.vocabulary import REGION_NAMES, get_finding

margin = outputs.logits_per_region[0, :, 0] - outputs.logits_per_region[0, :, 1]
for name in get_finding("enlarged cardiac silhouette").regions:
    print(f"{name:<28}{margin[REGION_NAMES.index(name)]:6.2f}")
```

Prompts of your own can be kept in the processor, which then answers for them like for the others:

```
processor.finding_prompts["enlarged cardiac silhouette"]
```

## Mirrored

Mirror the film, and the boxes change sides: what was the left lung lies where a right lung lies, and is called so.

```
from PIL import ImageOps

with torch.no_grad():
    mirrored = model(**processor(images=ImageOps.mirror(example["image"]), text=texts, return_tensors="pt"))
left, right = REGION_NAMES.index("left lung"), REGION_NAMES.index("right lung")
x_before = outputs.pred_boxes[0, [right, left], 0]
x_after = mirrored.pred_boxes[0, [right, left], 0]
bool(x_before[0] < x_before[1]), bool(x_after[0] < x_after[1])
```

The right lung is on the image's left both times: the model names what it sees by where it lies. That is why a film
that was mirrored by mistake gets a flag, and is not put right in silence.
"""

OWN_DATA = """
# Evaluation on your own data

A folder of films with what is known about them, and what a model makes of it. Drawn patients stand in for yours;
numbers of so few mean nothing, which the missing intervals say as well.

```
from anatomy_vlm import generate_dataset

splits = generate_dataset(
    24, image_size=96, seed=5, splits={"validation": 0.5, "test": 0.5}, num_workers=1, progress=False
)
{name: len(split) for name, split in splits.items()}
```

Your own folder with a `metadata.jsonl` is read by `load_data("folder", {"path": "my-films"})` into the same columns.

```
from anatomy_vlm.hub_cards import REFERENCE_MODEL
from anatomy_vlm.training.evaluation import evaluate_model
from anatomy_vlm.training.model_folder import load_checkpoint

model, processor = load_checkpoint(REFERENCE_MODEL)
result = evaluate_model(
    model, processor, splits["test"], validation=splits["validation"], bootstrap=50, min_events=10
)
print(result.to_markdown(details=False))
```

The last column is the same score of a guess that does not look at the film. A dash is a number that is not defined, or
of too few patients to be one. Thresholds come from the validation films, and say so:

```
{name: (round(threshold.value, 3), threshold.source) for name, threshold in list(result.thresholds.items())[:3]}
```
"""

NOTEBOOKS = {"quickstart": QUICKSTART, "prompts": PROMPTS, "own-data": OWN_DATA}


def notebook(text: str) -> nbformat.NotebookNode:
    """Cells of a text: what stands between lines of three backticks is code."""
    cells = []
    for number, part in enumerate(text.strip().split("\n```\n")):
        part = part.strip("`\n")
        make = nbformat.v4.new_code_cell if number % 2 else nbformat.v4.new_markdown_cell
        if part:
            cells.append(make(part, id=f"cell-{number}"))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def sources(nodes: nbformat.NotebookNode) -> list[tuple[str, str]]:
    """Kind and text of each cell."""
    return [(cell["cell_type"], cell["source"]) for cell in nodes["cells"]]


def stale() -> list[str]:
    """Notebooks whose file does not hold the cells of this script."""
    return [
        name
        for name, text in NOTEBOOKS.items()
        if sources(nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)) != sources(notebook(text))
    ]


def main() -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        print("\n".join(stale()))
        return int(bool(stale()))
    FOLDER.mkdir(exist_ok=True)
    for name, text in NOTEBOOKS.items():
        nodes = notebook(text)
        with tempfile.TemporaryDirectory() as scratch:
            NotebookClient(nodes, timeout=3600, resources={"metadata": {"path": scratch}}).execute()
        for cell in nodes["cells"]:
            cell["metadata"] = {}  # times of this run
            # What libraries tell their developers is nothing for a reader.
            if "outputs" in cell:
                cell["outputs"] = [output for output in cell["outputs"] if output.get("name") != "stderr"]
        nodes["metadata"] = {"kernelspec": nodes["metadata"]["kernelspec"]}
        nbformat.write(nodes, FOLDER / f"{name}.ipynb")
    return 0


if __name__ == "__main__":
    sys.exit(main())
