"""Make a frozen BERT-like text encoder small: fewer layers, and the part of its vocabulary that reports need."""

import json
from collections.abc import Iterable

import torch
from tokenizers import Tokenizer
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast


def kept_tokens(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str], size: int) -> list[int]:
    """
    Ids of the tokens to keep, ascending: the special ones, those of `texts`, short ones that can spell any word, and
    then the lowest ids (the most frequent words of the encoder's own training) up to `size`.
    """
    vocabulary = tokenizer.get_vocab()
    kept = set(tokenizer.all_special_ids)
    for text in texts:
        kept.update(tokenizer(text, add_special_tokens=False)["input_ids"])
    kept.update(index for token, index in vocabulary.items() if len(token.removeprefix("##")) == 1 and token.isascii())
    words = sorted(index for token, index in vocabulary.items() if token.removeprefix("##").isalnum())
    for index in words:
        if len(kept) >= size:
            break
        kept.add(index)
    return sorted(kept)


def shrink_vocabulary(
    encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, texts: Iterable[str], size: int
) -> PreTrainedTokenizerFast:
    """
    Cut encoder (in place) and tokenizer down to `size` tokens; texts of kept tokens are encoded as before.

    Raises:
        ValueError: if the tokenizer is no WordPiece tokenizer.
    """
    layout = json.loads(tokenizer.backend_tokenizer.to_str())
    if layout["model"]["type"] != "WordPiece":
        raise ValueError(f"only a WordPiece vocabulary can be cut down, not {layout['model']['type']}")
    kept = kept_tokens(tokenizer, texts, size)
    new_ids = {old: new for new, old in enumerate(kept)}
    names = {index: token for token, index in layout["model"]["vocab"].items()}
    layout["model"]["vocab"] = {names[old]: new for old, new in new_ids.items() if old in names}
    for token in layout["added_tokens"]:
        token["id"] = new_ids[token["id"]]
    for special in (layout.get("post_processor") or {}).get("special_tokens", {}).values():
        special["ids"] = [new_ids[index] for index in special["ids"]]
    if (layout.get("post_processor") or {}).get("type") == "BertProcessing":
        for side in ("sep", "cls"):
            token, index = layout["post_processor"][side]
            layout["post_processor"][side] = [token, new_ids[index]]
    if layout.get("padding"):
        layout["padding"]["pad_id"] = new_ids[layout["padding"]["pad_id"]]

    weight: torch.Tensor = encoder.get_parameter("embeddings.word_embeddings.weight").detach()[torch.tensor(kept)]
    embeddings = torch.nn.Embedding.from_pretrained(weight.clone(), padding_idx=new_ids[tokenizer.pad_token_id])
    encoder.set_input_embeddings(embeddings)
    encoder.config.vocab_size = len(kept)
    encoder.config.pad_token_id = new_ids[tokenizer.pad_token_id]
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(layout)),
        model_max_length=tokenizer.model_max_length,
        **{name: str(token) for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)},
    )


def keep_first_layers(encoder: PreTrainedModel, count: int) -> None:
    """
    Drop all but the first `count` layers of a BERT-like encoder, in place.

    Raises:
        ValueError: if it has fewer, or is built otherwise.
    """
    stack = getattr(encoder, "encoder", None)
    layers = getattr(stack, "layer", None)
    if stack is None or layers is None or not 1 <= count <= len(layers):
        raise ValueError(f"cannot keep {count} layers of {type(encoder).__name__}")
    stack.layer = layers[:count]
    encoder.config.num_hidden_layers = count
