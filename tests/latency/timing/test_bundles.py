"""Whole models timed side by side: by a clock that only they advance, and once by the real one."""

import numpy as np
import pytest

from hwsearch.decoding.backend import GREEDY, Prediction
from hwsearch.latency.operators import Workload
from hwsearch.latency.timing.bundles import backend_runs, time_backends
from hwsearch.latency.timing.clock import interleave
from hwsearch.plan import Decoding
from hwsearch.testing.timers import FakeClock

DECODING = Decoding(gen_length=8, block_length=4, steps=8, refresh_interval=2)
WORK = Workload(6, DECODING)


class Clocked:
    """A backend whose passes take a known time on a fake clock."""

    def __init__(self, clock, refresh_s, step_s):
        self.clock, self.seconds = clock, (refresh_s, step_s)
        self.passes = [0, 0]

    def begin(self, *, sampling=GREEDY):
        pass

    def refresh(self, tokens, start, stop):
        return self._run(0, tokens, start, stop)

    def step(self, tokens, start, stop):
        return self._run(1, tokens, start, stop)

    def _run(self, kind, tokens, start, stop):
        self.passes[kind] += 1
        self.clock.now += self.seconds[kind]
        shape = (len(tokens), stop - start)
        return Prediction(np.ones(shape, dtype=np.int64), np.ones(shape, dtype=np.float32))


@pytest.mark.parametrize(("refresh_interval", "refreshes"), [(1, 8), (2, 4), (4, 2)], ids=str)
def test_passes_and_generations_take_what_their_parts_take(refresh_interval, refreshes):
    clock = FakeClock()
    decoding = DECODING.model_copy(update={"refresh_interval": refresh_interval})
    backends = {"quick": Clocked(clock, 3e-3, 1e-3), "slow": Clocked(clock, 9e-3, 4e-3)}
    runs = backend_runs(backends, Workload(6, decoding), 0)
    samples = interleave(runs, 5, clock=clock)
    for name, backend in backends.items():
        refresh, step = (1e6 * seconds for seconds in backend.seconds)
        assert samples[name, 0] == pytest.approx([refresh] * 5)
        assert samples[name, 1] == pytest.approx([step] * 5)
        whole = refreshes * refresh + (8 - refreshes) * step
        assert samples[name, 2] == pytest.approx([whole] * 5)


@pytest.fixture(scope="module")
def measured():
    clock = FakeClock()
    backends = {name: Clocked(clock, 1e-3, 1e-3) for name in ("one", "other")}
    return time_backends(backends, WORK, 0, rounds=3, vocab_size=64)


def test_every_pass_is_sampled_as_often_as_asked(measured):
    for timing in measured.timings.values():
        for part in (timing.refresh_ms, timing.step_ms, timing.generation_ms):
            assert len(part) == 3 and min(part) > 0
        assert timing.p50 == tuple(
            float(np.median(part))
            for part in (timing.refresh_ms, timing.step_ms, timing.generation_ms)
        )


def test_the_machine_is_timed_beside_the_models(measured):
    assert set(measured.timings) == {"one", "other"}
    assert measured.reference_ms > 0
    assert measured.generation_ms("one") == measured.timings["one"].p50[2]
