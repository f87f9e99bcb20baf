"""History: a token that was predicted pass after pass will be predicted more surely still."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsearch.forecast.passes import Floats
from hwsearch.forecast.settings import History
from hwsearch.forecast.situation import Memory, Situation


class CreditedLogits:
    """Adds to the newest logits what their tokens have earned by being predicted before.

    ``C <- decay C; C[argmax] += p ** exponent; change = weight log(1 + C)``, as
    `hwsearch.commit.credit.CreditThreshold` does. Source: CreditDecoding (arXiv 2510.06133).
    """

    memory = Memory(best=True)

    def __init__(self, settings: History) -> None:
        self._settings = settings

    def changes(self, situation: Situation) -> Floats:
        """The logarithm of the credit; see `hwsearch.forecast.methods.method.ForecastMethod.changes`."""
        rule, where = self._settings, np.nonzero(situation.masked)
        credit = np.zeros((len(where[0]), situation.logits[0].shape[-1]), dtype=np.float32)
        rows = np.arange(len(credit))
        for age, best in enumerate(situation.best):
            earned = best.probability[where] ** rule.exponent
            credit[rows, best.tokens[where]] += rule.decay**age * earned
        change: Floats = np.float32(rule.weight) * np.log1p(credit)
        return change

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Nothing is fitted."""
        return {}
