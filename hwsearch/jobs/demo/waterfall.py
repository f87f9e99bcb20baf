"""From the makers' decoding to the winner's, one lever after the other: what each of them brings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from hwsearch.plan import CompressionPlan, Decoding, Window

#: What contestants are called, in the order in which they are told.
TITLES: Final = {
    "baseline": "uncompressed, makers' decoding",
    "stop": "+ stop at the end token",
    "cache": "+ blocks begin from the cache",
    "parallel": "+ parallel commits",
    "best_uniform": "best uniform plan",
    "winner": "searched plan",
}


def stages(
    uncompressed: CompressionPlan, winner: Decoding | None, makers: Decoding
) -> Iterator[tuple[str, CompressionPlan]]:
    """The uncompressed model by more and more of the winner's decoding; steps that change nothing left out.

    Args:
        uncompressed: the plan that compresses nothing.
        winner: how the winner decodes; None is as the makers do, which has no stages.
        makers: how the model's makers decode.
    """
    if winner is None:
        return
    stop = makers.model_copy(update={"stop_at_end": winner.stop_at_end})
    around = {"window": winner.window, "suffix_window": winner.suffix_window}
    cache = stop.model_copy(update=around if not winner.window.slide else {"window": Window()})
    last = makers
    for name, decoding in (("stop", stop), ("cache", cache), ("parallel", winner)):
        if decoding != last:
            yield name, uncompressed.model_copy(update={"decoding": decoding})
        last = decoding
