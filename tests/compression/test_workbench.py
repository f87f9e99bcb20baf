"""A workbench makes of a plan what losses, predictors and exporters take, all from one bank."""

import pytest
import torch

from hwsearch.compression import WeightBank, Workbench, compress
from hwsearch.errors import PlanError
from hwsearch.plan import CompressionPlan
from hwsearch.sinks import SinkProfile
from hwsearch.testing.tiny import tiny_denoiser

SINKS = SinkProfile(passes=2, shares=((0.25, 0.5, 1.0), (0.5, 0.75, 1.0)))


@pytest.fixture(scope="module")
def bench():
    denoiser = tiny_denoiser()
    return Workbench(denoiser, SINKS, WeightBank(denoiser))


@pytest.mark.parametrize("threshold", [0.0, 0.4, 0.5, 1.0])
@pytest.mark.parametrize("fmt", ["fp32", "w8a8", "w4"])
def test_all_of_a_plan_is_of_that_plan(bench, fmt, threshold):
    plan = CompressionPlan.uniform(2, fmt, sink_threshold=threshold)
    network, kept = bench.network(plan)
    assert bench.keep(plan).plan is plan and bench.compress(plan).plan is plan
    assert kept == bench.keep(plan).kept == SINKS.kept_shares(plan)
    assert kept.shares == tuple(SINKS.kept_share(layer, threshold) for layer in range(2))
    tokens = torch.arange(12)[None]
    fresh = compress(bench.denoiser, plan).network
    assert torch.equal(network(tokens), fresh(tokens))


def test_a_plan_of_another_model_is_refused(bench):
    with pytest.raises(PlanError, match="3 layers"):
        bench.compress(CompressionPlan.uniform(3))
