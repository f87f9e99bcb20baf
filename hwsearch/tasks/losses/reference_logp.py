"""What the uncompressed model predicts in a frozen state, and how far another prediction is from it.

A vocabulary of 126,464 tokens at 32 positions takes 16 MB, twice a state. Of large ones only the most
probable tokens of a position are kept, and all others as one. Merging tokens can only make the
divergence smaller (the log-sum inequality), by at most the probability of the others times how far their
log-probabilities have moved against each other.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from hwsearch.tasks.losses.sizes import LEAST_KEPT, MOST_KEPT, REST, WHOLE_VOCABULARY


@dataclass(frozen=True, eq=False)
class WholeLogp:
    """Log-probabilities of all tokens.

    Attributes:
        logp: ``[batch, block, vocab]``.
    """

    logp: Tensor = field(repr=False)

    def divergence(self, logits: Tensor, masked: Tensor) -> tuple[float, int]:
        """KL divergence of logits in nats, summed over masked positions, and their number."""
        found = F.kl_div(logits.log_softmax(dim=-1), self.logp, reduction="none", log_target=True)
        return _summed(found.sum(dim=-1), masked)

    def entropy(self, masked: Tensor) -> tuple[float, int]:
        """Entropy in nats, summed over masked positions, and their number."""
        return _summed(torch.special.entr(self.logp.exp()).sum(dim=-1), masked)


@dataclass(frozen=True, eq=False)
class TopLogp:
    """Log-probabilities of the most probable tokens, and of all others together.

    Attributes:
        ids: those tokens, ``[batch, block, kept]``.
        logp: theirs.
        rest: that of all others, ``[batch, block]``; minus infinity where there is nothing left.
    """

    ids: Tensor = field(repr=False)
    logp: Tensor = field(repr=False)
    rest: Tensor = field(repr=False)

    def divergence(self, logits: Tensor, masked: Tensor) -> tuple[float, int]:
        """As `WholeLogp.divergence`, all other tokens taken for one."""
        theirs = logits.log_softmax(dim=-1).gather(-1, self.ids.long())
        found = (self.logp.exp() * (self.logp - theirs)).sum(dim=-1)
        left = (1.0 - theirs.double().exp().sum(dim=-1)).clamp(min=torch.finfo(torch.double).tiny)
        others = self.rest.exp() * (self.rest - left.log())
        return _summed(found + torch.where(self.rest > -torch.inf, others, 0.0), masked)

    def entropy(self, masked: Tensor) -> tuple[float, int]:
        """As `WholeLogp.entropy`, all other tokens taken for one."""
        found = torch.special.entr(self.logp.exp()).sum(dim=-1)
        return _summed(found + torch.special.entr(self.rest.exp()), masked)


ReferenceLogp = WholeLogp | TopLogp


def reference_of(logits: Tensor) -> ReferenceLogp:
    """What is kept of logits ``[batch, block, vocab]``."""
    logp = logits.log_softmax(dim=-1)
    if logp.shape[-1] <= WHOLE_VOCABULARY:
        return WholeLogp(logp)
    top = logp.topk(MOST_KEPT, dim=-1)
    mass = top.values.double().exp().cumsum(dim=-1)
    needed = int((mass < 1.0 - REST).sum(dim=-1).max()) + 1
    kept = min(max(LEAST_KEPT, needed), MOST_KEPT)
    left = (1.0 - mass[..., kept - 1]).clamp(min=0.0)
    ids, values = top.indices[..., :kept].int().clone(), top.values[..., :kept].clone()
    return TopLogp(ids, values, left.log().float())


def _summed(values: Tensor, masked: Tensor) -> tuple[float, int]:
    masked = masked.to(values.device)
    return float(values[masked].sum()), int(masked.sum())
