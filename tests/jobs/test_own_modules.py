"""A module of one's own on a device: exported as a full pass, timed by its linears, searched."""

import numpy as np
import pytest
import torch
from torch import nn

from hwsearch.bundle import Exporter
from hwsearch.compression import compress
from hwsearch.decoding.kept import KeptPlan, KeptShares
from hwsearch.decoding.sampler import generate
from hwsearch.denoisers.backends import backend_of
from hwsearch.denoisers.network import linear_sizes
from hwsearch.denoisers.own import own_denoiser
from hwsearch.errors import InputError, PlanError, StudyError
from hwsearch.formats.catalog import USUAL_FORMATS
from hwsearch.latency.devices.device import Calibration, Device, DeviceInfo, Line, Provenance
from hwsearch.latency.devices.table import LatencyTable
from hwsearch.latency.operators import Workload
from hwsearch.latency.prediction.full_pass import full_pass_keys, predictor_of
from hwsearch.plan import CompressionPlan
from hwsearch.runtime import Runtime, check_agreement
from hwsearch.study import SearchSpace, search
from hwsearch.testing.device import formula_us
from tests.denoisers.test_own import (
    DECODING,
    LAYERS,
    CharacterModel,
    character_denoiser,
    character_tokenizer,
)

QUESTIONS = ["2 + 3 ?", "How many?"]
WORKLOAD = Workload(7, DECODING)
MIXED = CompressionPlan.validate(
    {"layers": [{"attention": "w4", "mlp": "w8a8"}, {"mlp": "w8"}], "head": "w8a8"}
)


@pytest.fixture(scope="module")
def denoiser():
    return character_denoiser()


@pytest.fixture(scope="module")
def exporter(denoiser):
    return Exporter(denoiser)


def device_of(denoiser, tmp_path, calibrated=True):
    keys = full_pass_keys(linear_sizes(denoiser.network), WORKLOAD, USUAL_FORMATS)
    line = Line(intercept_ms=0.5, slope=2.0, mape=0.0, plans=2)
    info = DeviceInfo(
        name="formula",
        provenance=Provenance.MODELLED,
        description="a formula, for tests",
        runtime="formula",
        calibrations=(Calibration(model=denoiser.name, refresh=line, step=line),) * calibrated,
    )
    table = LatencyTable({key: ((formula_us(key),) * 3,) for key in keys}, "formula")
    return Device(info, table, tmp_path / "formula")


@pytest.mark.parametrize("plan", [CompressionPlan.uniform(LAYERS), MIXED], ids=["fp32", "mixed"])
def test_a_bundle_of_full_passes_repeats_torch(denoiser, exporter, plan, tmp_path):
    compressed = compress(denoiser, plan)
    bundle = exporter.export(
        compressed, KeptShares.keeping_all(2), tmp_path / "bundle", questions=QUESTIONS
    )
    assert not (bundle.path / "step.onnx").exists()
    runtime = Runtime(bundle, threads=1)
    check_agreement(runtime, least=1.0 if plan != MIXED else 0.5)
    backend = backend_of(compressed.network, KeptShares.keeping_all(2))
    for length in (11, 30):
        tokens = np.random.default_rng(length).integers(3, 60, (1, length))
        ours, theirs = (b.refresh(tokens, 5, 9) for b in (runtime.backend, backend))
        # a rounding that flips by float error moves a value by one code
        np.testing.assert_allclose(ours.confidence, theirs.confidence, atol=0.02)
        again = runtime.backend.step(tokens, 5, 9)
        assert again.tokens.tolist() == ours.tokens.tolist()


def test_thresholds_are_refused_before_anything_is_written(denoiser, exporter, tmp_path):
    with pytest.raises(PlanError, match="layer 1: this network has full passes only"):
        exporter.export(compress(denoiser, MIXED), KeptShares((1.0, 0.5)), tmp_path / "bundle")
    assert not list(tmp_path.iterdir())


class Reading(CharacterModel):
    """Reads the weight of a named linear instead of calling it."""

    def __init__(self, vocab_size):
        super().__init__(vocab_size)
        self.square = nn.Linear(32, 32)

    def forward(self, tokens):
        return (
            super().forward(tokens) + self.embed(tokens) @ self.square.weight @ self.head.weight.T
        )


class Lengthy(CharacterModel):
    """Goes another way for long sequences, which no one graph can."""

    def forward(self, tokens):
        return super().forward(tokens) * (2.0 if tokens.sum() > 100 else 1.0)


@pytest.mark.parametrize(
    ("kind", "linears", "said"),
    [
        (Reading, ["blocks.0.qkv", "square"], "did not become|computes something else|traced"),
        (Lengthy, ["blocks.0.qkv"], "cannot be traced to ONNX"),
    ],
)
def test_a_module_whose_graph_would_be_wrong_is_refused(kind, linears, said, tmp_path):
    tokenizer = character_tokenizer()
    denoiser = own_denoiser(
        kind(tokenizer.get_vocab_size()),
        tokenizer,
        layers=[{"attention": linears}],
        mask_token_id=0,
        end_token_id=1,
        decoding=DECODING,
    )
    with pytest.raises(InputError, match=said):
        Exporter(denoiser).export(
            compress(denoiser, CompressionPlan.uniform(1)),
            KeptShares.keeping_all(1),
            tmp_path / "bundle",
        )


def test_its_time_is_a_line_over_its_linears(denoiser, tmp_path):
    predictor = predictor_of(device_of(denoiser, tmp_path), denoiser, WORKLOAD)
    assert predictor.calibration is None
    plain = CompressionPlan.uniform(LAYERS)
    total = sum(predictor.sums_ms(KeptPlan.keeping_all(plain))[0].values())
    rows, width, inner, vocabulary = WORKLOAD.length, 32, 64, denoiser.tokenizer.get_vocab_size()
    products = LAYERS * (4 * width * width + 2 * width * inner) + width * vocabulary
    assert total == pytest.approx(rows * products * 100.0 / 1e9)
    with pytest.raises(InputError, match=r"'characters' was never run whole on device formula"):
        predictor.predict(KeptPlan.keeping_all(plain))
    line = device_of(denoiser, tmp_path).info.calibration(denoiser.name)
    predictor = predictor_of(device_of(denoiser, tmp_path), denoiser, WORKLOAD, line)
    found = predictor.predict(KeptPlan.keeping_all(plain))
    assert found.refresh_ms == found.step_ms == pytest.approx(0.5 + 2 * total)
    assert found.generation_ms == pytest.approx(DECODING.steps * found.refresh_ms)
    assert predictor.layers_ms(KeptPlan.keeping_all(plain))[0] == pytest.approx(
        DECODING.steps * 2 * rows * (products - width * vocabulary) / LAYERS * 100.0 / 1e9
    )


def test_its_formats_are_searched(denoiser, tmp_path):
    device = device_of(denoiser, tmp_path)
    space = SearchSpace.of(denoiser, device)
    assert space.thresholds == (1.0,)
    settings = {
        "prompt_length": WORKLOAD.prompt_length,
        "questions": QUESTIONS,
        "storage": f"sqlite:///{tmp_path}/study.db",
        "name": "own",
    }
    study = search(denoiser, space, device, target_ratio=0.95, trials=8, **settings)
    best = study.feasible().iloc[0]
    assert best["loss"] > 0 and best["generation_ms"] <= study.target_ms
    assert best["size_bytes"] < denoiser.plan_bytes(CompressionPlan.uniform(LAYERS))
    offered = space.model_copy(update={"thresholds": (1.0, 0.5)})
    with pytest.raises(StudyError, match=r"caches no positions.*thresholds must be \[1\.0\]"):
        search(denoiser, offered, device, target_ratio=0.95, trials=1, **settings)


def test_generation_through_the_bundle_is_generation_in_torch(denoiser, exporter, tmp_path):
    bundle = exporter.export(
        compress(denoiser, CompressionPlan.uniform(LAYERS)),
        KeptShares.keeping_all(2),
        tmp_path / "bundle",
    )
    prompt = denoiser.prompt("How many?")
    torch.manual_seed(0)
    wanted = generate(
        backend_of(denoiser.network, KeptShares.keeping_all(2)), np.array([prompt]), DECODING, 0
    )
    assert Runtime(bundle, threads=1).generate_tokens(prompt) == wanted[0, len(prompt) :].tolist()
