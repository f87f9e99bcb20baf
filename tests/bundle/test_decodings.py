"""Every policy and window: a bundle writes what torch writes, and verifies, in LLaDA's and Dream's form."""

import numpy as np
import pytest

from hwsearch.bundle import Exporter
from hwsearch.commit import POLICIES
from hwsearch.compression import compress
from hwsearch.decoding.kept import KeptShares
from hwsearch.decoding.sampler import generate
from hwsearch.denoisers.torch_backend import TorchBackend
from hwsearch.errors import InputError, PlanError
from hwsearch.jobs.verification import verify
from hwsearch.plan import CachePolicy, CompressionPlan, Decoding
from hwsearch.runtime.agreement import measure_agreement
from hwsearch.runtime.backend import OnnxBackend
from hwsearch.runtime.engine import Runtime
from hwsearch.testing.tiny import tiny_denoiser

QUESTIONS = ["2 + 2 ?", "3 * 4 - 1 ?", "7 ?"]
WINDOWS = [
    {},
    {"window": {"before": 2, "after": 3}},
    {"window": {"after": None}},
    {"window": {"advance": True}},
    {"suffix_window": 4},
    {"suffix_window": 4, "window": {"before": 1, "advance": True}},
    {"window": {"before": 3, "slide": True}, "refresh_interval": 16},
]
#: Each window with a threshold that commits some, each policy with one of the windows.
CHANGES = [
    *({"commit": {"policy": "threshold", "threshold": 0.05}, **window} for window in WINDOWS),
    *(
        {"commit": {"policy": name}, "stop_at_end": index % 2 > 0, **WINDOWS[index % 6]}
        for index, name in enumerate(POLICIES)
    ),
    {"window": {"advance": True}, "steps": 8, "temperature": 0.5},
    {"commit": {"policy": "kl-stable", "divergence": 5.0, "threshold": 0.05}, "temperature": 0.3},
]


@pytest.fixture(scope="module", params=[False, True], ids=["llada", "dream"])
def exporter(request):
    return Exporter(tiny_denoiser(logit_shift=request.param))


def export(exporter, folder, **changes):
    decoding = Decoding.model_validate(
        {"gen_length": 16, "block_length": 4, "refresh_interval": 3} | changes
    )
    denoiser = exporter.denoiser
    plan = CompressionPlan.uniform(2, decoding=decoding.model_dump())
    kept = KeptShares((1.0, 0.5), CachePolicy(), decoding.refreshes)
    return exporter.export(compress(denoiser, plan), kept, folder, questions=QUESTIONS)


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_onnxruntime_writes_what_torch_writes(exporter, changes, tmp_path):
    bundle = export(exporter, tmp_path / "bundle", **changes)
    assert measure_agreement(Runtime(bundle, threads=1)).share == 1.0
    failed = [check.name for check in verify(bundle.path) if not check.passed]
    assert not failed


def test_a_bundle_is_decoded_as_it_was_exported(exporter, tmp_path):
    bundle = export(exporter, tmp_path / "bundle", commit={"policy": "threshold"})
    prompt = np.array([[5, 6, 7]])
    backend = OnnxBackend(bundle, 1)
    for changes, said in (
        ({"commit": {"policy": "credit"}}, "exported to predict by"),
        ({"commit": {"policy": "kl-stable"}}, "exported to predict by"),
        ({"window": {"before": 2}, "steps": 16}, "export it again with the window"),
        ({"suffix_window": 4, "steps": 16}, "export it again with the window"),
    ):
        other = Decoding.model_validate(
            {"gen_length": 16, "block_length": 4, "refresh_interval": 4} | changes
        )
        with pytest.raises(InputError, match=said) as error:
            generate(backend, prompt, other, 0, end_tokens={1})
        assert len(str(error.value).splitlines()) == 1


def test_a_rule_that_looks_at_each_refresh_needs_them():
    with pytest.raises(PlanError, match=r"mean-query.*refresh of each block"):
        CompressionPlan.uniform(
            2,
            sink_threshold=0.5,
            cache={"rule": "mean-query"},
            decoding={
                "gen_length": 8, "block_length": 4, "steps": 8, "refresh_interval": 4,
                "window": {"advance": True},
            },
        )  # fmt: skip


def test_an_advanced_block_sees_what_was_written_before():
    """Its keys and values are the tokens', not the masks' that stood there at the last refresh."""
    denoiser = tiny_denoiser(sharpness=3.0)
    kept = KeptShares.keeping_all(2)
    prompt = np.array([[5, 6, 7, 8, 9]])
    plain = {"gen_length": 16, "block_length": 4, "steps": 16, "refresh_interval": 16}
    whole = {"window": {"before": 99, "after": None, "advance": True}}
    refreshed, advanced = (
        generate(TorchBackend(denoiser.network, kept), prompt, Decoding.model_validate(d), 0)
        for d in (plain | {"refresh_interval": 1}, plain | whole)
    )
    # a window over everything, in every pass, is a model without a cache
    assert refreshed.tolist() == advanced.tolist()
