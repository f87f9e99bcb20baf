"""A character-level masked-diffusion model that is not Llama-shaped, under the contract."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tokenizers import Regex, Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from torch import nn

from hwsearch.compression import compress, linear_formats
from hwsearch.decoding.cache import ALMOST_ALL
from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.backends import backend_of
from hwsearch.denoisers.network import OwnNetwork
from hwsearch.denoisers.own import own_denoiser
from hwsearch.errors import InputError, PlanError
from hwsearch.jobs.sinks import study_sinks
from hwsearch.plan import CompressionPlan, Decoding
from hwsearch.sinks import calibrate_sinks, record_sinks, record_tokens
from hwsearch.tasks.evaluation import evaluate
from hwsearch.tasks.losses import LOSSES, make_loss
from hwsearch.tasks.problem import Problem
from hwsearch.testing.denoiser import DenoiserContract
from hwsearch.testing.tiny import tiny_denoiser

CHARACTERS = "\n #?.,:+-=<>ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
MASK, END, WIDTH, HEADS, LAYERS = 0, 1, 32, 2, 2
DECODING = Decoding(gen_length=8, block_length=4, steps=8, refresh_interval=2)


def character_tokenizer():
    vocabulary = {"[MASK]": MASK, "[END]": END, "[UNK]": 2}
    vocabulary |= {c: index for index, c in enumerate(CHARACTERS, start=3)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = Fuse()
    return tokenizer


class Block(nn.Module):
    """Fused qkv with normed queries and keys, and a GELU mlp."""

    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
        self.q_norm, self.k_norm = nn.RMSNorm(WIDTH // HEADS), nn.RMSNorm(WIDTH // HEADS)
        self.ff = nn.Sequential(nn.Linear(WIDTH, 64), nn.GELU(), nn.Linear(64, WIDTH))

    def forward(self, x):
        parts = self.qkv(self.norms[0](x)).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = self.q_norm(parts[0]), self.k_norm(parts[1]), parts[2]
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        x = x + self.out(mixed)
        return x + self.ff(self.norms[1](x))


class CharacterModel(nn.Module):
    """Learned positions and a learned embedding of the noise level."""

    def __init__(self, vocab_size):
        super().__init__()
        self.embed, self.place = nn.Embedding(vocab_size, WIDTH), nn.Embedding(256, WIDTH)
        self.time = nn.Sequential(nn.Linear(1, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH))
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.head = nn.Linear(WIDTH, vocab_size)

    def forward(self, tokens):
        noise = (tokens == MASK).float().mean(dim=1, keepdim=True)
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.embed(tokens) + self.place(places) + self.time(noise)[:, None]
        for block in self.blocks:
            x = block(x)
        logits = self.head(x)
        return logits.index_fill(-1, torch.tensor([MASK], device=tokens.device), -1e4)


def groups(index):
    return {
        "attention": [f"blocks.{index}.qkv", f"blocks.{index}.out"],
        "mlp": [f"blocks.{index}.ff.0", f"blocks.{index}.ff.2"],
    }


def character_denoiser(**changes):
    tokenizer = character_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = CharacterModel(tokenizer.get_vocab_size())
    settings = {
        "layers": [groups(index) for index in range(LAYERS)],
        "head": "head",
        "mask_token_id": MASK,
        "end_token_id": END,
        "decoding": DECODING,
        "name": "characters",
    }
    return own_denoiser(module, tokenizer, **(settings | changes))


class TestCharacterModel(DenoiserContract):
    def make(self):
        return character_denoiser()


class TestThinTransformer(DenoiserContract):
    def make(self):
        return tiny_denoiser()

    def questions(self):
        return ["tom has 3 apples ?", "tom has 4 apples and buys 5 more ?"]


class CausalModel(CharacterModel):
    def forward(self, tokens):
        return F.one_hot(tokens, self.head.out_features).float()


class TestContractFails:
    """A contract that every module passes would be worth nothing."""

    def contract(self, denoiser):
        contract = DenoiserContract()
        contract.make = lambda: denoiser
        return contract

    def test_on_positions_that_do_not_see_each_other_and_weights_without_effect(self):
        tokenizer = character_tokenizer()
        module = CausalModel(tokenizer.get_vocab_size())
        contract = self.contract(
            own_denoiser(
                module,
                tokenizer,
                layers=[groups(0), groups(1)],
                mask_token_id=MASK,
                end_token_id=END,
                decoding=DECODING,
            )
        )
        with pytest.raises(AssertionError, match="does not see the last"):
            contract.test_the_first_position_sees_the_last()
        with pytest.raises(AssertionError, match="layer 0: attention has no effect"):
            contract.test_every_group_reaches_the_logits_and_the_original_stays()
        with pytest.raises(AssertionError, match="predicts its own mask token"):
            contract.test_generation_leaves_the_prompt_and_no_mask()

    def test_on_dropout(self):
        denoiser = character_denoiser()
        dropout = nn.Sequential(denoiser.network.module.head, nn.Dropout(0.5))
        denoiser.network.module.head = dropout.train()
        with pytest.raises(AssertionError, match="other logits"):
            self.contract(denoiser).test_logits_are_repeatable_and_rows_independent()


def test_it_is_scored_and_judged_by_every_proxy():
    denoiser = character_denoiser()
    problems = [Problem("2 + 3 ?", "#### 5"), Problem("2 + 5 ?", "#### 7")]
    network = compress(denoiser, CompressionPlan.uniform(LAYERS, "w8", "w8")).network
    found = evaluate(backend_of(network, KeptShares.keeping_all(LAYERS)), denoiser, problems)
    assert len(found.texts) == 2
    for name in LOSSES:
        assert (
            make_loss(name, denoiser, problems).loss(network, KeptShares.keeping_all(LAYERS)) >= 0
        )


def test_what_needs_cached_passes_says_so():
    denoiser = character_denoiser()
    with pytest.raises(PlanError, match=r"layer 1: this network has full passes only.*0\.5"):
        backend_of(denoiser.network, KeptShares((1.0, 0.5)))
    with pytest.raises(InputError, match=r"'characters' does not tell its attention mass"):
        calibrate_sinks(denoiser, ["2 + 3 ?"])
    with pytest.raises(InputError, match=r"'characters' has full passes only.*your-module\.md"):
        denoiser.geometry  # noqa: B018


class TellingModel(CharacterModel):
    """Says where its attention goes: here by the tokens, so that a test knows the answer."""

    layers = LAYERS

    def attention_mass(self, tokens):
        return [tokens.float() + layer for layer in range(self.layers)]


def telling_denoiser(layers=LAYERS):
    denoiser = character_denoiser()
    module = TellingModel(denoiser.tokenizer.get_vocab_size())
    module.load_state_dict(denoiser.network.module.state_dict())
    module.layers = layers
    network = OwnNetwork(module.eval(), [groups(index) for index in range(LAYERS)], "head")
    return replace(denoiser, network=network)


def test_its_sinks_are_counted_where_it_tells_its_attention_mass():
    denoiser = telling_denoiser()
    backend = backend_of(denoiser.network, KeptShares((ALMOST_ALL,) * LAYERS))
    tokens = np.array([[5, 9, 6, 7]])
    backend.begin()
    backend.refresh(tokens, 0, 4)
    assert backend.history()[1].hits.tolist() == [[0, 1, 0, 1]]
    assert backend.history()[1].mass.tolist() == [[6, 10, 7, 8]]
    profile = calibrate_sinks(denoiser, ["2 + 3 ?"])
    assert len(profile.shares) == LAYERS
    with pytest.raises(InputError, match=r"must answer 2 tensors.*\(1, 4\)"):
        backend_of(telling_denoiser(1).network, KeptShares((ALMOST_ALL,) * LAYERS)).refresh(
            tokens, 0, 4
        )


def test_its_bytes_are_those_of_its_parameters():
    denoiser = character_denoiser()
    counted = sum(weight.numel() for weight in denoiser.network.parameters())
    assert denoiser.plan_bytes(CompressionPlan.uniform(LAYERS)) == 4 * counted
    less = CompressionPlan.validate({"layers": [{"mlp": "w8a8"}, {}]})
    spared = 2 * WIDTH * 64 * 3 - 5 * (WIDTH + 64)
    assert denoiser.plan_bytes(less) == 4 * counted - spared


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ([{"attention": ["blocks.0.qvk"]}], r"blocks\.0\.qvk: .*there is nothing"),
        ([{"mlp": ["blocks.0.ff"]}], r"blocks\.0\.ff: .*there is Sequential"),
        ([{"mpl": ["blocks.0.ff.0"]}], "one of attention, mlp, qkv, out, .*; got 'mpl'"),
        ([{"mlp": ["head"]}], "head: .*named twice"),
    ],
)
def test_wrong_paths_are_named(layers, said):
    with pytest.raises(InputError, match=said):
        character_denoiser(layers=layers)


def apart(index):
    """As `groups`, the feed-forward's two linears told apart."""
    own = groups(index)
    up, down = own.pop("mlp")
    return own | {"gate_up": [up], "down": [down]}


def test_groups_of_before_take_one_format_and_four_names_take_four():
    together = character_denoiser()
    named = character_denoiser(layers=[apart(index) for index in range(LAYERS)])
    plan = CompressionPlan.uniform(LAYERS, "w8", "w8a8", down="w4")
    formats = linear_formats(plan, named.network.linear_groups())
    assert [formats[f"module.blocks.0.ff.{i}"] for i in (0, 2)] == ["w8a8", "w4"]
    alike = CompressionPlan.uniform(LAYERS, "w8", "w4")
    assert together.plan_bytes(alike) == named.plan_bytes(alike)
    for reader in (together.plan_bytes, lambda plan: compress(together, plan)):
        with pytest.raises(PlanError, match=r"names mlp as one.*gate_up is w8a8, down is w4"):
            reader(plan)


class TestGroupsApart(DenoiserContract):
    def make(self):
        return character_denoiser(layers=[apart(index) for index in range(LAYERS)])


def test_its_sinks_are_recorded_as_the_docs_say(tmp_path):
    """Held to the module's own formula: the mass of a position is its token plus the layer."""
    denoiser = telling_denoiser()
    questions = ["2 + 3 ?", "20 + 30 + 1 ?", "5 + 3 ?"]
    found = record_sinks(denoiser, questions, k=2, keep_passes=True, batch=1)
    assert len(found) == 3
    by_length = sorted(questions, key=lambda question: len(denoiser.prompt(question)))
    for part, question in zip(found, by_length, strict=True):
        prompt = denoiser.prompt(question)
        assert part.passes == DECODING.steps and part.prompts.tolist() == [len(prompt)]
        assert (part.tokens[:, 0, : len(prompt)] == prompt).all()
        for layer in range(LAYERS):
            assert (part.by_pass[:, 0, layer] == part.tokens[:, 0] + layer).all()
            heaviest = np.sort(part.tokens[0, 0])[-2:]
            told = (heaviest + layer).sum() / (part.tokens[0, 0] + layer).sum()
            assert part.concentration[0, 0, layer] == pytest.approx(told)
    tokens = torch.tensor([denoiser.prompt("2 + 3 ?")] * 2)
    told = record_tokens(denoiser, [tokens, tokens], torch.ones_like(tokens, dtype=torch.bool))
    assert (told.mean_mass[:, 1, 0] == tokens.numpy() + 1).all()
    pytest.importorskip("matplotlib")
    said = study_sinks(denoiser, tmp_path, questions=questions, k=2)["sinks"][0]
    assert said["model"] == "characters" and said["words"]


def test_what_cannot_be_recorded_says_why():
    with pytest.raises(InputError, match=r"'characters' does not tell its attention mass.*method"):
        record_sinks(character_denoiser(), ["2 + 3 ?"])
    denoiser = telling_denoiser()
    tokens = torch.tensor([[5, 9, 6, 7]])
    with pytest.raises(InputError, match=r"'characters' takes padding for text.*one length"):
        record_tokens(denoiser, [tokens], torch.tensor([[True, True, True, False]]))
    denoiser.network.module.attention_mass = lambda tokens: [tokens.float() - 6.0] * LAYERS
    with pytest.raises(InputError, match=r"finite numbers from 0 up; .* layer 0 go from -6 to"):
        record_sinks(denoiser, ["2 + 3 ?"])
    denoiser.network.module.attention_mass = lambda tokens: [tokens / 0.0] * LAYERS
    with pytest.raises(InputError, match="finite numbers"):
        calibrate_sinks(denoiser, ["2 + 3 ?"])
