"""Decodings that a search offers unless it is told which: the makers' own, then fewer and fewer passes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hwsearch.plan import Decoding

if TYPE_CHECKING:
    from hwsearch.denoisers.denoiser import Denoiser
    from hwsearch.denoisers.described import DescribedModel

STOP: Final[dict[str, Any]] = {"stop_at_end": True}
ADVANCE: Final[dict[str, Any]] = {"window": {"advance": True}}


def _commit(policy: str, **numbers: float) -> dict[str, Any]:
    return {"commit": {"policy": policy, **numbers}, **STOP}


#: What each changes of the makers' decoding, most careful first. One of each kind that paid in
#: ``studies/decoding``: parallel commits, then blocks that begin without a refresh.
CHANGES: Final[tuple[dict[str, Any], ...]] = (
    STOP,
    _commit("threshold", threshold=0.9),
    _commit("threshold", threshold=0.9) | ADVANCE,
    _commit("credit") | ADVANCE,
    _commit("threshold", threshold=0.8) | ADVANCE,
    _commit("decaying-threshold") | ADVANCE,
    _commit("threshold", threshold=0.7) | ADVANCE,
)


def offered_decodings(denoiser: Denoiser | DescribedModel) -> tuple[Decoding | None, ...]:
    """The model's own, as None, and what else its passes can be asked for.

    A model with full passes only has no windows; what is then the same is offered once. An
    autoregressive one writes one token a pass, and nothing else is offered.
    """
    if denoiser.is_causal:
        return (None,)
    found: list[Decoding | None] = [None]
    for changes in CHANGES:
        served = changes if denoiser.is_cached else {**changes, "window": {}}
        decoding = denoiser.decoding.changed(served)
        if decoding != denoiser.decoding and decoding not in found:
            found.append(decoding)
    return tuple(found)
