"""Rounding's share in a loss is measured once a study, and plans it cannot tell apart are tied."""

from __future__ import annotations

import json

import optuna
import pytest
import torch
from click.testing import CliRunner

from hwsearch.cli.studies.front import command
from hwsearch.compression import compress
from hwsearch.compression.perturbed import perturbed
from hwsearch.decoding.kept import KeptShares
from hwsearch.latency.operators import Workload
from hwsearch.plan import CompressionPlan, Decoding
from hwsearch.study import Goal, SearchSpace, Study, prepare
from hwsearch.study.loss_noise import RUNS, noise_of, record_noise
from hwsearch.study.run import run_study
from hwsearch.tasks.losses.kl import FrozenStates
from hwsearch.testing.device import formula_device
from hwsearch.testing.tiny import tiny_denoiser

QUESTIONS = [f"tom has {n} apples how many now ?" for n in range(4)]


@pytest.fixture(scope="module")
def denoiser():
    return tiny_denoiser(sharpness=2.0)


@pytest.mark.parametrize("fmt", ["fp32", "w8a8", "w8", "w4"])
def test_disturbed_networks_differ_by_rounding_only(denoiser, fmt):
    network = compress(denoiser, CompressionPlan.uniform(2, fmt, fmt, head=fmt)).network
    tokens = torch.randint(3, 64, (1, 21), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        whole, one, again, other = (
            net(tokens) for net in (network, *(perturbed(network, seed) for seed in (0, 0, 1)))
        )
    torch.testing.assert_close(one, again, rtol=0, atol=0)
    assert (one - whole).abs().max() < 0.3
    if fmt != "w8a8":  # whose codes may hide a disturbance whole
        assert not torch.equal(one, whole) and not torch.equal(one, other)
    if fmt == "fp32":
        torch.testing.assert_close(one, whole, rtol=1e-4, atol=1e-4)


def test_remembered_layers_are_not_taken_for_disturbed_ones(denoiser):
    states = FrozenStates.record(denoiser, QUESTIONS)
    network = compress(denoiser, CompressionPlan.uniform(2, "w8", "w8", head="w8")).network
    moved, shares = perturbed(network, 0), KeptShares.keeping_all(2)
    fresh = FrozenStates(states.states, states.mask_token_id, states.refresh_share)
    before = states.loss(network, shares)
    assert states.loss(moved, shares) == fresh.loss(perturbed(network, 0), shares) != before
    assert states.loss(network, shares) == before


WORK = Workload(9, Decoding(gen_length=8, block_length=4, steps=8, refresh_interval=2))


@pytest.fixture(scope="module")
def objective(denoiser):
    device = formula_device(denoiser.geometry, WORK)
    space = SearchSpace(num_layers=2, thresholds=(1.0,))
    return prepare(denoiser, space, device, WORK, Goal(target_ratio=0.7), QUESTIONS)


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    return str(tmp_path_factory.mktemp("noise") / "s.db")


@pytest.fixture(scope="module")
def study(objective, storage):
    return run_study(objective, trials=12, name="s", storage=storage, sampler="random")


def test_a_study_keeps_the_range_of_its_winners_loss(objective, study):
    best = study.feasible().iloc[0]
    network = compress(objective.denoiser, best["plan"], objective.bank).network
    moved = [
        objective.loss_function.loss(perturbed(network, seed), KeptShares.keeping_all(2))
        for seed in range(RUNS)
    ]
    values = [best["loss"], *moved]
    assert study.record.loss_noise_nats == study.noise == max(values) - min(values) > 0
    assert study.noise < best["loss"] / 2


def test_it_is_measured_once_and_costs_two_evaluations(objective, study, monkeypatch):
    calls = []
    loss = type(objective.loss_function).loss
    monkeypatch.setattr(
        type(objective.loss_function),
        "loss",
        lambda self, *args: calls.append(1) or loss(self, *args),
    )
    assert record_noise(study, objective) == study.noise and not calls
    assert noise_of(objective, study.best_plan, study.feasible()["loss"].iloc[0]) == study.noise
    assert len(calls) == RUNS == 2


def test_a_study_without_a_compressed_plan_keeps_none(objective):
    empty = Study(optuna.create_study(), objective.space, objective.target_ms)
    assert record_noise(empty, objective) is None
    assert empty.noise is None and empty.record.loss_noise_nats is None


def test_the_front_says_what_is_tied(study, storage):
    run = CliRunner()
    done = run.invoke(command, ["s", "--storage", storage, "--json"], catch_exceptions=False)
    rows = json.loads(done.stdout)
    assert {row["noise"] for row in rows} == {study.noise}
    for row in rows:
        near = [r for r in rows if abs(r["loss"] - row["loss"]) <= study.noise]
        assert row["tied"] == [r["number"] for r in near if r is not row]
        fastest = min(near, key=lambda r: r["generation_ms"])["number"]
        assert row["tied_choice"] == (fastest if len(near) > 1 else None)
    shown = run.invoke(command, ["s", "--storage", storage], catch_exceptions=False).output
    assert "nats are tied: rounding alone moves them as far" in shown
    target = ["--target-ms", str(study.target_ms), "--json"]
    answer = json.loads(run.invoke(command, ["s", "--storage", storage, *target]).stdout)
    assert answer["noise"] == study.noise and isinstance(answer["tied"], list)
