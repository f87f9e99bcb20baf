"""A generation written down gives back what every pass saw."""

from __future__ import annotations

import numpy as np
import pytest

from hwsearch.decoding.backend import Prediction
from hwsearch.decoding.committing.schedule import passes
from hwsearch.decoding.trajectory import frozen_passes, record, replay
from hwsearch.plan import Decoding

MASK, PROMPT = 0, [5, 6, 7]
DECODINGS = [
    Decoding(gen_length=8, block_length=4, steps=8, refresh_interval=2),
    Decoding(gen_length=8, block_length=8, steps=3, refresh_interval=1),
    Decoding(gen_length=6, block_length=3, steps=2, refresh_interval=4),
    Decoding(gen_length=8, block_length=8, steps=5, refresh_interval=2, rule="origin"),
    Decoding(gen_length=8, block_length=4, steps=6, refresh_interval=2, rule="random"),
]


class Backend:
    """Predicts what a hash of the tokens says, and keeps what it saw."""

    def __init__(self):
        self.saw = []

    def begin(self, **_):
        self.saw = []

    def refresh(self, tokens, start, stop):
        return self._predict("refresh", tokens, start, stop)

    def step(self, tokens, start, stop):
        return self._predict("step", tokens, start, stop)

    refresh_logits, step_logits = refresh, step

    def _predict(self, kind, tokens, start, stop):
        self.saw.append((kind, tokens.tolist(), start, stop))
        rng = np.random.default_rng(tokens.sum())
        shape = (1, stop - start)
        return Prediction(rng.integers(1, 50, shape), rng.random(shape, dtype=np.float32))


@pytest.mark.parametrize("decoding", DECODINGS, ids=str)
@pytest.mark.parametrize("history", [True, False])
def test_each_pass_is_run_again_on_what_it_saw(decoding, history):
    backend = Backend()
    trajectory = record(backend, PROMPT, decoding, MASK)
    saw, schedule = backend.saw, list(passes(decoding))
    assert MASK not in trajectory.tokens and trajectory.tokens[:3].tolist() == PROMPT
    found = list(frozen_passes(trajectory, range(len(schedule)), decoding, MASK, history=history))
    # a pass whose block is written already predicts nothing
    whole = [i for i, (_, tokens, a, b) in enumerate(saw) if MASK in tokens[0][a:b]]
    assert [one.index for one in found] == whole
    for one in found:
        _, tokens, start, stop = saw[one.index]
        assert one.masked.tolist() == np.flatnonzero(np.equal(tokens[0][start:stop], MASK)).tolist()
        backend.begin()
        replay(backend, one)
        refreshes = [i for i in range(one.index + 1) if schedule[i].refresh]
        expected = [saw[i] for i in (refreshes if history else refreshes[-1:])]
        if not schedule[one.index].refresh:
            expected.append(saw[one.index])
        assert backend.saw == expected
