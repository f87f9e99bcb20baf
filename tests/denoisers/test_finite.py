"""Numbers that are none are found once, by name."""

import copy
import dataclasses
import math

import pytest
import torch
from tokenizers import Tokenizer

from hwsearch.denoisers.finite import check_pass, check_weights
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.denoisers.own import own_denoiser
from hwsearch.errors import CheckpointError, InputError
from hwsearch.jobs.exporting import export
from hwsearch.plan import CompressionPlan, Decoding
from hwsearch.study import Goal, SearchSpace, prepare
from hwsearch.testing.device import formula_device
from hwsearch.testing.tiny import tiny_denoiser
from tests.study.test_run import QUESTIONS, WORK

NAMES = sorted(name for name, _ in tiny_denoiser().network.named_parameters())


def spoilt(name, value, places=1):
    denoiser = tiny_denoiser()
    network = copy.deepcopy(denoiser.network)
    network.get_parameter(name).view(-1)[-places:] = value
    return dataclasses.replace(denoiser, network=network)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("value", "kind"), [(math.nan, "NaN"), (math.inf, "infinite"), (-math.inf, "infinite")]
)
def test_any_tensor_is_named_with_how_many_values(name, value, kind):
    denoiser = spoilt(name, value, 3)
    size = denoiser.network.get_parameter(name).numel()
    with pytest.raises(CheckpointError, match=f"tensor {name} has 3 {kind} of its {size} values;"):
        check_weights(denoiser)


def test_a_sound_model_passes():
    check_weights(tiny_denoiser())
    check_pass(tiny_denoiser(), QUESTIONS[0])


def test_the_first_of_several_is_named_and_the_others_counted():
    denoiser = spoilt("lm_head.weight", math.nan)
    denoiser.network.get_parameter("model.norm.weight")[:2] = math.inf
    with pytest.raises(CheckpointError, match=r"model.norm.weight has 2 infinite .* \(and 1 more"):
        check_weights(denoiser)


@pytest.mark.parametrize("name", [n for n in NAMES if "proj" in n])
def test_finite_weights_that_overflow_are_named_by_module(name):
    denoiser = spoilt(name, 3e38, 64)
    check_weights(denoiser)
    with pytest.raises(
        CheckpointError, match="its weights are finite numbers, but its logits"
    ) as e:
        check_pass(denoiser, QUESTIONS[0])
    layer = ".".join(name.split(".")[:3])
    assert f"{layer}." in str(e.value)


def searched(denoiser):
    space = SearchSpace(num_layers=2, thresholds=(1.0, 0.5))
    device = formula_device(tiny_denoiser().geometry, WORK)
    return prepare(denoiser, space, device, WORK, Goal(target_ratio=1.0), QUESTIONS)


@pytest.mark.parametrize(
    "use",
    [searched, lambda d: export(d, CompressionPlan.uniform(2), "bundle")],
    ids=["search", "export"],
)
@pytest.mark.parametrize(
    ("value", "said"), [(math.nan, "1 NaN of its"), (3e38, "its logits are not")]
)
def test_nothing_is_begun_with_such_a_model(tmp_path, monkeypatch, use, value, said):
    monkeypatch.chdir(tmp_path)
    denoiser = spoilt("model.layers.0.mlp.down_proj.weight", value, 1 if value != value else 999)
    with pytest.raises(InputError, match=said):
        use(denoiser)
    assert not list(tmp_path.iterdir())


def test_a_model_is_refused_when_it_is_loaded_in_a_type_that_is_too_small(tmp_path):
    from tests.denoisers.checkpoints import stock_config, stock_model, write

    tensors = {name: tensor.clone() for name, tensor in stock_model("Llama").state_dict().items()}
    tensors["model.norm.weight"][0] = 1e5
    folder = write(tmp_path, stock_config("llama", 4), tensors)
    load_denoiser(folder)
    with pytest.raises(CheckpointError, match=r"has 1 infinite .*float16 ends at 65,504"):
        load_denoiser(folder, dtype="float16")


class Own(torch.nn.Module):
    """Masks with a buffer of minus infinities, as many modules do."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = torch.nn.Embedding(8, 4), torch.nn.Linear(4, 8)
        self.register_buffer("mask", torch.full((4, 4), -math.inf).triu(1))

    def forward(self, tokens):
        return self.head(self.embed(tokens))


def own(module):
    decoding = Decoding(gen_length=4, block_length=4, steps=4, refresh_interval=1)
    tokenizer: Tokenizer = tiny_denoiser().tokenizer
    return own_denoiser(
        module,
        tokenizer,
        layers=[{"mlp": ["head"]}],
        mask_token_id=1,
        end_token_id=2,
        decoding=decoding,
    )


def test_masks_may_be_infinite_but_nothing_may_be_nan():
    own(Own())
    module = Own()
    module.mask[0, 0] = math.nan
    with pytest.raises(CheckpointError, match=r"mask has 1 NaN and 6 infinite"):
        own(module)
