"""Where an answer ends: generated tokens to the text that counts, in torch and in bundles alike.

A diffusion model writes past the end of its answer, and what ends it is often a special token, such
as ``<|im_end|>``. So text is cut while its special tokens still stand in it, and they are dropped
afterwards (as LLaDA's ``eval_llada.py`` does). Which characters stay is found by decoding prefixes of the
tokens with and without them: encoding the cut text anew would change texts that a tokenizer
does not give back as they were.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tokenizers import Tokenizer


#: Stands for a mask where an answer is shown that is being written.
UNWRITTEN: Final = "░"


class Ending(Protocol):
    """What names the token that ends an answer; a denoiser does, so does a bundle's manifest."""

    @property
    def end_token_id(self) -> int:
        """The token that fills a generation after its end."""


def end_token_ids(model: Ending) -> frozenset[int]:
    """Every token that ends an answer: `end_token_id`, and `end_token_ids` where a model has more."""
    return frozenset((model.end_token_id, *getattr(model, "end_token_ids", ())))


def answer_length(tokens: Sequence[int] | NDArray[np.int64], ends: Collection[int]) -> int:
    """Generated tokens before the first that ends the answer; all of them where none does."""
    places = np.flatnonzero(np.isin(tokens, list(ends)))
    return int(places[0]) if places.size else len(tokens)


def cut(text: str, stops: Iterable[str]) -> str:
    """`text` as a decoder that stops would have left it, by lm-evaluation-harness's rule.

    Nothing counts behind the stop that is complete first; of what is left each stop in its turn cuts
    at its first place, which matters where stops overlap. An empty stop stands nowhere.

    >>> cut("7 apples\\n\\nQ: next", ("Q:", "\\n\\n", ""))
    '7 apples'
    """
    stops = [stop for stop in stops if stop]
    complete = (at + len(stop) for stop in stops if (at := text.find(stop)) >= 0)
    text = text[: min(complete, default=len(text))]
    for stop in stops:
        text = text.split(stop, 1)[0]
    return text


def answer_text(
    tokenizer: Tokenizer,
    tokens: Sequence[int],
    ends: Iterable[int],
    stops: Iterable[str] = (),
) -> str:
    """Text of generated tokens up to where the answer ends, without special tokens.

    It ends at the first of the end tokens or of the stops, whichever comes first. A stop may be a
    special token or hold one, and may begin inside a token; the text of an end token that is special
    is a stop as well, however it was spelt.

    Args:
        tokenizer: of the model.
        tokens: what it wrote, the prompt left out.
        ends: tokens that end an answer.
        stops: texts that end it.
    """
    ends = frozenset(ends)
    special = {i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    spelt = (tokenizer.decode([end], skip_special_tokens=False) for end in sorted(ends & special))
    stops = (*stops, *spelt)
    tokens = list(tokens)
    end = next((place for place, token in enumerate(tokens) if token in ends), len(tokens))
    whole = tokenizer.decode(tokens, skip_special_tokens=False)
    kept = len(cut(whole, stops))
    count = _prefix(tokenizer, tokens, whole, kept) if kept < len(whole) else len(tokens)
    if count > end:
        return cut(tokenizer.decode(tokens[:end]), stops)
    text: str = tokenizer.decode(tokens[:count])
    if kept < len(whole) and count and tokens[count - 1] not in special:
        # the stop begins inside the last token: its surplus goes
        surplus = len(tokenizer.decode(tokens[:count], skip_special_tokens=False)) - kept
        text = text[: max(0, len(text) - surplus)]
    # a stop may stand only where a special token has parted it
    return cut(text, stops)


def partial_text(
    tokenizer: Tokenizer,
    tokens: Sequence[int],
    mask: int,
    ends: Iterable[int],
    stops: Iterable[str] = (),
) -> str:
    """Text of an answer that is being written, each mask as `UNWRITTEN`.

    Nothing is shown behind the first end token or stop that stands already: it would be cut in the
    end. The text of the finished answer is `answer_text`'s to tell.

    Args:
        tokenizer: of the model.
        tokens: what it wrote so far, the prompt left out.
        mask: the token that stands for "not written yet".
        ends: tokens that end an answer.
        stops: texts that end it.
    """
    ends = frozenset(ends)
    special = {i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    tokens = list(takewhile(lambda token: token not in ends, tokens))
    text: str = tokenizer.decode(tokens, skip_special_tokens=False)
    if mask in tokens:  # before stops are looked for, which a mask's name might hold
        text = text.replace(tokenizer.id_to_token(mask) or UNWRITTEN, UNWRITTEN)
    text = cut(text, stops)
    for token in special.intersection(tokens) - {mask}:
        text = text.replace(tokenizer.id_to_token(token) or "", "")
    return text


def _prefix(tokenizer: Tokenizer, tokens: list[int], whole: str, kept: int) -> int:
    """How many tokens hold the first `kept` characters of `whole`, special tokens included.

    A character may take several tokens, and fewer of them read as another character: such prefixes
    are passed over.
    """

    def text(count: int) -> str:
        return str(tokenizer.decode(tokens[:count], skip_special_tokens=False))

    count = bisect_left(range(len(tokens)), kept, key=lambda n: len(text(n)))
    while count < len(tokens) and not (len(text(count)) >= kept and whole.startswith(text(count))):
        count += 1
    return count
