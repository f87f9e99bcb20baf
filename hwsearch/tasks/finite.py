"""Predictions that are no numbers are an error, not a score of 0 %."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsearch.decoding.backend import GREEDY, Backend, Prediction, Sampling, Tokens
from hwsearch.decoding.passes import Scope
from hwsearch.errors import CheckpointError
from hwsearch.forecast.passes import FittedForecast


class FiniteBackend:
    """A backend whose predictions are numbers: a confidence that is not finite ends the generation.

    Args:
        backend: what predicts.
        model: what it predicts for; named in the error, and searched for the tensor to blame.
        name: how the model was asked for, where `model` does not know.

    Raises:
        CheckpointError: a weight of the model is no finite number.
    """

    def __init__(self, backend: Backend, model: object, name: str | None = None) -> None:
        self._backend, self._model = backend, model
        self._name = name or getattr(model, "name", None)
        if _has_tensors(model):
            from hwsearch.denoisers.finite import check_weights_once

            check_weights_once(model)  # type: ignore[arg-type]

    @property
    def forecast(self) -> FittedForecast | None:
        """What the backend's passes are foreseen by."""
        return getattr(self._backend, "forecast", None)

    def begin(self, *, sampling: Sampling = GREEDY) -> None:
        """See `hwsearch.decoding.backend.Backend`."""
        self._backend.begin() if sampling == GREEDY else self._backend.begin(sampling=sampling)

    def refresh(self, tokens: Tokens, start: int, stop: int, *scope: Scope) -> Prediction:
        """See `hwsearch.decoding.backend.Backend`; raises `CheckpointError` as `require_finite`."""
        return self._checked(self._backend.refresh(tokens, start, stop, *scope))

    def step(self, tokens: Tokens, start: int, stop: int, *scope: Scope) -> Prediction:
        """See `hwsearch.decoding.backend.Backend`; raises `CheckpointError` as `require_finite`."""
        return self._checked(self._backend.step(tokens, start, stop, *scope))

    def _checked(self, found: Prediction) -> Prediction:
        require_finite(found.confidence, self._model, self._name)
        return found


def _has_tensors(model: object) -> bool:
    """Whether a model shows its tensors; a bundle does not."""
    return getattr(model, "network", None) is not None


def require_finite(values: Any, model: object, name: str | None = None) -> None:
    """Raise where a number that a model gave is none.

    Raises:
        CheckpointError: one of `values` is NaN or infinite; the message names the model, and the
            first of its tensors that is not finite, if one is.
    """
    if np.isfinite(values).all():
        return
    if _has_tensors(model):
        from hwsearch.denoisers.finite import check_weights

        check_weights(model)  # type: ignore[arg-type]
    name = name or getattr(model, "name", None)
    subject = "the model" if name is None else f"model {name!r}"
    raise CheckpointError(
        f"{subject} cannot be evaluated: its logits are NaN or infinite; take another checkpoint or dtype"
    )
