"""What the stages of a run share: model, processor, prepared images, phrases and their embeddings."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import torch
from transformers import PreTrainedTokenizerBase, set_seed

from anatomy_vlm.modeling import AnatomyVLMConfig, AnatomyVLMModel
from anatomy_vlm.modeling.losses_anatomy_vlm import xyxy_to_cxcywh
from anatomy_vlm.modeling.pretrained_anatomy_vlm import copy_text_weights
from anatomy_vlm.modeling.text_source_anatomy_vlm import portable_config, trained_length, trained_pooling
from anatomy_vlm.processing import AnatomyVLMImageProcessorPil, AnatomyVLMProcessor
from anatomy_vlm.processing.contrastive_sampler import ContrastiveLabelSampler
from anatomy_vlm.processing.vocabulary import FINDING_NAMES, REGION_NAMES
from anatomy_vlm.training.adapters import add_adapters
from anatomy_vlm.training.augmentation import Augmentation
from anatomy_vlm.training.backbone import image_options, load_backbone
from anatomy_vlm.training.batches import LabelOptions
from anatomy_vlm.training.model_folder import load_checkpoint
from anatomy_vlm.training.phrase_bank import PhraseBank
from anatomy_vlm.training.phrases import RunPhrases, collect_phrases
from anatomy_vlm.training.prepared import NUM_REGIONS, prepare_dataset, unpack
from anatomy_vlm.training.recipe import Recipe, RecipeError, check_fields, check_keys
from anatomy_vlm.training.streaming import ShardStream, StreamedImages
from anatomy_vlm.training.tail_weights import tail_weights
from anatomy_vlm.training.text_encoder import load_text_encoder
from anatomy_vlm.training.text_targets import TextTargets


@dataclass
class Setup:
    """
    Args:
        recipe: What is run.
        model, processor: What is trained, and what makes its inputs.
        train: The training examples.
        sampler: Draws the phrases of each image.
        bank: Every text of the run, embedded.
        texts: The labels that the texts give a batch.
        augmentation: Options of the recipe.
    """

    recipe: Recipe
    model: AnatomyVLMModel
    processor: AnatomyVLMProcessor
    train: datasets.Dataset
    sampler: ContrastiveLabelSampler
    bank: PhraseBank
    texts: TextTargets
    augmentation: Augmentation
    _prepared: dict[int, datasets.Dataset] = field(default_factory=dict)

    def prepared(self, side: int) -> datasets.Dataset:
        """The training examples at `side` pixels, made once."""
        if side not in self._prepared and isinstance(self.train, ShardStream):
            self._prepared[side] = StreamedImages(
                self.train, self.processor.image_processor, side, self.sampler, self.recipe.seed
            )
        elif side not in self._prepared:
            self._prepared[side] = prepare_dataset(
                self.train, self.processor.image_processor, side, self.sampler, self.bank.key
            )
        return self._prepared[side]


def options(cls: type, values: dict[str, Any], where: str) -> Any:
    """An options dataclass from a part of the recipe. Raises `RecipeError` for unknown keys and impossible values."""
    values = check_keys(values, cls, where)
    try:
        made = cls(**values)
    except ValueError as error:
        raise RecipeError(f"{where}: {error}") from error
    # The class has words of its own for what it looks at.
    check_fields(values, cls, where)
    return made


def build_model(recipe: Recipe, phrases: RunPhrases) -> tuple[AnatomyVLMModel, PreTrainedTokenizerBase]:
    """The model of a recipe with its text encoder's weights, and the tokenizer."""
    where = f"recipe {recipe.name}: model"
    unknown = set(recipe.model.config) - set(AnatomyVLMConfig().to_dict())
    unknown |= set(recipe.model.vision) - set(AnatomyVLMConfig().vision_config.to_dict())
    if unknown:
        raise RecipeError(f"{where}: unknown keys {', '.join(sorted(unknown))}")
    encoder, tokenizer = load_text_encoder(recipe.model.text, phrases.book.texts, recipe.seed)
    set_seed(recipe.seed)
    tower = load_backbone(recipe)
    try:
        pooling = recipe.model.text.pooling or trained_pooling(encoder.config, encoder.config.name_or_path or None)
        config = AnatomyVLMConfig(
            vision_config=recipe.model.vision if tower is None else tower.config.to_dict(),
            # Where the encoder lay on this machine is nobody's business who gets the model.
            text_config=portable_config(encoder.config),
            text_pooling=pooling,
            **{"text_length": trained_length(encoder.config, pooling), **recipe.model.config},
        )
    except Exception as error:  # `strict` wraps what is wrong in errors of its own, which are no ValueErrors
        reason = " ".join(str(error.__cause__ or error).split())
        raise RecipeError(f"{where}: {reason}") from error
    set_seed(recipe.seed)
    model = AnatomyVLMModel(config)
    attention = recipe.model.attention or ("sdpa" if torch.cuda.is_available() else "eager")
    try:
        model.vision_model.set_attn_implementation(attention)
    except (ValueError, ImportError) as error:
        raise RecipeError(f"{where}: attention: {' '.join(str(error).split())}") from error
    if tower is not None:
        model.vision_model.load_state_dict(tower.state_dict())
    try:
        copy_text_weights(encoder, model.text_model, pooling)
    except ValueError as error:
        raise RecipeError(f"{where}.text: {error}") from error
    if recipe.model.pretrained:
        source, _ = load_checkpoint(recipe.model.pretrained)
        state = {k: v for k, v in source.state_dict().items() if not k.startswith("text_model.")}
        try:
            model.load_state_dict(state, strict=False)
        except RuntimeError as error:
            raise RecipeError(f"{where}: {recipe.model.pretrained} has other sizes: {error}") from error
    if recipe.model.lora is not None:
        set_seed(recipe.seed)
        add_adapters(model.vision_model, recipe.model.lora, where)
    return model, tokenizer


def mean_boxes(prepared: datasets.Dataset) -> torch.Tensor:
    """Mean box of each region over the images that show it, `(29, 4)` cxcywh; the whole image where none does."""
    total, count = torch.zeros(NUM_REGIONS, 4), torch.zeros(NUM_REGIONS, 1)
    for row in prepared.select_columns(["pixels", "boxes", "box_mask"]):
        arrays = unpack(row, ("boxes", "box_mask"))
        total += arrays["boxes"] * arrays["box_mask"][:, None]
        count += arrays["box_mask"][:, None]
    boxes = torch.where(count > 0, total / count.clamp(min=1), torch.tensor([0.0, 0.0, 1.0, 1.0]))
    return xyxy_to_cxcywh(boxes)


def build_setup(recipe: Recipe, train: datasets.Dataset, output: Path, progress: bool = False) -> Setup:
    """
    Everything that the stages of a run share.

    Args:
        recipe: What is run.
        train: The training examples, in the example schema.
        output: Folder of the run; the phrase bank is kept below it.
        progress: Show progress bars.
    """
    labels = options(LabelOptions, recipe.labels, f"recipe {recipe.name}: labels")
    augmentation = options(Augmentation, recipe.augmentation, f"recipe {recipe.name}: augmentation")
    try:
        phrases = collect_phrases(
            train, labels.num_styles, labels.findings, ensemble=labels.ensemble, attributes=labels.attributes
        )
        sampler = labels.sampler(phrases.book, recipe.seed)
        column = train["region_findings"]
        finding_weights = tail_weights(labels.finding_weights, "finding", FINDING_NAMES, column)
        region_weights = tail_weights(labels.region_weights, "region", REGION_NAMES, column)
    except ValueError as error:
        raise RecipeError(f"recipe {recipe.name}: labels: {error}") from error
    model, tokenizer = build_model(recipe, phrases)
    side = model.config.vision_config.image_size
    processor = AnatomyVLMProcessor(
        AnatomyVLMImageProcessorPil(size={"height": side, "width": side}, **image_options(recipe)),
        tokenizer,
        anatomy_labels=list(model.config.id2label.values()),
        finding_prompts=phrases.prompts,
        **recipe.processor,
    )
    bank = PhraseBank.build(model, tokenizer, phrases.book.texts, output / "phrase_bank", progress=progress)
    texts = TextTargets(
        bank.features, phrases, labels.positives, labels.prompts_in_fine, finding_weights, region_weights
    )
    setup = Setup(recipe, model, processor, train, sampler, bank, texts, augmentation)
    if not recipe.model.pretrained:
        model.box_head.set_reference(mean_boxes(setup.prepared(side)))
    return setup
