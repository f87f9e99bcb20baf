"""SentencePiece's BPE (``tokenizer.ggml.model`` is ``llama``), which has scores where others have merges.

SentencePiece joins the two neighbours whose joint piece has the best score, again and again. So each way to
split a piece into two pieces is a merge, and merges are in order of the scores of what they make.
"""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, normalizers
from tokenizers.models import BPE

from hwsearch.denoisers.loading.gguf.header import GgufHeader
from hwsearch.denoisers.loading.gguf.vocabulary import TokenKind, Vocabulary, read_list
from hwsearch.errors import CheckpointError

#: Longest piece that is believed: its ways to be split are all looked at.
MOST_PIECE = 512

#: Stands for a space inside of pieces.
SPACE = "\u2581"


def sentence_piece_tokenizer(header: GgufHeader, vocabulary: Vocabulary) -> tuple[Tokenizer, bool]:
    """A BPE of pieces, bytes where there is no piece; its texts begin with a token unless the header says.

    Raises:
        CheckpointError: scores are missing or malformed.
    """
    scores = read_list(header, "scores", float)
    if len(scores) != len(vocabulary.tokens):
        raise header.metadata.error(
            f"tokenizer.ggml.scores has {len(scores)} entries for {len(vocabulary.tokens)} tokens"
        )
    ids = vocabulary.ids()
    unknown = next(iter(vocabulary.of_kind(TokenKind.UNKNOWN)), None)
    made = Tokenizer(
        BPE(ids, _merges(vocabulary, scores), unk_token=unknown, fuse_unk=True, byte_fallback=True)
    )
    spaced = header.metadata.flag("tokenizer.ggml.add_space_prefix", True)
    first = [normalizers.Prepend(SPACE)] if spaced else []
    made.normalizer = normalizers.Sequence([*first, normalizers.Replace(" ", SPACE)])
    last = [decoders.Strip(" ", 1, 0)] if spaced else []
    made.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *last]
    )
    return made, True


def _merges(vocabulary: Vocabulary, scores: list[float]) -> list[tuple[str, str]]:
    """All merges, best first; those that make one piece by the ids of their halves."""
    every = (TokenKind.UNKNOWN, TokenKind.CONTROL, TokenKind.USER_DEFINED, TokenKind.BYTE)
    pieces = vocabulary.ids(*every)
    found = []
    for piece, index in pieces.items():
        if len(piece) > MOST_PIECE:
            raise CheckpointError(
                f"{vocabulary.where}: a piece of {len(piece):,} characters, and {MOST_PIECE} are the most"
            )
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in pieces and right in pieces:
                found.append((-scores[index], pieces[left], pieces[right], left, right))
    return [(left, right) for *_, left, right in sorted(found)]
