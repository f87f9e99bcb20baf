"""How probable a text is after another, to a masked-diffusion model and to one that reads forward."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from hwsearch.decoding.kept import KeptShares
from hwsearch.decoding.sampler import generate
from hwsearch.denoisers.backends import backend_of
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.plan import Decoding
from hwsearch.tasks.finite import FiniteBackend, require_finite
from hwsearch.tasks.losses.masked_likelihood import draw_masks


@torch.inference_mode()
def log_likelihood(
    denoiser: Denoiser,
    prompt: Sequence[int],
    answer: Sequence[int],
    *,
    draws: int = 128,
    seed: int = 0,
    batch: int = 32,
) -> float:
    """Lower bound on ``log p(answer | prompt)``, in nats (LLaDA, arXiv 2502.09992, equation 6).

    For an answer of L tokens: minus the mean over draws of ``L / l`` times the cross entropy
    summed over the l masked tokens, l stratified over 1..L. One token is scored exactly. A causal
    model is scored exactly whatever the length: each token after all before it.

    Args:
        denoiser: the model.
        prompt: tokens before; may be empty.
        answer: at least one token.
        draws: masks to average over.
        seed: of the masks.
        batch: masks to a pass.

    Raises:
        ValueError: the answer is empty; or the prompt is, and the model is causal.
        CheckpointError: the model's logits are not finite numbers.
    """
    if denoiser.is_causal:
        return float(_causal_log_probabilities(denoiser, prompt, answer)[1].sum())
    length = len(answer)
    if not length:
        raise ValueError("there must be a token to score")
    masks = draw_masks(draws if length > 1 else 1, length, np.random.default_rng(seed))
    device = denoiser.network.device
    target = torch.tensor(answer, device=device)
    before = torch.tensor(prompt, dtype=torch.long, device=device)
    total = 0.0
    for masked in torch.from_numpy(masks).to(device).split(batch):
        hidden = torch.where(masked, denoiser.mask_token_id, target)
        tokens = torch.cat((before.expand(len(hidden), -1), hidden), dim=1)
        logits = denoiser.logits(tokens)[:, len(prompt) :].float()
        losses = F.cross_entropy(
            logits.transpose(1, 2), target.expand(len(hidden), -1), reduction="none"
        )
        weight = masked / masked.sum(dim=1, keepdim=True)
        total += float((losses * weight).sum())
    require_finite(total, denoiser)
    return -total * length / len(masks)


def is_greedy(denoiser: Denoiser, prompt: Sequence[int], answer: Sequence[int]) -> bool:
    """Whether the model, decoding one token a pass without a cache, writes exactly `answer`."""
    if denoiser.is_causal:
        return bool(_causal_log_probabilities(denoiser, prompt, answer)[0].all())
    length = len(answer)
    decoding = Decoding(gen_length=length, block_length=length, steps=length, refresh_interval=1)
    backend = backend_of(denoiser.network, KeptShares.keeping_all(denoiser.num_layers))
    prompts = np.array([list(prompt)], dtype=np.int64).reshape(1, -1)
    written = generate(FiniteBackend(backend, denoiser), prompts, decoding, denoiser.mask_token_id)
    return written[0, len(prompt) :].tolist() == list(answer)


@torch.inference_mode()
def _causal_log_probabilities(
    denoiser: Denoiser, prompt: Sequence[int], answer: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each answer token: whether it is the most probable one, and its log probability."""
    if not answer or not prompt:
        raise ValueError("there must be a token to score, and one before it")
    device = denoiser.network.device
    tokens = torch.tensor([[*prompt, *answer]], dtype=torch.long, device=device)
    # a causal network's logits are shifted: those of a position are told by what is before it
    found = denoiser.logits(tokens)[0, len(prompt) :].float().log_softmax(dim=-1)
    target = tokens[0, len(prompt) :]
    scores = found.gather(-1, target[:, None])[:, 0]
    require_finite(scores.cpu().numpy(), denoiser)
    return found.argmax(dim=-1) == target, scores
