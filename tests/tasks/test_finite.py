"""A model whose logits are no numbers says so; it never scores 0 % silently."""

from __future__ import annotations

import copy
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hwsearch.cli.main import main
from hwsearch.decoding.backend import Prediction
from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.torch_backend import TorchBackend
from hwsearch.errors import CheckpointError
from hwsearch.plan import CommitRule, Decoding
from hwsearch.tasks.evaluation import evaluate
from hwsearch.tasks.finite import FiniteBackend
from hwsearch.tasks.likelihood import log_likelihood
from hwsearch.tasks.problem import Problem
from hwsearch.testing.tiny import tiny_denoiser
from tests.denoisers.checkpoints import stock_config, stock_model, write

PROBLEMS = [Problem("tom has 3 apples", "#### 3"), Problem("tom has 4", "#### 4")]


def broken(tensor: str, value: float, place=(0, 0)):
    denoiser = tiny_denoiser()
    network = copy.deepcopy(denoiser.network)
    with torch.no_grad():
        network.get_parameter(tensor)[place] = value
    return replace(denoiser, network=network, name="broken")


def answers(denoiser, **decoding):
    asked = denoiser.decoding.model_copy(update=decoding)
    backend = TorchBackend(denoiser.network, KeptShares.keeping_all(denoiser.num_layers))
    return evaluate(backend, denoiser, PROBLEMS, decoding=asked)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    ("tensor", "place"),
    [
        ("model.layers.1.mlp.down_proj.weight", (3, 5)),
        ("model.layers.0.self_attn.q_proj.weight", (0, 0)),
        ("model.norm.weight", 7),
        ("model.embed_tokens.weight", (0, 2)),  # the mask's row
        ("lm_head.weight", (9, 9)),
    ],
)
def test_the_tensor_is_named(tensor, place, value):
    with pytest.raises(CheckpointError, match=f"model 'broken': tensor {tensor} has 1 ") as e:
        answers(broken(tensor, value, place))
    assert e.value.exit_code == 2
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("rule", list(CommitRule))
def test_every_rule_notices(rule):
    one_block = {"block_length": 8, "steps": 8, "rule": rule}
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight"):
        answers(broken("model.norm.weight", float("nan"), 0), **one_block)


def test_finite_weights_whose_products_overflow_have_no_tensor_to_blame():
    denoiser = broken("model.layers.0.mlp.down_proj.weight", 1.0)
    with torch.no_grad():
        for part in ("gate_proj", "up_proj", "down_proj"):
            denoiser.network.get_parameter(f"model.layers.0.mlp.{part}.weight").mul_(1e30)
    with pytest.raises(CheckpointError, match="its logits are NaN or infinite"):
        answers(denoiser)


def test_a_log_likelihood_that_is_none_is_an_error_too():
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight"):
        log_likelihood(broken("model.norm.weight", float("nan"), 0), [5, 6], [7, 8])


class Fixed:
    """A backend with given confidences, as a bundle's is: no weights to be seen."""

    def __init__(self, *confidences: float) -> None:
        self.confidence = np.array([confidences], dtype=np.float32)

    def begin(self) -> None:
        pass

    def refresh(self, tokens, start, stop) -> Prediction:
        return Prediction(np.zeros(self.confidence.shape, dtype=np.int64), self.confidence)

    step = refresh


def test_predictions_that_are_numbers_pass_and_others_name_what_was_asked():
    tokens = np.zeros((1, 4), dtype=np.int64)
    # confidence may be negative: an entropy is
    fine = FiniteBackend(Fixed(-3.0, 0.0, 1.0), object())
    assert fine.refresh(tokens, 0, 3).confidence.tolist() == [[-3.0, 0.0, 1.0]]
    for bad in (float("nan"), float("inf"), float("-inf")):
        backend = FiniteBackend(Fixed(0.5, bad), object(), "some/bundle")
        for predict in (backend.refresh, backend.step):
            with pytest.raises(CheckpointError, match=r"model 'some/bundle'.*logits are NaN"):
                predict(tokens, 0, 2)


def test_a_sound_model_is_scored_and_the_command_ends_with_2_on_another(
    tmp_path, monkeypatch, capsys
):
    decoding = Decoding(gen_length=4, block_length=4, steps=2, refresh_interval=1)
    config = stock_config("llama") | {"hwsearch": {"decoding": decoding.model_dump(mode="json")}}
    folder = write(tmp_path / "m", config, dict(stock_model("Llama").state_dict()))
    data = tmp_path / "f.jsonl"
    data.write_text("".join(json.dumps(vars(problem)) + "\n" for problem in PROBLEMS))
    arguments = ["evaluate", str(folder), "--task", "gsm8k", "--path", str(data), "--shots"]
    arguments.append(str(data.with_name("shots.jsonl")))
    data.with_name("shots.jsonl").write_text((json.dumps(vars(PROBLEMS[0])) + "\n") * 5)

    def run(*more):
        monkeypatch.setattr(sys, "argv", ["hwsearch", *arguments, *more])
        with pytest.raises(SystemExit) as done:
            main()
        return done.value.code or 0, capsys.readouterr().err

    assert run()[0] == 0
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.2.self_attn.v_proj.weight"][1, 1] = float("nan")
    save_file(tensors, folder / "model.safetensors")
    code, said = run()
    assert code == 2
    assert "tensor model.layers.2.self_attn.v_proj.weight has 1 NaN" in said
    for limit in ("0", "-1"):
        code, said = run("--limit", limit)
        assert code == 2
        assert f"{limit} is not in the range x>=1" in said
