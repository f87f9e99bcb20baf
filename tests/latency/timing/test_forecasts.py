"""What forecasts cost between passes: the generations that are timed are what they are said to be."""

import numpy as np
import pytest

from hwsearch.decoding.backend import GREEDY, Prediction
from hwsearch.decoding.sampler import generation
from hwsearch.forecast.settings import METHODS
from hwsearch.forecast.untrained import UntrainedForecast
from hwsearch.latency.operators import Workload
from hwsearch.latency.timing.forecasts import (
    PLAIN,
    ClockBetweenPasses,
    _Handing,
    _prices,
    time_forecasts,
    two_passes_a_block,
)
from hwsearch.plan import Decoding

MAKERS = Decoding(gen_length=16, block_length=8, steps=16, refresh_interval=8)
VOCAB, WIDTH, MASK = 40, 12, 39


class Sure:
    """A model that is certain of everything, so that only the decoding keeps it from writing all at once."""

    def begin(self, *, sampling=GREEDY):
        pass

    def refresh(self, tokens, start, stop):
        shape = (len(tokens), stop - start)
        return Prediction(np.full(shape, 3), np.ones(shape, dtype=np.float32))

    step = refresh


@pytest.mark.parametrize("method", [None, *METHODS])
def test_blocks_are_written_in_two_passes_each_whatever_is_foreseen(method):
    decoding, forecast = two_passes_a_block(MAKERS), None
    if method is not None:
        decoding = decoding.changed({"forecast": {"method": method, "threshold": 1.0}})
        forecast = UntrainedForecast.of(decoding.forecast, VOCAB, WIDTH, 8)
    writer = _Handing(Sure(), ClockBetweenPasses(), (1, 8), VOCAB, WIDTH, forecast)
    found = generation(
        writer, np.zeros((1, 5), dtype=np.int64), decoding, MASK, end_tokens=range(VOCAB)
    )
    assert found.written[0].tolist() == [0] * 6 + [1] * 2 + [2] * 6 + [3] * 2
    if method is not None:
        assert not found.foreseen.any()


def test_a_price_is_what_a_generation_takes_longer_by_its_passes():
    samples = {
        PLAIN: [1000.0, 1200.0, 900.0],
        "ridge": [1800.0, 2000.0, 1700.0],
        "reuse": [990.0] * 3,
    }
    assert _prices(samples, 8) == {"ridge": pytest.approx(0.1), "reuse": 0.0}


def test_every_method_gets_a_price():
    found = time_forecasts(
        Sure(), Workload(5, MAKERS), MASK, vocab_size=VOCAB, width=WIDTH, rounds=1
    )
    assert set(found) == set(METHODS)
    assert min(found.values()) >= 0.0


def test_the_clock_stands_still_during_passes(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("hwsearch.latency.timing.forecasts.time.perf_counter", lambda: now[0])
    clock = ClockBetweenPasses()
    now[0] = 3.0
    with clock.stopped():
        now[0] = 10.0
    assert clock() == 3.0
    now[0] = 12.0
    assert clock() == 5.0
