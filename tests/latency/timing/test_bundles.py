import pytest

from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.torch_backend import TorchBackend
from hwsearch.latency.operators import Workload
from hwsearch.latency.timing.bundles import time_backends
from hwsearch.testing.tiny import tiny_denoiser


@pytest.fixture(scope="module")
def measured():
    small, large = tiny_denoiser(), tiny_denoiser(layers=12)
    backends = {
        "small": TorchBackend(small.network, KeptShares.keeping_all(2)),
        "large": TorchBackend(large.network, KeptShares((0.5,) * 12)),
    }
    return time_backends(backends, Workload(6, small.decoding), 0, rounds=5, vocab_size=64)


def test_every_pass_is_sampled_as_often_as_asked(measured):
    for timing in measured.timings.values():
        assert len(timing.refresh_ms) == len(timing.step_ms) == len(timing.generation_ms) == 5
        refresh, step, generation = timing.p50
        # four refreshes and four steps make a generation
        assert generation > 2 * (refresh + step)


def test_six_times_the_layers_take_longer(measured):
    assert measured.generation_ms("large") > 2 * measured.generation_ms("small")


def test_the_machine_is_timed_beside_the_models(measured):
    assert 0 < measured.reference_ms < 1000
