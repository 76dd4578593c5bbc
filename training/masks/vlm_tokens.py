"""Place and shape tokens in the vocabulary of a model that does not have them."""

from collections.abc import Sequence
from typing import Any

from transformers import AddedToken


def add_mask_tokens(model: Any, tokenizer: Any, tokens: Sequence[str]) -> list[int]:
    """
    Add what is missing of a codec's tokens, and rows of embeddings if there are too few.

    PaliGemma has the published ones; its embeddings stay as they are.

    Returns:
        Ids of the tokens that are new.
    """
    known = tokenizer.get_vocab()
    missing = [token for token in tokens if token not in known]
    # Not "special": what is special is left out of decoded text.
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in missing])
    new = tokenizer.convert_tokens_to_ids(missing) if missing else []
    rows = len(model.get_input_embeddings().weight)
    if new and max(new) >= rows:
        model.resize_token_embeddings(max(new) + 1)
    return list(new)


def token_ids(tokenizer: Any, tokens: Sequence[str]) -> list[int]:
    """
    Ids of a codec's tokens.

    Raises:
        ValueError: if one is missing.
    """
    known = tokenizer.get_vocab()
    for token in tokens:
        if token not in known:
            raise ValueError(f"the tokenizer has no token {token}: the model was trained with another mask codec")
    return [known[token] for token in tokens]
