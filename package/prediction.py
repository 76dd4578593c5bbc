"""Read radiographs: from files to records of the prediction JSON."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from anatomy_vlm.backends.graph_files import is_exported
from anatomy_vlm.film_flags import film_flags, withholding_flags
from anatomy_vlm.film_masks import MaskPredictor, mask_records
from anatomy_vlm.hub_cards import REFERENCE_MODEL, REFERENCE_WRITER
from anatomy_vlm.input_files import find_images
from anatomy_vlm.processing.image_io import ImageReadError, RadiographImage, read_image
from anatomy_vlm.processing.pictures import draw_overlay
from anatomy_vlm.processing.vocabulary import FINDING_NAMES, REGION_NAMES, get_finding
from anatomy_vlm.records import PRESENT, Record, anatomy_flags, reading_record
from anatomy_vlm.training.evaluation.arrays import FloatArray
from anatomy_vlm.training.evaluation.box_reading import read_boxes
from anatomy_vlm.training.evaluation.mask_reading import FilmMasks
from anatomy_vlm.training.evaluation.reader import Reader, Readings
from anatomy_vlm.training.model_folder import CheckpointError, load_checkpoint
from anatomy_vlm.user_boxes import UserBoxes, UserBoxesError, check_within, choose_regions, read_user_boxes


_DEFAULT_THRESHOLD = 0.5
_DECODING_THREADS = 4


def predict(
    images: str | Path | Sequence[str | Path],
    *,
    model: str | Path = REFERENCE_MODEL,
    prompts: Sequence[str] = (),
    device: str | None = None,
    batch_size: int = 8,
    bf16: bool = False,
    boxes: UserBoxes | str | Path | None = None,
    force: bool = False,
    backend: str = "torch",
    masks: str | Sequence[str] = (),
    mask_model: str | Path = REFERENCE_WRITER,
) -> list[Record]:
    """Read radiographs with a checkpoint.

    A film that is no upright, positive, frontal chest film by what its file says or it looks like is flagged, and its
    findings are withheld. Nothing is corrected.

    Args:
        images: files, folders (searched recursively) or glob patterns; PNG, JPEG, TIFF, BMP, DICOM.
        model: a folder or a Hub id; the network is used for a Hub id only.
        prompts: free texts to score in the image and in each region.
        device: of PyTorch; None takes CUDA where there is one.
        batch_size: images at a time.
        bf16: run the vision tower under bfloat16 autocast.
        boxes: boxes of the user's own to score, or the JSON file that holds them (`read_user_boxes`).
        force: score findings whatever the flags.
        backend: what runs the model: "torch", or "onnx" or "openvino" with a folder of `anatomy-vlm export --format`.
        masks: structures whose masks are written, such as "heart,left lung"; records say where they lie
            (`FileReading.masks` of a `Predictor` has their pixels).
        mask_model: a folder or Hub id of the model that writes masks.

    Returns:
        One record per image, as `prediction_schema.json` describes them: a reading, or `file` and `error`.

    Raises:
        InputFilesError: an input does not exist, or there is no image.
        UserBoxesError: boxes that cannot be used, or for images that are not there.
        CheckpointError: there is no such checkpoint, or it is one of another model.
    """
    files = find_images([images] if isinstance(images, str | Path) else images)
    given = read_user_boxes(boxes) if isinstance(boxes, str | Path) else boxes
    if given is not None:
        given.check_images(files)
    predictor = Predictor.load(
        model,
        backend=backend,
        prompts=prompts,
        device=device,
        bf16=bf16,
        boxes=given,
        force=force,
        masks=MaskPredictor.load(masks, mask_model, device=device, bf16=bf16) if masks else None,
    )
    return [reading.record for reading in predictor.read_files(files, batch_size=batch_size)]


@dataclass(frozen=True)
class DecodedFilm:
    """A film in memory, to be given where a file is; records call it `name`."""

    name: str
    image: RadiographImage

    def __str__(self) -> str:
        return self.name


FilmSource = str | Path | DecodedFilm


@dataclass(frozen=True)
class FileReading:
    """One file's record, the film that it speaks of (None if it could not be read), and its masks if asked for."""

    record: Record
    film: Image.Image | None
    masks: FilmMasks | None = None


class Predictor:
    """A loaded checkpoint that reads files.

    Args:
        model: an `AnatomyVLMModel`.
        processor: its processor, with finding prompts.
        name: of the checkpoint, for the records.
        prompts: free texts to score besides the findings.
        device: of PyTorch.
        bf16, force: see `predict`.
        boxes: boxes of the user's own to score.
        masks: what writes masks of the films, if anything does.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        name: str,
        prompts: Sequence[str] = (),
        device: str | None = None,
        bf16: bool = False,
        boxes: UserBoxes | None = None,
        force: bool = False,
        masks: MaskPredictor | None = None,
    ) -> None:
        self.masks = masks
        self.reader = Reader(model, processor, texts=prompts, device=device, bf16=bf16)
        self.name = name
        self.prompts = tuple(prompts)
        self.boxes = boxes
        self.force = force
        self.versions = library_versions()
        calibration = processor.calibration
        self._calibrated = {} if calibration is None else calibration.image
        self._plausible = {finding: _plausible_regions(finding) for finding in self.reader.findings}

    @classmethod
    def load(cls, source: str | Path, *, backend: str = "torch", **options: Any) -> "Predictor":
        """Load a checkpoint folder or Hub id; options as in the constructor.

        Args:
            source: The checkpoint; for another backend a folder of `anatomy-vlm export --format`.
            backend: "torch", "onnx" or "openvino"; the latter two run on the CPU.

        Raises:
            CheckpointError: see `load_checkpoint` and `load_graphs`.
            ImportError: if the backend's extra is not installed.
        """
        model: Any
        if backend == "torch":
            if is_exported(source):
                raise CheckpointError(f"{source}: an exported model; read it with --backend onnx or openvino")
            model, processor = load_checkpoint(source)
        else:
            from anatomy_vlm.backends.graph_model import load_graphs

            model, processor = load_graphs(source, backend)
            options["device"] = options.get("device") or "cpu"
        # Where the package is installed is nobody's business who gets the record.
        name = REFERENCE_MODEL.name if Path(source) == REFERENCE_MODEL else str(source)
        return cls(model, processor, name=name, **options)

    def with_options(self, *, prompts: Sequence[str] = (), force: bool = False) -> "Predictor":
        """A predictor of the same model with other prompts; see `predict`."""
        other = copy.copy(self)
        other.reader, other.prompts, other.force = self.reader.with_texts(prompts), tuple(prompts), force
        return other

    def read_files(self, files: Sequence[FilmSource], *, batch_size: int = 8) -> Iterator[FileReading]:
        """Read files in order; a file that cannot be read yields a record with its error and stops nothing."""
        with ThreadPoolExecutor(_DECODING_THREADS) as pool:
            for start in range(0, len(files), batch_size):
                yield from self._read_batch(files[start : start + batch_size], pool.map)

    def record(
        self,
        file: str,
        image: RadiographImage,
        readings: Readings,
        row: int,
        flags: Sequence[Mapping[str, str]] | None = None,
    ) -> Record:
        """The record of row `row` of `readings`; `flags` are `film_flags` of the image, asked for where not given."""
        found = self._regions(readings, row)
        doubts = [*(film_flags([image])[0] if flags is None else flags), *anatomy_flags(found)]
        withheld = not self.force and bool(withholding_flags(doubts))
        return reading_record(
            file=file,
            size=(image.size[1], image.size[0]),
            view=image.view,
            flags=doubts,
            findings=[] if withheld else self._findings(readings, row),
            regions=[{**region, "findings": []} for region in found] if withheld else found,
            prompts=([] if withheld else self._prompts(readings, row)) if self.prompts else None,
            model=self.name,
            versions=self.versions,
            findings_withheld=withheld,
        )

    def _read_batch(self, files: Sequence[FilmSource], run: Callable[..., Any]) -> Iterator[FileReading]:
        loaded = list(run(_try_read, files))
        if self.boxes is not None:
            loaded = [self._with_boxes_inside(file, image) for file, image in zip(files, loaded, strict=True)]
        images = [image for image in loaded if isinstance(image, RadiographImage)]
        films = [image.to_pil() for image in images]
        # Asked of the films before the model is.
        flags = film_flags(images)
        readings = self.reader.read(films) if films else None
        row = 0
        for file, image in zip(files, loaded, strict=True):
            if readings is None or not isinstance(image, RadiographImage):
                yield FileReading({"file": str(file), "error": str(image)}, None)
                continue
            record = self.record(str(file), image, readings, row, flags[row])
            if self.boxes is not None:
                record["boxes"] = self._own_boxes(file, films[row], readings.boxes[row], record)
            written = None
            if self.masks is not None:
                written = self.masks.read([films[row]])[0]
                record["masks"] = mask_records(written)
                record["mask_model"] = self.masks.name
            yield FileReading(record, films[row], written)
            row += 1

    def _with_boxes_inside(self, file: FilmSource, image: RadiographImage | str) -> RadiographImage | str:
        """The image, or why the boxes given for it cannot be its."""
        if self.boxes is None or not isinstance(image, RadiographImage):
            return image
        try:
            check_within(self.boxes.of(str(file)), (image.size[1], image.size[0]), self.boxes.source)
        except UserBoxesError as error:
            return str(error)
        return image

    def _own_boxes(self, file: FilmSource, film: Image.Image, predicted: FloatArray, record: Record) -> list[Record]:
        """The boxes that the user gave for a film, each read as the region that it is, or is most like."""
        boxes = () if self.boxes is None else self.boxes.of(str(file))
        source = "" if self.boxes is None else self.boxes.source
        slots = choose_regions(boxes, self.reader.regions, predicted, source)
        scores, texts = read_boxes(self.reader, film, [item.box for item in boxes], slots)
        hidden = record["quality"]["findings_withheld"]
        rows = []
        for index, (item, slot) in enumerate(zip(boxes, slots, strict=True)):
            region = self.reader.regions[slot]
            named = region in (item.label.strip().lower(), item.region)
            row: Record = {
                "label": item.label,
                "region": region,
                "box": [round(edge, 2) for edge in item.box],
                "findings": [
                    {"name": finding, "score": _rounded(scores[index, column])}
                    for column, finding in enumerate(self.reader.findings)
                    # A box of free words may hold anything.
                    if not hidden and (not named or self.is_plausible(finding, region))
                ],
            }
            if self.prompts:
                pairs = zip(self.prompts, texts[index], strict=True)
                row["prompts"] = [] if hidden else [{"text": text, "score": _rounded(s)} for text, s in pairs]
            rows.append(row)
        return rows

    def is_plausible(self, finding: str, region: str) -> bool:
        """Whether a finding is asked of a region; of a region that the vocabulary does not know, every one is."""
        return region in self._plausible[finding] or region not in REGION_NAMES

    def _findings(self, readings: Readings, row: int) -> list[Record]:
        selected = self.reader.processor.finding_thresholds or {}
        findings = []
        for column, name in enumerate(self.reader.findings):
            record: Record = {
                "name": name,
                "score": _rounded(readings.image_scores[row, column]),
                "threshold": float(selected.get(name, _DEFAULT_THRESHOLD)),
                "threshold_source": "validation" if name in selected else "fixed",
                "calibrated": name in self._calibrated,
            }
            if name in self._calibrated:
                margin = float(readings.image_margins[row, column])
                record["decision"] = self._calibrated[name].cuts.decide(margin)
            findings.append(record)
        return findings

    def _regions(self, readings: Readings, row: int) -> list[Record]:
        width, height = float(readings.sizes[row, 1]), float(readings.sizes[row, 0])
        regions = []
        for index, region in enumerate(self.reader.regions):
            x0, y0, x1, y1 = (float(value) for value in readings.boxes[row, index])
            findings = [
                {"name": finding, "score": _rounded(readings.region_scores[row, index, column])}
                for column, finding in enumerate(self.reader.findings)
                if self.is_plausible(finding, region)
            ]
            regions.append(
                {
                    "name": region,
                    "box": [round(min(max(x0, 0.0), width), 2), round(min(max(y0, 0.0), height), 2)]
                    + [round(min(max(x1, 0.0), width), 2), round(min(max(y1, 0.0), height), 2)],
                    "presence": _rounded(readings.presence[row, index]),
                    "findings": findings,
                }
            )
        return regions

    def _prompts(self, readings: Readings, row: int) -> list[Record]:
        return [
            {
                "text": text,
                "score": _rounded(readings.text_image_scores[row, column]),
                "regions": [
                    {"name": region, "score": _rounded(readings.text_region_scores[row, index, column])}
                    for index, region in enumerate(self.reader.regions)
                ],
            }
            for column, text in enumerate(self.prompts)
        ]


def draw_reading(reading: FileReading, height: int = 960) -> Image.Image:
    """The film with its regions drawn on it, beside the scores of its findings; `height` in pixels.

    Raises:
        ValueError: a reading without a film.
    """
    if reading.film is None:
        raise ValueError(f"{reading.record['file']}: could not be read, so there is nothing to draw")
    record = reading.record
    present = [region for region in record["regions"] if region["presence"] >= PRESENT]
    name = Path(record["file"]).name
    return draw_overlay(reading.film, present, record["findings"], title=name, view=record["view"], height=height)


def library_versions() -> dict[str, str]:
    """Versions of what makes the numbers."""
    import torch
    import transformers

    import anatomy_vlm

    return {
        "anatomy_vlm": anatomy_vlm.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def _try_read(file: FilmSource) -> RadiographImage | str:
    """The image, or why it cannot be read, without the file's name in front."""
    if isinstance(file, DecodedFilm):
        return file.image
    try:
        return read_image(file)
    except ImageReadError as error:
        return " ".join(error.problem.split())
    except ImportError as error:
        return str(error)


def _plausible_regions(finding: str) -> frozenset[str]:
    """Where a finding can be, by the vocabulary; everywhere if it is not in there."""
    return frozenset(get_finding(finding).regions if finding in FINDING_NAMES else REGION_NAMES)


def _rounded(score: float) -> float:
    return round(float(score), 6)
