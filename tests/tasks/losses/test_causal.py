"""Losses of autoregressive models, held to logits of stock transformers."""

import copy
from dataclasses import replace

import pytest
import torch

from hwsearch.compression import WeightBank, compress, simulate
from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.errors import InputError
from hwsearch.plan import CompressionPlan, WeightFormat
from hwsearch.tasks.losses import GradualLoss, make_loss
from hwsearch.tasks.problem import Problem
from hwsearch.testing.tiny import tiny_denoiser
from tests.denoisers.checkpoints import LAYERS, stock_config, stock_model, write
from tests.denoisers.test_causal import stock_causal_logits

pytest.importorskip("transformers")

PROBLEMS = [
    Problem("tom has 3 apples ?", "tom has 3 #### 3"),
    Problem("tom has 4 apples ?", "now 4 apples #### 4"),
    Problem("tom has 4 apples and buys 5 more ?", "4 9 #### 9"),
    Problem("tom buys 5 ?", "#### 5"),
]
KEPT = KeptShares.keeping_all(LAYERS)


@pytest.fixture(scope="module")
def stock():
    model = stock_model("Llama", kv_heads=2)
    model.config.is_causal = True
    return model


@pytest.fixture(scope="module")
def denoiser(tmp_path_factory, stock):
    folder = tmp_path_factory.mktemp("ar") / "model"
    return load_denoiser(write(folder, stock_config("llama", 2), stock.state_dict()), causal=True)


@pytest.fixture(scope="module")
def bank(denoiser):
    return WeightBank(denoiser)


def solved(denoiser, problem):
    """Tokens of a prompt, and of its answer with one end token."""
    answer = denoiser.tokenizer.encode(problem.answer).ids
    return denoiser.prompt(problem.question), [*answer, denoiser.end_token_id]


def log_probabilities(model, prompt, answer):
    """A stock model's log probabilities of every answer position, ``[answer, vocab]``."""
    tokens = torch.tensor([prompt + answer])
    return stock_causal_logits(model, tokens).log_softmax(-1)[0, len(prompt) - 1 : -1]


def rounded(stock, plan):
    """The stock model with its linears as a plan has them."""
    model = copy.deepcopy(stock)
    for layer, said in zip(model.model.layers, plan.layers, strict=True):
        for part, names, fmt in (
            (layer.self_attn, "qkvo", said.attention),
            (layer.mlp, ("gate", "up", "down"), said.mlp),
        ):
            for name in names:
                linear = getattr(part, f"{name}_proj")
                setattr(part, f"{name}_proj", simulate(linear, fmt))
    model.lm_head = simulate(model.lm_head, plan.head)
    return model


PLANS = [
    CompressionPlan.uniform(LAYERS),
    CompressionPlan.uniform(LAYERS, "w8a8", "w4", head=WeightFormat.W8),
]


@pytest.mark.parametrize("plan", PLANS)
def test_nll_is_the_mean_over_answer_tokens_of_stock_logits(stock, denoiser, bank, plan):
    model, parts = rounded(stock, plan), []
    for problem in PROBLEMS:
        prompt, answer = solved(denoiser, problem)
        found = log_probabilities(model, prompt, answer)
        parts += [-float(found[place, token]) for place, token in enumerate(answer)]
    loss = make_loss("nll", denoiser, PROBLEMS).loss(compress(denoiser, plan, bank).network, KEPT)
    assert loss == pytest.approx(sum(parts) / len(parts), rel=1e-3)
    assert len(parts) == sum(len(p.answer.split()) + 1 for p in PROBLEMS)


def test_kl_is_the_mean_over_answer_positions_of_stock_logits(stock, denoiser, bank):
    model, parts = rounded(stock, PLANS[1]), []
    for problem in PROBLEMS:
        prompt, answer = solved(denoiser, problem)
        before = log_probabilities(stock, prompt, answer)
        after = log_probabilities(model, prompt, answer)
        parts += (before.exp() * (before - after)).sum(-1).tolist()
    loss = make_loss("kl", denoiser, PROBLEMS)
    assert loss.loss(denoiser.network, KEPT) == pytest.approx(0.0, abs=1e-6)
    found = loss.loss(compress(denoiser, PLANS[1], bank).network, KEPT)
    assert found == pytest.approx(sum(parts) / len(parts), rel=2e-2)
    assert found > 1e-3


@pytest.mark.parametrize("name", ["kl", "nll"])
def test_both_are_watched_batch_by_batch(denoiser, bank, name):
    loss = make_loss(name, denoiser, PROBLEMS)
    network = compress(denoiser, PLANS[1], bank).network
    assert isinstance(loss, GradualLoss) and loss.name == name
    parts = list(loss.by_state(network, KEPT))
    # two problems are of one length, prompt and answer together
    assert len(parts) == len(loss.batches) == 3
    assert parts[-1].so_far == loss.loss(network, KEPT)
    assert sum(part.weight for part in parts) == pytest.approx(1.0)
    assert sum(part.weight * part.loss for part in parts) == pytest.approx(parts[-1].so_far)
    assert sum(part.work for part in parts) == loss.cost == len(PROBLEMS)


def test_a_plan_starts_at_its_first_changed_layer(denoiser, bank):
    loss = make_loss("kl", denoiser, PROBLEMS)
    loss.loss(denoiser.network, KEPT)
    hits, misses = loss.activations.hits, loss.activations.misses
    layers = CompressionPlan.uniform(LAYERS).layers
    changed = layers[-1].model_copy(update={"mlp": WeightFormat.W4})
    last = CompressionPlan(layers=(*layers[:-1], changed))
    assert loss.loss(compress(denoiser, last, bank).network, KEPT) > 0
    assert loss.activations.hits - hits == (LAYERS - 1) * len(loss.batches)
    assert loss.activations.misses - misses == len(loss.batches)


def test_what_an_autoregressive_model_cannot_be_judged_by_is_said(denoiser):
    with pytest.raises(InputError, match="need problems with answers, not questions alone"):
        make_loss("kl", denoiser, [*PROBLEMS, Problem("tom ?", "")])
    for name in ("digits", "agreement"):
        with pytest.raises(InputError, match="take the loss kl or nll"):
            make_loss(name, denoiser, PROBLEMS)
    short = replace(denoiser, decoding=denoiser.decoding.changed({"gen_length": 2, "steps": 2}))
    with pytest.raises(InputError, match="none of the 4 answers fits in the 2 tokens"):
        make_loss("nll", short, PROBLEMS)
    assert type(make_loss("kl", tiny_denoiser(), PROBLEMS)) is not type(
        make_loss("kl", denoiser, PROBLEMS)
    )
