import numpy as np

from hwsearch.runtime import OnnxBackend
from hwsearch.runtime.bundle import STEP_FILE
from hwsearch.runtime.probe import ProbeBackend


def test_held_inputs_give_what_a_plain_run_gives(bundle):
    backend = OnnxBackend(bundle, threads=1)
    rng = np.random.default_rng(0)
    backend.begin()
    for start in (9, 13):
        tokens = rng.integers(3, 64, (1, 21))
        backend.refresh(tokens, start, start + 4)
        for _ in range(3):
            tokens[:, start : start + 4] = rng.integers(3, 64, (1, 4))
            found = backend.step(tokens, start, start + 4)
            feeds, past = backend._step_feeds(tokens, start, start + 4)
            wanted = backend.graphs.step.run(["token", "confidence"], feeds | past.arrays)
            np.testing.assert_array_equal(found.tokens, wanted[0])
            np.testing.assert_array_equal(found.confidence, wanted[1])


def test_arrays_of_any_layout_are_bound(bundle):
    backend = OnnxBackend(bundle, threads=1)
    tokens = np.random.default_rng(0).integers(3, 64, (1, 21))
    backend.begin()
    backend.refresh(tokens, 9, 13)
    wanted = backend.step(tokens, 9, 13).confidence
    backend._past = {}
    turned = {name: np.asfortranarray(array) for name, array in backend._cache.items()}
    assert not any(array.flags.c_contiguous for array in turned.values())
    backend._cache = turned
    strided = np.repeat(tokens, 2, axis=1)[:, ::2]
    np.testing.assert_array_equal(backend.step(strided, 9, 13).confidence, wanted)


def test_a_probe_sees_held_inputs_too(bundle):
    probe = ProbeBackend(bundle, threads=1)
    tokens = np.random.default_rng(0).integers(3, 64, (1, 21))
    probe.begin()
    probe.refresh(tokens, 9, 13)
    probe.step(tokens, 9, 13)
    assert {value.name for value in probe.graphs.step.get_inputs()} == set(
        probe.seen[STEP_FILE][0].feeds
    )
