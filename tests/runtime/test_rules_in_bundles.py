"""Both backends keep the same positions, whatever the rule."""

from __future__ import annotations

import numpy as np
import pytest

from hwsearch.bundle import Exporter
from hwsearch.compression import compress
from hwsearch.decoding.kept import KeptShares, StaticScores
from hwsearch.decoding.rules import PositionKeeper
from hwsearch.denoisers.torch_backend import TorchBackend
from hwsearch.plan import CachePolicy, CacheRule, CompressionPlan
from hwsearch.runtime import OnnxBackend, Runtime, measure_agreement

QUESTIONS = [f"tom has {n} apples and buys 5 more how many now ?" for n in range(3)]
STATIC = StaticScores(first=((9.0,), (9.0, 8.0)), from_end=((1.0, 3.0, 2.0), (4.0, 5.0, 6.0)))
POLICIES = [
    *(CachePolicy(rule=rule) for rule in CacheRule),
    CachePolicy(running=False),
    CachePolicy(early_scale=1.5, late_scale=0.5),
]


@pytest.fixture(scope="module")
def exporter(denoiser):
    return Exporter(denoiser)


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_torch_and_onnxruntime_keep_the_same_positions(
    denoiser, exporter, policy, tmp_path, monkeypatch
):
    kept = KeptShares((1.0, 0.4), policy, denoiser.decoding.refreshes, STATIC)
    compressed = compress(denoiser, CompressionPlan.uniform(2))
    bundle = exporter.export(compressed, kept, tmp_path / "bundle", questions=QUESTIONS)
    assert bundle.kept_shares == kept
    chosen: list[list[int]] = []
    choose = PositionKeeper.choose

    def spy(self, *args):
        positions = choose(self, *args)
        chosen.append(positions.tolist())
        return positions

    monkeypatch.setattr(PositionKeeper, "choose", spy)
    tokens = np.array([[*denoiser.prompt(QUESTIONS[0]), *[0] * 8]])
    for backend in (TorchBackend(denoiser.network, kept), OnnxBackend(bundle, 1)):
        backend.begin()
        for start in (tokens.shape[1] - 8, tokens.shape[1] - 4):
            backend.refresh(tokens, start, start + 4)
            backend.step(tokens, start, start + 4)
    ours, theirs = chosen[:2], chosen[2:]
    assert ours == theirs
    assert measure_agreement(Runtime(bundle, threads=1)).share == 1.0
    masses = [
        name for name in OnnxBackend(bundle, 1).graphs.refresh_outputs if name.startswith("mass")
    ]
    assert masses == [f"mass_{layer}" for layer in sorted(kept.pruned if kept.signal else ())]
