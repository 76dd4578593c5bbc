"""The study of masks written as tokens: which networks are trained on what, and what they are tested on."""

import dataclasses
import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from tqdm.auto import tqdm

from anatomy_vlm.processing.atomic_files import replacing, write_json
from anatomy_vlm.training.evaluation.mask_reading import MaskReader
from anatomy_vlm.training.masks.film_shapes import FilmShapes
from anatomy_vlm.training.masks.masked_films import PERTURBATIONS, PerturbedFilms, ShapeFilms, parts_of, score_reader
from anatomy_vlm.training.masks.writer_batches import WriterBatching
from anatomy_vlm.training.masks.writer_training import WriterSettings, build_writer, train_writer
from anatomy_vlm.training.receipts.environment import describe_code, describe_libraries, describe_machine
from anatomy_vlm.training.segmentation.batches import CanvasFilms
from anatomy_vlm.training.segmentation.films import MaskedFilms
from anatomy_vlm.training.segmentation.networks import PlainUNet
from anatomy_vlm.training.segmentation.scores import score_films
from anatomy_vlm.training.segmentation.training import SegmentationSettings, train_network


# What tables show: large and small, soft and bone.
STRUCTURES = (
    *("right lung", "left lung", "cardiac silhouette", "aorta", "trachea"),
    *("clavicula_right", "clavicula_left", "scapula_right", "scapula_left"),
    *("rib_right_5", "rib_left_5", "vertebral_body_T8"),
)
# Left out of the pre-training of the transfer, and then learned from a few films.
NEW_STRUCTURES = ("aorta", "clavicula_right", "clavicula_left", "scapula_right", "scapula_left")
FEW = (5, 20, 100)
STUDIES = ("unet", "scale", "resolution", "vision", "shift", "few-shot")
WRITER, UNET = "writer", "unet"


@dataclass(frozen=True, kw_only=True)
class Variant:
    """
    One network to be trained.

    Args:
        name: Its row in the table.
        network: "writer" or "unet".
        fields: Of the writer's configuration, where they differ.
        settings: Of its training, where they differ.
        pretrained: Whether its tower has the weights of the checkpoint.
        start: Name of the variant whose weights it starts from.
        films: How many of the films it is trained on; 0 for all.
        structures: Which structures it is taught; none for all.
        tested: Which structures it is tested on.
    """

    name: str
    network: str = WRITER
    fields: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    pretrained: bool = True
    start: str = ""
    films: int = 0
    structures: tuple[str, ...] = ()
    tested: tuple[str, ...] = STRUCTURES


def variants_of(study: str, side: int = 160, few_steps: int = 60) -> list[Variant]:
    """The variants of a study; `shift` tests those of `unet`. `side` is the input's of the checkpoint, in pixels."""
    base = Variant(name="writer")
    if study in ("unet", "shift"):
        return [base, Variant(name="U-Net", network=UNET)]
    if study == "scale":
        small = {"decoder_hidden_size": 96, "decoder_num_layers": 1, "glimpse_channels": [16, 32]}
        large = {"decoder_hidden_size": 256, "decoder_num_layers": 5, "glimpse_channels": [48, 96]}
        return [Variant(name="small", fields=small), base, Variant(name="large", fields=large)]
    if study == "resolution":
        sizes = [Variant(name=f"{size} pixels", fields={"image_size": size}) for size in _other_sizes(side)]
        return [sizes[0], base, sizes[1]]
    if study == "vision":
        return [
            Variant(name="frozen tower", settings={"encoder_factor": 0.0}),
            base,
            Variant(name="tower from scratch", settings={"encoder_factor": 1.0}, pretrained=False),
        ]
    if study == "few-shot":
        return list(_few_shot(few_steps))
    raise ValueError(f"unknown study '{study}'; choose from {', '.join(STUDIES)}")


def _other_sizes(side: int) -> tuple[int, int]:
    """A smaller and a larger input, multiples of 16."""
    return side * 7 // 10 // 16 * 16, side * 7 // 5 // 16 * 16


def _few_shot(steps: int) -> Iterator[Variant]:
    before = Variant(name="before", structures=("*",), tested=())
    yield before
    for number in FEW:
        shared: dict[str, Any] = {"films": number, "structures": NEW_STRUCTURES, "tested": NEW_STRUCTURES}
        few = {"steps": steps}
        yield Variant(name=f"after anatomy, {number} films", start=before.name, settings=few, **shared)
        yield Variant(name=f"without, {number} films", settings=few, **shared)
        yield Variant(name=f"U-Net, {number} films", network=UNET, settings=few, **shared)


@dataclass(frozen=True, kw_only=True)
class MaskStudySettings:
    """
    Args:
        steps: Of a training.
        batch_size: Films per step.
        few_steps: Of a training on a few films.
        structures_per_film: That a writer is asked for.
        learning_rate, unet_learning_rate: Peaks.
        seed: Of everything.
        bf16: Arithmetic in bfloat16 where it is safe.
        use_cpu: Leave a GPU alone.
    """

    steps: int = 2000
    batch_size: int = 16
    few_steps: int = 200
    structures_per_film: int = 12
    learning_rate: float = 1e-3
    unet_learning_rate: float = 3e-3
    seed: int = 0
    bf16: bool = True
    use_cpu: bool = False


class MaskStudy:
    """
    Trains the variants of a study, tests them, and keeps every result in a folder: an interrupted study goes on.

    Args:
        source: Checkpoint whose tower writers start from.
        codec: Weights of the codec.
        image_processor: Of the checkpoint.
        train: Films to train on.
        tests: Films to test on by name of the set, all with some of `STRUCTURES`.
        settings: Of all trainings.
        folder: Of the results.
    """

    def __init__(
        self,
        source: str | Path,
        codec: str | Path,
        image_processor: Any,
        train: FilmShapes,
        tests: Mapping[str, MaskedFilms],
        settings: MaskStudySettings,
        folder: str | Path,
    ):
        self.source, self.codec, self.image_processor = source, codec, image_processor
        self.train, self.tests, self.settings, self.folder = train, tests, settings, Path(folder)

    def run(self, study: str, progress: bool = True) -> dict[str, list[dict[str, Any]]]:
        """Results by test set, as `summarise` of the segmentation study takes them."""
        probe = build_writer(self.source, self.train.names[:1], self.codec)
        variants = variants_of(study, probe.config.image_size, self.settings.few_steps)
        results: dict[str, list[dict[str, Any]]] = {}
        for variant in tqdm(variants, desc=study, unit="network", disable=not progress):
            network, trained = self.network(variant, {other.name: other for other in variants})
            if variant.tested:
                for name, films in self._tests(study).items():
                    # Real films may have none of the structures.
                    if not choose(films, variant.tested).structures:
                        continue
                    results.setdefault(name, []).append(self._tested(variant, network, trained, name, films))
        return results

    def _tests(self, study: str) -> dict[str, MaskedFilms]:
        if study != "shift":
            return dict(self.tests)
        return {
            f"{name}, {change}": PerturbedFilms(films, **values)
            for name, films in self.tests.items()
            for change, values in PERTURBATIONS.items()
        }

    def network(self, variant: Variant, others: Mapping[str, Variant]) -> tuple[nn.Module, dict[str, Any]]:
        """A trained network, from the folder if it is there."""
        seed = self.settings.seed
        shapes, structures = self._data(variant)
        network = self._build(variant, structures, seed)
        weights = self.folder / "networks" / f"{self._key(variant, others)}.safetensors"
        facts = weights.with_suffix(".json")
        if weights.is_file() and facts.is_file():
            network.load_state_dict(load_file(weights))
            return network, json.loads(facts.read_text(encoding="utf-8"))
        if variant.start:
            _take(network, self.network(others[variant.start], others)[0])
        started, worked = time.time(), time.process_time()
        scratch = self.folder / "checkpoints" / weights.stem
        if variant.network == UNET:
            trained = self._train_unet(network, variant, shapes, structures, scratch)
        else:
            trained = train_writer(network, shapes, self.image_processor, self._writer(variant), scratch, seed)  # type: ignore[arg-type]
        trained |= {
            "seconds": round(time.time() - started, 1),
            "processor_seconds": round(time.process_time() - worked, 1),
        }
        weights.parent.mkdir(parents=True, exist_ok=True)
        with replacing(weights) as beside:
            save_file({name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}, beside)
        write_json(facts, trained)
        return network, trained

    def _data(self, variant: Variant) -> tuple[FilmShapes, tuple[str, ...]]:
        """Films of a variant, with only those structures that it is taught."""
        if variant.films > len(self.train):
            raise ValueError(f"'{variant.name}' needs {variant.films} films, there are {len(self.train)}: draw more")
        shapes = self.train.select(range(variant.films)) if variant.films else self.train
        if variant.structures == ("*",):
            return only(shapes, [name for name in shapes.names if name not in NEW_STRUCTURES]), shapes.names
        if variant.structures:
            return only(shapes, variant.structures), variant.structures
        return shapes, (STRUCTURES if variant.network == UNET else shapes.names)

    def _build(self, variant: Variant, structures: Sequence[str], seed: int) -> nn.Module:
        torch.manual_seed(seed)
        if variant.network == UNET:
            return PlainUNet(len(structures))
        names = self.train.names
        model = build_writer(self.source, names, self.codec, seed, variant.pretrained, **variant.fields)
        model.set_attn_implementation("eager" if not torch.cuda.is_available() else "sdpa")
        return model

    def _writer(self, variant: Variant) -> WriterSettings:
        settings = self.settings
        few = bool(variant.films)
        batching = WriterBatching(structures_per_film=settings.structures_per_film)
        if few:
            batching = WriterBatching(structures_per_film=len(variant.structures), always=())
        own: dict[str, Any] = {
            "steps": settings.steps,
            "batch_size": settings.batch_size,
            "learning_rate": settings.learning_rate,
            "batching": batching,
            "bf16": settings.bf16,
            "use_cpu": settings.use_cpu,
            "progress": False,
        }
        return WriterSettings(**{**own, **variant.settings})

    def _train_unet(self, network, variant, shapes, structures, scratch) -> dict[str, Any]:
        settings = self.settings
        side = build_writer(self.source, self.train.names[:1], self.codec).config.image_size
        films = ShapeFilms(shapes, structures)
        training = SegmentationSettings(
            steps=variant.settings.get("steps", settings.steps),
            batch_size=settings.batch_size,
            weight_decay=0.02,
            augmentation=WriterSettings().augmentation,
            bf16=settings.bf16,
            use_cpu=settings.use_cpu,
        )
        return train_network(
            network,
            CanvasFilms(films, self.image_processor, side),
            range(len(films)),
            training,
            learning_rate=settings.unet_learning_rate,
            folder=scratch,
            seed=settings.seed,
        )

    def _tested(self, variant, network, trained, name, films) -> dict[str, Any]:
        films = choose(films, variant.tested)
        started = time.process_time()
        if variant.network == UNET:
            structures = variant.structures or STRUCTURES
            side = build_writer(self.source, self.train.names[:1], self.codec).config.image_size
            rows = score_films(
                _Chosen(network, structures, films.structures),
                CanvasFilms(films, self.image_processor, side),
                range(len(films)),
            )
        else:
            device = "cpu" if self.settings.use_cpu else None
            rows = score_reader(MaskReader(network, self.image_processor, device), films)
        return {
            "method": variant.name.partition(",")[0],
            "train_films": variant.films or len(self.train),
            "all_films": not variant.films,
            "fold": "",
            "learning_rate": self.settings.learning_rate,
            "validation_dice_by_learning_rate": {},
            **trained,
            "test": name,
            "test_processor_seconds": round(time.process_time() - started, 1),
            "films": rows,
        }

    def _key(self, variant: Variant, others: Mapping[str, Variant]) -> str:
        """Stands for all that the weights depend on, besides the code."""
        told = {
            "variant": dataclasses.asdict(variant) | {"tested": None, "name": None},
            "start": self._key(others[variant.start], others) if variant.start else "",
            "settings": dataclasses.asdict(self.settings),
            "films": [len(self.train), hashlib.sha256(self.train.films[:8].numpy().tobytes()).hexdigest()],
            "codec": hashlib.sha256(Path(self.codec).read_bytes()).hexdigest(),
            "source": str(self.source),
        }
        return hashlib.sha256(json.dumps(told, sort_keys=True, default=list).encode()).hexdigest()[:16]


class _Chosen(nn.Module):
    """A network with the outputs of some of its structures alone, in another order."""

    def __init__(self, network: nn.Module, structures: Sequence[str], chosen: Sequence[str]):
        super().__init__()
        self.network = network
        self.channels = [[1 + list(structures).index(part) for part in parts_of(name)] for name in chosen]

    def forward(self, pixel_values: torch.Tensor) -> Any:
        outputs = self.network(pixel_values=pixel_values)
        logits = torch.stack([outputs.logits[:, channels].amax(1) for channels in self.channels], dim=1)
        outputs.logits = torch.cat((-logits.amax(1, keepdim=True), logits), dim=1)
        return outputs


class _SomeStructures(MaskedFilms):
    def __init__(self, films: MaskedFilms, structures: Sequence[str]):
        self.films, self.structures = films, tuple(structures)
        self.film_ids, self.patients, self.splits = films.film_ids, films.patients, films.splits
        self._places = [films.structures.index(name) for name in structures]

    def read(self, index: int):
        film, masks = self.films.read(index)
        return film, masks[self._places]


def choose(films: MaskedFilms, structures: Sequence[str]) -> MaskedFilms:
    """The films with those of these structures that they have."""
    return _SomeStructures(films, [name for name in films.structures if set(parts_of(name)) <= set(structures)])


def only(shapes: FilmShapes, structures: Sequence[str]) -> FilmShapes:
    """The same films, on which the other structures are not known; names are those of `structures`."""
    names = tuple(name for name in shapes.names if name in structures)
    old = torch.tensor([shapes.names.index(name) for name in names])
    new = torch.full((len(shapes.names),), -1)
    new[old] = torch.arange(len(names))
    kept = (new[shapes.row_structure] >= 0).nonzero()[:, 0]
    small = shapes.small[new[shapes.small[:, 1]] >= 0] if len(shapes.small) else shapes.small
    if len(small):
        small = torch.stack((small[:, 0], new[small[:, 1]]), dim=1)
    return FilmShapes(
        shapes.films,
        names,
        shapes.row_film[kept],
        new[shapes.row_structure[kept]],
        shapes.boxes[kept],
        shapes.rasters[kept],
        small,
    )


def _take(network: nn.Module, donor: nn.Module) -> None:
    """Weights of a network of the same form."""
    network.load_state_dict(donor.state_dict())


def describe(study: MaskStudy, results: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """What was done with what: the receipt of a table."""
    return {
        "settings": dataclasses.asdict(study.settings),
        "train_films": len(study.train),
        "tests": {name: len(films) for name, films in study.tests.items()},
        "codec_sha256": hashlib.sha256(Path(study.codec).read_bytes()).hexdigest(),
        "trainings": [
            {key: row.get(key) for key in ("method", "trained_weights", "last_loss", "seconds", "processor_seconds")}
            for row in next(iter(results.values()), ())
        ],
        "code": describe_code(),
        "libraries": describe_libraries(),
        "machine": describe_machine(),
    }
