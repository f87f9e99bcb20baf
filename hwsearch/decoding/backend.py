"""What a decoder needs of a model: two passes, and nothing about how they are computed."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from hwsearch.commit.policy import Credit
from hwsearch.decoding.cache import SinkHistory
from hwsearch.decoding.passes import WHOLE, Scope
from hwsearch.plan import CommitRule, Decoding

Tokens = NDArray[np.int64]

#: Arrays of a backend: numpy's, or torch's tensors.
Array_co = TypeVar("Array_co", covariant=True)


class Prediction(NamedTuple):
    """A model's guess for every position of one block.

    Attributes:
        tokens: the most probable token, or one drawn, ``[batch, block]``.
        confidence: how sure the model is of it, ``[batch, block]``; see `Sampling`.
        entropy: of the distribution in nats, ``[batch, block]``; None unless asked for.
        divergence: KL of the distribution from that of the pass before over the same rows, in nats,
            ``[batch, block]``; infinite where there was none, None unless asked for.
        logits: ``[batch, block, vocab]``, before any credit; None unless asked for.
        hidden: the final hidden states that they are of, ``[batch, block, width]``; None unless asked for.
    """

    tokens: Tokens
    confidence: NDArray[np.float32]
    entropy: NDArray[np.float32] | None = None
    divergence: NDArray[np.float32] | None = None
    logits: NDArray[np.float32] | None = None
    hidden: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Sampling:
    """How a backend makes predictions of its logits.

    Attributes:
        confidence: the ``probability`` of the token, the ``margin`` of the most probable one over
            the second, or the negative ``entropy``, in nats.
        temperature: tokens are ``argmax(logits + temperature * Gumbel noise)``, in float64, which
            draws them from ``softmax(logits / temperature)``; 0 takes the most probable.
        tempered: whether the confidence too is that of ``softmax(logits / temperature)``.
        seed: of the noise.
        entropy: whether predictions tell their entropy.
        divergence: whether predictions tell how far they moved since the pass before.
        credit: what is added to the logits for predictions of the passes before; None for nothing.
        logits: whether predictions come with their logits.
        hidden: whether they come with the final hidden states, too.
    """

    confidence: Literal["probability", "margin", "entropy"] = "probability"
    temperature: float = 0.0
    tempered: bool = False
    seed: int = 0
    entropy: bool = False
    divergence: bool = False
    credit: Credit | None = None
    logits: bool = False
    hidden: bool = False

    @property
    def is_greedy(self) -> bool:
        """Whether tokens are the most probable ones and nothing else is told but what they are of."""
        return replace(self, logits=False, hidden=False) == GREEDY

    @classmethod
    def of(cls, decoding: Decoding, seed: int = 0) -> Sampling:
        """What a decoding asks of a backend."""
        rule, temperature = decoding.rule, decoding.temperature
        commit, forecast = decoding.commit, decoding.forecast
        dreams = rule not in (CommitRule.LOW_CONFIDENCE, CommitRule.RANDOM)
        return cls(
            confidence=_CONFIDENCES.get(rule, "probability"),
            temperature=temperature,
            tempered=dreams and temperature > 0,
            seed=seed if temperature > 0 else 0,
            entropy=commit is not None and commit.needs_entropy,
            divergence=commit is not None and commit.needs_divergences > 0,
            credit=None if commit is None else commit.credited,
            logits=forecast is not None,
            hidden=forecast is not None and forecast.needs_hidden,
        )


_CONFIDENCES: Final[dict[CommitRule, Literal["margin", "entropy"]]] = {
    CommitRule.TOPK_MARGIN: "margin",
    CommitRule.ENTROPY: "entropy",
}

#: The most probable token and its probability: what every backend does unless told otherwise.
GREEDY: Final = Sampling()


class GumbelNoise:
    """The noise of one generation: the same for the same sampling, in torch and in onnxruntime."""

    def __init__(self, sampling: Sampling) -> None:
        self._scale = sampling.temperature
        self._rng = np.random.default_rng(sampling.seed)

    def draw(self, *shape: int) -> NDArray[np.float64]:
        """Noise to add to logits of a shape, temperature included."""
        return self._scale * self._rng.gumbel(size=shape)


class Backend(Protocol):
    """A denoiser, ready to be decoded. A decoder sees none of its logits."""

    def begin(self, *, sampling: Sampling = GREEDY) -> None:
        """Called before each generation: forget everything about the one before.

        `sampling` is given only where it is not `GREEDY`.

        Raises:
            InputError: the backend cannot predict that way.
        """

    def refresh(self, tokens: Tokens, start: int, stop: int, scope: Scope = WHOLE) -> Prediction:
        """Run all positions of ``tokens [batch, length]``; predict positions start..stop.

        Fills the cache of keys and values and updates each layer's sink scores.

        Raises:
            InputError: the backend cannot run in that scope.
        """

    def step(self, tokens: Tokens, start: int, stop: int, scope: Scope = WHOLE) -> Prediction:
        """Run some positions of ``tokens [batch, length]`` against the cache; predict start..stop.

        The positions are those of the scope, or the block alone. The cache is that of the last
        refresh, shortened to the positions each layer keeps of those that are not run.

        Raises:
            InputError: the backend cannot run in that scope.
        """


class LogitsBackend(Protocol[Array_co]):
    """A backend whose logits can be looked at, by whoever compares or judges what it predicts."""

    def begin(self) -> None:
        """Forget everything about the generation before."""

    def refresh_logits(self, tokens: Tokens, start: int, stop: int) -> Array_co:
        """The logits behind `Backend.refresh`, ``[batch, block, vocab]``."""

    def step_logits(self, tokens: Tokens, start: int, stop: int) -> Array_co:
        """The logits behind `Backend.step`, ``[batch, block, vocab]``."""


class ResumableBackend(LogitsBackend[Array_co], Backend, Protocol[Array_co]):
    """What a loss needs: logits, and generations taken up where they were left.

    A loss judges single passes from the middle of a generation. What those see of the passes before
    is each layer's `SinkHistory`, which can be read off a backend and given to another.
    """

    def begin(
        self,
        history: Mapping[int, SinkHistory] | None = None,
        frozen: Hashable = None,
        *,
        sampling: Sampling = GREEDY,
    ) -> None:
        """Begin a generation anew, or after the passes that `history` tells of.

        Args:
            history: what each layer has seen of its sinks; None is nothing yet.
            frozen: names the inputs of the passes that follow where other backends are given the
                same ones, so that what layers put out may be found again; None where they are new.
            sampling: how predictions are made.
        """

    def history(self) -> dict[int, SinkHistory]:
        """What each layer that keeps a history has seen so far; empty before the first refresh."""
