"""Which tokens end an answer and which one stands for "not written yet", by all files that say so."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer

from hwsearch.denoisers.loading.json_fields import Fields
from hwsearch.denoisers.loading.model_config import ModelConfig
from hwsearch.denoisers.loading.special_tokens import SpecialTokens
from hwsearch.errors import CheckpointError

GENERATION = "generation_config.json"

#: Special tokens that end a turn of a chat, so an answer too, in models that have them.
TURN_ENDS = ("<|eot_id|>", "<|im_end|>")


def read_end_tokens(
    folder: Path, config: ModelConfig, tokenizer: Tokenizer, special: SpecialTokens
) -> tuple[int, ...]:
    """Every token that ends an answer of a model, the one that fills what follows first.

    These are ``eos_token_id`` of ``generation_config.json``, or else of ``config.json``, each one
    token or a list; the tokenizer's ``eos_token``; and those of `TURN_ENDS` that are special tokens
    of the tokenizer.

    Raises:
        CheckpointError: an ``eos_token_id`` is no token of the model.
    """
    generation = Fields.read_if_there(folder / GENERATION)
    said, where = generation.tokens("eos_token_id"), generation.where
    if not said:
        said, where = config.end_token_ids, config.where
    named = _id(tokenizer, special, "eos_token")
    return end_tokens(said, where, config, tokenizer, () if named is None else (named,))


def end_tokens(
    said: Iterable[int],
    where: str,
    config: ModelConfig,
    tokenizer: Tokenizer,
    named: Iterable[int] = (),
) -> tuple[int, ...]:
    """Tokens that end an answer: those said to, those named so, and those of `TURN_ENDS`.

    Args:
        said: tokens that a field says, each of which must be the model's.
        where: the file with that field.
        config: the model's.
        tokenizer: the model's.
        named: tokens that count where the model has a row for them.

    Raises:
        CheckpointError: a token that is said is no token of the model.
    """
    ends = list(said)
    for token in ends:
        check_token(token, "eos_token_id", where, config)
    held = tokenizer.get_added_tokens_decoder()
    turns = [i for i, t in sorted(held.items()) if t.special and t.content in TURN_ENDS]
    more = [token for token in (*named, *turns) if token < config.geometry.vocab_size]
    return tuple(dict.fromkeys((*ends, *more)))


def read_mask_token(
    folder: Path, config: ModelConfig, tokenizer: Tokenizer, special: SpecialTokens
) -> int | None:
    """The token for "not written yet"; None where no file names one.

    ``mask_token_id`` of ``config.json`` counts first, then that of ``generation_config.json``, then
    the tokenizer's ``mask_token``.

    Raises:
        CheckpointError: a ``mask_token_id`` is no token id.
    """
    if config.mask_token_id is not None:
        return config.mask_token_id
    said = Fields.read_if_there(folder / GENERATION).token("mask_token_id")
    return _id(tokenizer, special, "mask_token") if said is None else said


def check_token(token: int, name: str, where: str, config: ModelConfig) -> None:
    """Raise `CheckpointError` unless the model has a row for a token."""
    largest = config.geometry.vocab_size - 1
    if not 0 <= token <= largest:
        raise CheckpointError(f"{where}: {name} {token} is outside the vocabulary 0..{largest}")


def _id(tokenizer: Tokenizer, special: SpecialTokens, name: str) -> int | None:
    token = special.named.get(name)
    return None if token is None else tokenizer.token_to_id(token.content)
