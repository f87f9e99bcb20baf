from __future__ import annotations

import numpy as np

from hwsearch.sinks.accumulator import Series


def test_a_series_grows_and_keeps_what_it_was_given():
    series, value = Series(), np.zeros(2)
    for number in range(100):
        value[:] = number, -number
        series.append(value)
    assert len(series) == 100
    assert series.array().tolist() == [[n, -n] for n in range(100)]
