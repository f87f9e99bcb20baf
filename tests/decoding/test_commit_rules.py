"""Every rule of LLaDA and Dream against a plain transcription of its published algorithm."""

import numpy as np
import pytest
import torch

from hwsearch.decoding.committing.schedule import passes, quotas_of
from hwsearch.decoding.kept import KeptShares
from hwsearch.decoding.sampler import generate
from hwsearch.denoisers.backends import FullPassBackend, backend_of
from hwsearch.plan import Decoding
from hwsearch.testing.tiny import tiny_denoiser

PROMPT = np.array([[3, 4, 17, 5, 6, 7, 20, 8]])
MASK, LENGTH = 0, 16
DREAM = ("maskgit_plus", "topk_margin", "entropy")


def decoding(rule, *, steps=8, block=LENGTH, interval=1, temperature=0.0):
    return Decoding(
        gen_length=LENGTH,
        block_length=block,
        steps=steps,
        refresh_interval=interval,
        rule=rule,
        temperature=temperature,
    )


@pytest.fixture(scope="module")
def denoiser():
    return tiny_denoiser(2, hidden=32, sharpness=4.0, logit_shift=True, qkv_bias=True)


def logits_of(denoiser, x):
    return denoiser.logits(torch.from_numpy(x)).double().numpy()


def softmax(logits):
    exponent = np.exp(logits - logits.max(-1, keepdims=True))
    return exponent / exponent.sum(-1, keepdims=True)


def dream(logits_of, prompt, length, steps, alg, eps=1e-3):
    """Dream's loop without temperature: confidences at all masks, the best of them written."""
    x = np.concatenate((prompt, np.full((1, length), MASK)), axis=1)
    timesteps = np.linspace(1, eps, steps + 1)
    for i in range(steps):
        masks = np.flatnonzero(x[0] == MASK)
        p = softmax(logits_of(x)[0, masks])
        ordered = np.sort(p, axis=-1)[:, ::-1]
        if alg == "maskgit_plus":
            confidence = ordered[:, 0]
        elif alg == "topk_margin":
            confidence = ordered[:, 0] - ordered[:, 1]
        else:
            confidence = (p * np.log(p + 1e-10)).sum(-1)
        t, s = timesteps[i], timesteps[i + 1]
        count = int(len(masks) * (1 - s / t)) if i < steps - 1 else len(masks)
        for at in np.argsort(-confidence)[:count]:
            x[0, masks[at]] = p[at].argmax()
    return x


def llada(logits_of, prompt, length, steps, block_length):
    """LLaDA's loop without temperature, low-confidence remasking."""
    x = np.concatenate((prompt, np.full((1, length), MASK)), axis=1)
    steps_per_block = steps // (length // block_length)
    for start in range(prompt.shape[1], x.shape[1], block_length):
        counts = np.full(steps_per_block, block_length // steps_per_block)
        counts[: block_length % steps_per_block] += 1
        for count in counts:
            p = softmax(logits_of(x)[0])
            confidence = np.where(x[0] == MASK, p.max(-1), -np.inf)
            confidence[start + block_length :] = -np.inf
            for at in np.argsort(-confidence)[:count]:
                x[0, at] = p[at].argmax()
    return x


@pytest.mark.parametrize("steps", [1, 3, 8, 16])
@pytest.mark.parametrize("alg", DREAM)
def test_dreams_rules_are_the_published_loop(denoiser, alg, steps):
    wanted = dream(lambda x: logits_of(denoiser, x), PROMPT, LENGTH, steps, alg)
    backend = backend_of(denoiser.network, KeptShares.keeping_all(2))
    assert generate(backend, PROMPT, decoding(alg, steps=steps), MASK).tolist() == wanted.tolist()


def test_the_rules_differ(denoiser):
    backend = backend_of(denoiser.network, KeptShares.keeping_all(2))
    rules = ("low_confidence", "random", *DREAM)
    written = {rule: generate(backend, PROMPT, decoding(rule, steps=8), MASK) for rule in rules}
    assert len({tokens.tobytes() for tokens in written.values()}) == len(rules)


@pytest.mark.parametrize(("steps", "block"), [(8, 8), (6, 8), (16, 16), (5, 16)])
def test_lladas_rule_is_the_published_loop(steps, block):
    plain = tiny_denoiser(2, hidden=32, sharpness=4.0)
    wanted = llada(lambda x: logits_of(plain, x), PROMPT, LENGTH, steps, block)
    backend = backend_of(plain.network, KeptShares.keeping_all(2))
    chosen = decoding("low_confidence", steps=steps, block=block)
    assert generate(backend, PROMPT, chosen, MASK).tolist() == wanted.tolist()


def test_dreams_first_pass_may_write_nothing_and_its_last_writes_the_rest():
    quotas = quotas_of(decoding("entropy", steps=16))
    assert quotas[0] == 0 and sum(quotas) == LENGTH and min(quotas) >= 0
    assert [step.share for step in passes(decoding("origin", steps=4))] == pytest.approx(
        [0.24975, 0.33289, 0.49900, 1.0], abs=1e-5
    )


def test_origin_writes_each_mask_by_chance_and_fills_the_block(denoiser):
    backend = backend_of(denoiser.network, KeptShares.keeping_all(2))
    first = generate(backend, PROMPT, decoding("origin"), MASK, seed=1)
    assert (first[:, 8:] != MASK).all()
    assert first.tolist() == generate(backend, PROMPT, decoding("origin"), MASK, seed=1).tolist()
    assert first.tolist() != generate(backend, PROMPT, decoding("origin"), MASK, seed=2).tolist()


def test_origin_writes_its_share_on_average():
    rows, counts = np.tile(PROMPT, (400, 1)), []

    class Counting(FullPassBackend):
        def __init__(self):
            super().__init__(torch.nn.Linear(1, 1), KeptShares.keeping_all(1))

        def refresh_logits(self, tokens, start, stop):
            counts.append((tokens[:, start:stop] != MASK).mean())
            return torch.nn.functional.one_hot(torch.full((400, LENGTH), 5), 64).float()

    generate(Counting(), rows, decoding("origin", steps=4), MASK)
    # masks left follow linspace(1, eps, steps + 1)
    assert counts == pytest.approx([0.0, 0.24975, 0.4995, 0.74925], abs=0.02)


def test_a_temperature_draws_from_the_tempered_distribution():
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    rows = np.zeros((4000, 1), dtype=np.int64)

    class Fixed(FullPassBackend):
        def __init__(self):
            super().__init__(torch.nn.Linear(1, 1), KeptShares.keeping_all(1))

        def refresh_logits(self, tokens, start, stop):
            return logits.expand(len(tokens), 1, 4)

    one = Decoding(
        gen_length=1, block_length=1, steps=1, refresh_interval=1, temperature=0.5, rule="random"
    )
    drawn = generate(Fixed(), rows, one, mask_token_id=9)[:, 1]
    shares = np.bincount(drawn, minlength=4) / len(drawn)
    assert shares == pytest.approx((logits / 0.5).softmax(-1).numpy(), abs=0.03)


def test_what_a_decoding_leaves_at_its_default_is_not_written():
    plain = decoding("low_confidence")
    assert set(plain.model_dump()) == {"gen_length", "block_length", "steps", "refresh_interval"}
    assert Decoding.model_validate_json(decoding("entropy").model_dump_json()).rule == "entropy"
