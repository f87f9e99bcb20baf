"""What torch writes by a rule and a temperature, onnxruntime writes too."""

import numpy as np
import pytest

from hwsearch.bundle import Exporter
from hwsearch.compression import compress
from hwsearch.decoding.kept import KeptShares
from hwsearch.decoding.sampler import generate
from hwsearch.denoisers.backends import backend_of
from hwsearch.errors import InputError
from hwsearch.plan import CompressionPlan, Decoding
from hwsearch.runtime import OnnxBackend, Runtime, check_agreement
from hwsearch.testing.tiny import tiny_denoiser

MASK, PROMPT = 0, np.array([[3, 4, 17, 5, 6, 7, 20, 8]])
QUESTIONS = ["tom has 3 apples how many now ?", "tom buys 4 more"]


def decoding(rule, temperature=0.0):
    return Decoding(
        gen_length=16,
        block_length=8,
        steps=8,
        refresh_interval=2,
        rule=rule,
        temperature=temperature,
    )


@pytest.fixture(scope="module")
def denoiser():
    # attention so sharp that predictions differ from mask to mask
    return tiny_denoiser(2, hidden=32, sharpness=4.0, logit_shift=True, qkv_bias=True)


@pytest.fixture(scope="module")
def exporter(denoiser):
    return Exporter(denoiser)


def bundle_of(exporter, denoiser, chosen, out):
    plan = CompressionPlan.uniform(2, decoding=chosen.model_dump())
    return exporter.export(
        compress(denoiser, plan), KeptShares((1.0, 0.6)), out, questions=QUESTIONS
    )


@pytest.mark.parametrize(
    ("rule", "temperature"),
    [
        ("low_confidence", 0.0),
        ("random", 0.0),
        ("origin", 0.0),
        ("maskgit_plus", 0.0),
        ("topk_margin", 0.0),
        ("entropy", 0.0),
        ("low_confidence", 0.7),
        pytest.param("maskgit_plus", 0.7, marks=pytest.mark.slow),
        pytest.param("topk_margin", 0.7, marks=pytest.mark.slow),
        ("entropy", 0.7),
    ],
)
def test_onnxruntime_writes_what_torch_writes(exporter, denoiser, rule, temperature, tmp_path):
    chosen = decoding(rule, temperature)
    bundle = bundle_of(exporter, denoiser, chosen, tmp_path / "bundle")
    assert bundle.manifest.decoding == chosen
    runtime = Runtime(bundle, threads=1)
    check_agreement(runtime, least=1.0)
    backend = backend_of(denoiser.network, KeptShares((1.0, 0.6)))
    torch = generate(backend, PROMPT, chosen, MASK, seed=3)[0, 8:].tolist()
    assert runtime.generate_tokens(PROMPT[0], seed=3) == torch
    chance = temperature > 0 or rule in ("random", "origin")
    assert (runtime.generate_tokens(PROMPT[0], seed=4) != torch) == chance
    if rule == "entropy" and not temperature:
        with pytest.raises(InputError, match=r"exported to predict by .*entropy.*not by .*margin"):
            generate(OnnxBackend(bundle), PROMPT, decoding("topk_margin"), MASK)
