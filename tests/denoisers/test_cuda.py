"""The same on an NVIDIA GPU as on the CPU."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hwsearch.compression import compress
from hwsearch.decoding.kept import KeptShares
from hwsearch.decoding.sampler import generate
from hwsearch.denoisers.backends import backend_of
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.errors import InputError
from hwsearch.plan import CompressionPlan, Decoding
from hwsearch.sinks import calibrate_sinks
from hwsearch.tasks.likelihood import log_likelihood
from hwsearch.tasks.losses import LOSSES, make_loss
from hwsearch.tasks.problem import Problem
from tests.denoisers.checkpoints import stock_config, stock_model, write

needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="torch sees no NVIDIA GPU on this machine"
)
DECODING = Decoding(gen_length=8, block_length=4, steps=8, refresh_interval=2)
PROBLEMS = [Problem("tom has 3 apples ?", "#### 3"), Problem("tom has 4 apples ?", "#### 4")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    state = dict(stock_model("Llama").state_dict())
    return write(tmp_path_factory.mktemp("model") / "m", stock_config("llama"), state)


def load(folder, device):
    return replace(load_denoiser(folder, device=device), decoding=DECODING)


@pytest.mark.skipif(torch.cuda.is_available(), reason="only where there is no GPU")
def test_a_gpu_that_is_not_there_is_said_in_one_line(folder):
    with pytest.raises(InputError, match=r"device 'cuda' cannot be used here .*try cpu"):
        load_denoiser(folder, device="cuda")


@pytest.mark.cuda
@needs_gpu
def test_logits_and_what_is_written_agree(folder):
    cpu, gpu = load(folder, "cpu"), load(folder, "cuda")
    assert gpu.network.lm_head.weight.is_cuda
    tokens = torch.arange(12)[None]
    assert torch.allclose(gpu.logits(tokens.cuda()).cpu(), cpu.logits(tokens), atol=1e-3)
    prompt = np.array([cpu.prompt(PROBLEMS[0].question)])
    written = [
        generate(backend_of(model.network, KeptShares((0.5, 1.0, 0.5))), prompt, DECODING, 0)
        for model in (cpu, gpu)
    ]
    assert written[0].tolist() == written[1].tolist()


@pytest.mark.cuda
@needs_gpu
@pytest.mark.parametrize("name", LOSSES)
def test_losses_of_compressed_plans_agree(folder, name):
    plan = CompressionPlan.uniform(3, "w8a8", "w4", head="w8")
    losses = []
    for device in ("cpu", "cuda"):
        denoiser = load(folder, device)
        loss_function = make_loss(name, denoiser, PROBLEMS)
        losses.append(
            loss_function.loss(compress(denoiser, plan).network, KeptShares((0.5, 1.0, 0.5)))
        )
    # rounding to codes amplifies the last bits of a float
    assert losses[1] == pytest.approx(losses[0], rel=0.1, abs=0.1)


@pytest.mark.cuda
@needs_gpu
def test_sinks_and_likelihoods_agree(folder):
    cpu, gpu = load(folder, "cpu"), load(folder, "cuda")
    prompt = cpu.prompt(PROBLEMS[0].question)
    assert log_likelihood(gpu, prompt, [5, 6]) == pytest.approx(
        log_likelihood(cpu, prompt, [5, 6]), rel=1e-3
    )
    question = [PROBLEMS[0].question]
    assert np.allclose(
        calibrate_sinks(gpu, question).shares, calibrate_sinks(cpu, question).shares, atol=0.2
    )
