"""What a user says of a model beside its name: tokens, lengths, template, and models of their own."""

import pytest

from hwsearch.denoisers.loading.options import ModelOptions
from hwsearch.errors import CheckpointError, InputError, PlanError
from hwsearch.plan import Decoding
from tests.denoisers.checkpoints import llada_config, llada_tensors, stock_model, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    config = llada_config()
    del config["mask_token_id"], config["eos_token_id"]
    return write(tmp_path_factory.mktemp("m") / "m", config, llada_tensors(stock_model("Llama")))


def test_what_the_files_do_not_say_is_said_by_options(folder):
    with pytest.raises(CheckpointError, match="eos_token_id is missing"):
        ModelOptions().load(folder)
    options = ModelOptions(
        mask_token_id=2, end_token_id=3, dtype="bfloat16", prompt_template="Q {question}", gen_length=16,
        block_length=8, steps=4,
    )  # fmt: skip
    denoiser = options.load(folder)
    assert (denoiser.mask_token_id, denoiser.end_token_id) == (2, 3)
    assert str(next(denoiser.network.parameters()).dtype) == "torch.bfloat16"
    assert denoiser.prompt("now") == list(denoiser.tokenizer.encode("Q now").ids)
    decoding = denoiser.decoding
    assert (decoding.gen_length, decoding.block_length, decoding.steps) == (16, 8, 4)
    again = ModelOptions(**denoiser.options).load(folder)
    assert again.options == denoiser.options and again.decoding == decoding


def test_an_autoregressive_model_writes_one_token_a_pass(folder):
    options = ModelOptions(causal=True, end_token_id=1, gen_length=12)
    denoiser = options.load(folder)
    assert denoiser.is_causal and denoiser.decoding.steps == denoiser.decoding.gen_length == 12
    assert denoiser.options == {"causal": True, "end_token_id": 1, "gen_length": 12}
    assert ModelOptions(**denoiser.options).load(folder).decoding == denoiser.decoding
    assert not ModelOptions(end_token_id=1, mask_token_id=0).load(folder).is_causal
    for more in ({"block_length": 1}, {"steps": 12}):
        with pytest.raises(InputError, match="leave block_length and steps out"):
            ModelOptions(causal=True, end_token_id=1, **more).load(folder)


def test_lengths_that_are_left_out_keep_their_proportion():
    own = Decoding(gen_length=64, block_length=32, steps=16, refresh_interval=4)
    found = ModelOptions(gen_length=16).lengths_of(own)
    assert (found.gen_length, found.block_length, found.steps) == (16, 16, 4)
    assert ModelOptions().lengths_of(own) is own
    with pytest.raises(PlanError, match="gen_length 60 must be a multiple of block_length 32"):
        ModelOptions(gen_length=60).lengths_of(own)


def test_a_model_of_ones_own_is_a_function(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mymodels.py").write_text(
        "from hwsearch.testing.tiny import tiny_denoiser as make\n"
        "def wrong():\n    return 'nothing'\n"
        "def broken():\n    raise RuntimeError('no weights')\n"
    )
    denoiser = ModelOptions(end_token_id=2).load("mymodels:make")
    assert (denoiser.name, denoiser.end_token_id) == ("mymodels:make", 2)
    with pytest.raises(InputError, match="mymodels:wrong must return a Denoiser; got str"):
        ModelOptions().load("mymodels:wrong")
    with pytest.raises(InputError, match="cannot import absent:make: ModuleNotFoundError"):
        ModelOptions().load("absent:make")


def test_options_that_cannot_be_are_one_line():
    with pytest.raises(InputError, match=r"prompt_template: must be text that holds \{question\}"):
        ModelOptions(prompt_template="Q:")
    with pytest.raises(InputError, match=r"gen_length: .*greater than or equal to 1, got 0"):
        ModelOptions(gen_length=0)
