"""The word-level tokenizer of gsm-mini: one token a word, one a whole number."""

from __future__ import annotations

import re
from itertools import islice

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from hwsearch.tasks.gsm_mini.generator import LARGEST_NUMBER, problems

PAD, UNKNOWN, MASK, END = SPECIALS = ("<|pad|>", "<|unknown|>", "<|mask|>", "<|end|>")

#: A calculator bracket, the answer mark, a number, a word, a newline, or one other sign.
PIECE = r"<<|>>|####|\d+|[A-Za-z']+|\n|[^\s\w]"

#: Blanks that joining tokens by blanks adds and the text does not have.
JOINTS = (
    (r" ?\n ?", "\n"),
    (r" (?=[.,?!:])", ""),
    (r"(?<=\$) ", ""),
    (r"(?<=<<) | (?=>>)|(?<=>>) (?=\d)", ""),
    (r" (?=[-+*/=])|(?<=[-+*/=]) ", ""),
)


def build_tokenizer(sample: int = 20_000) -> Tokenizer:
    """Tokenizer over every word that a large sample of training problems uses."""
    words = sorted(
        {
            piece
            for problem in islice(problems("train"), sample)
            for piece in re.findall(PIECE, f"{problem.question}\n{problem.answer}")
            if not piece.isdigit()
        }
    )
    numbers = [str(number) for number in range(LARGEST_NUMBER + 1)]
    entries = [*SPECIALS, *words, *numbers]
    tokenizer = Tokenizer(
        models.WordLevel({entry: i for i, entry in enumerate(entries)}, unk_token=UNKNOWN)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECE), "isolated"),
            pre_tokenizers.Split(Regex(r"[^\S\n]+"), "removed"),
        ]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.WordPiece(prefix="@@", cleanup=False),
            decoders.Fuse(),
            *(decoders.Replace(Regex(pattern), content) for pattern, content in JOINTS),
        ]
    )
    tokenizer.add_special_tokens(list(SPECIALS))
    return tokenizer
