"""The contract of a denoiser, as tests to inherit.

class TestMine(DenoiserContract):
    def make(self):
        return own_denoiser(MyModule(), ...)
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn

from hwsearch.compression import WeightBank, compress
from hwsearch.decoding.answer import end_token_ids
from hwsearch.decoding.kept import KeptShares
from hwsearch.decoding.sampler import generate
from hwsearch.denoisers.backends import backend_of
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.plan import CompressionPlan
from hwsearch.tasks.losses.kl import FrozenStates


class DenoiserContract:
    """What hwsearch relies on. Inherit it, write `make`, and let pytest find the tests."""

    def make(self) -> Denoiser:
        """A denoiser, the same at every call; small is quick."""
        raise NotImplementedError("return the denoiser to test")

    def questions(self) -> list[str]:
        """Questions that its tokenizer can read."""
        return ["How many apples does Tom have now?", "How many?"]

    def test_logits_are_finite_and_cover_the_vocabulary(self) -> None:
        """``[batch, length, vocab]``, and every special token is in the vocabulary."""
        denoiser = self.make()
        tokens = self._tokens(denoiser)
        logits = denoiser.logits(tokens)
        assert logits.shape[:2] == tokens.shape, "logits must be [batch, length, vocab]"
        assert torch.isfinite(logits).all(), "logits must be finite"
        for name in ("mask_token_id", "end_token_id"):
            assert 0 <= getattr(denoiser, name) < logits.shape[2], f"{name} is no token"

    def test_logits_are_repeatable_and_rows_independent(self) -> None:
        """No dropout, and a sequence's logits do not depend on its neighbours in the batch."""
        denoiser = self.make()
        tokens = self._tokens(denoiser)
        logits = denoiser.logits(tokens)
        assert torch.equal(logits, denoiser.logits(tokens)), "the same tokens, other logits"
        alone = torch.cat([denoiser.logits(row[None]) for row in tokens])
        assert torch.allclose(logits, alone, atol=1e-4), "rows of a batch influence each other"

    def test_the_first_position_sees_the_last(self) -> None:
        """Bidirectional: a causal model cannot fill in a blank from what follows it."""
        denoiser = self.make()
        tokens = self._tokens(denoiser)[:1]
        changed = tokens.clone()
        changed[0, -1] = (int(tokens[0, -1]) + 1) % denoiser.logits(tokens).shape[2]
        before, after = denoiser.logits(tokens)[0, 0], denoiser.logits(changed)[0, 0]
        assert not torch.equal(before, after), "position 0 does not see the last position"

    def test_named_linears_are_linears_and_named_once(self) -> None:
        """Each path of `linear_groups` leads to an ``nn.Linear`` of its own."""
        denoiser = self.make()
        paths = denoiser.network.linear_groups().paths()
        assert paths, "no linear is named, so no plan can change anything"
        assert len(set(paths)) == len(paths), "a linear is named twice"
        for path in paths:
            module = denoiser.network.get_submodule(path)
            assert isinstance(module, nn.Linear), f"{path} is no nn.Linear"

    def test_every_group_reaches_the_logits_and_the_original_stays(self) -> None:
        """A 4-bit format in any one group changes the compressed copy, and only that."""
        denoiser = self.make()
        tokens, bank = self._tokens(denoiser), WeightBank(denoiser)
        before = denoiser.logits(tokens)
        weights = copy.deepcopy(denoiser.network.state_dict())
        for index, layer in enumerate(denoiser.network.linear_groups().layers):
            for group in (name for name, paths in layer.items() if paths):
                plan = _only(denoiser.num_layers, index, group)
                network = compress(denoiser, plan, bank).network
                with torch.inference_mode():
                    after = network(tokens)
                assert not torch.equal(after, before), f"layer {index}: {group} has no effect"
        assert torch.equal(denoiser.logits(tokens), before), "compression changed the original"
        for name, weight in denoiser.network.state_dict().items():
            assert torch.equal(weight, weights[name]), f"{name} was changed"

    def test_the_frozen_loss_is_zero_uncompressed_and_grows(self) -> None:
        """The loss of a search: 0 for the uncompressed plan, more for four bits everywhere."""
        denoiser = self.make()
        states = FrozenStates.record(denoiser, self.questions())
        layers = denoiser.num_layers
        kept = KeptShares.keeping_all(layers)
        none = states.loss(compress(denoiser, CompressionPlan.uniform(layers)).network, kept)
        plan = CompressionPlan.uniform(layers, "w4", "w4")
        some = states.loss(compress(denoiser, plan).network, kept)
        assert abs(none) < 1e-5, f"the uncompressed plan loses {none}"
        assert some > none, "four bits lose nothing"

    def test_generation_leaves_the_prompt_and_no_mask(self) -> None:
        """Every blank is filled, unless the model itself predicts its mask token."""
        denoiser = self.make()
        prompt = np.array([denoiser.prompt(self.questions()[0])])
        backend = backend_of(denoiser.network, KeptShares.keeping_all(denoiser.num_layers))
        mask = denoiser.mask_token_id
        ends = end_token_ids(denoiser)
        tokens = generate(backend, prompt, denoiser.decoding, mask, end_tokens=ends)
        assert tokens.shape[1] == prompt.shape[1] + denoiser.decoding.gen_length
        assert (tokens[:, : prompt.shape[1]] == prompt).all(), "the prompt was changed"
        assert (tokens[:, prompt.shape[1] :] != mask).all(), "the model predicts its own mask token"

    def _tokens(self, denoiser: Denoiser) -> Tensor:
        """Two sequences ``[2, length]``: a prompt and blanks, the prompts different."""
        prompts = [denoiser.prompt(question) for question in self.questions()[:2]]
        length = min(map(len, prompts))
        blanks = [denoiser.mask_token_id] * denoiser.decoding.gen_length
        rows = [prompt[:length] + blanks for prompt in prompts]
        device = denoiser.network.device
        return torch.tensor(rows, device=device)


def _only(layers: int, index: int, group: str) -> CompressionPlan:
    """Four bits in one group of one layer."""
    plain: dict[str, str] = {}
    return CompressionPlan.validate(
        {"layers": [{group: "w4"} if layer == index else plain for layer in range(layers)]}
    )
