"""See every layer's attention mass, head by head, without ever holding a whole attention map.

The network is the same, its attention computed a few queries at a time: a chunk's probabilities are
used, added up by key and forgotten.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hwsearch.denoisers.network import Network
from hwsearch.denoisers.transformer import ALL, Attention, KeyValue, Transformer
from hwsearch.errors import InputError

#: Attention probabilities held at a time: few enough to stay in a core's cache; on an accelerator,
#: enough to keep it busy.
CHUNK, ACCELERATOR_CHUNK = 1 << 17, 1 << 24

#: Called in each full pass with a layer and its mass ``[batch, heads, length]``.
Listener = Callable[[int, Tensor], None]


class Capture:
    """A transformer whose full passes tell a listener each layer's attention mass.

    Args:
        network: the transformer; left as it is, its weights are shared.
        listen: called with each layer's mass.

    Attributes:
        network: the listened-to copy.
        valid: ``[batch, length]``, False where a sequence is padded: such a position is attended to by
            none, and its own attention does not count; None where none is padded.

    Raises:
        InputError: the network offers no attention.
    """

    def __init__(self, network: Network, listen: Listener) -> None:
        if not isinstance(network, Transformer):
            raise InputError(
                f"a network of type {type(network).__name__} offers no attention to look at; sink "
                "statistics need the model in Llama form, or a module with a method attention_mass "
                "(see docs/how-to/your-module.md)"
            )
        self.listen = listen
        self.valid: Tensor | None = None
        self.network = _with_listening_attention(network, self)

    @torch.inference_mode()
    def run(self, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
        """One full pass over ``[batch, length]``: logits, and the listener is called.

        Raises:
            InputError: a sequence has no valid position, so nothing to attend to.
        """
        self.valid = check_valid(valid)
        try:
            logits: Tensor = self.network(tokens)
            return logits
        finally:
            self.valid = None


def check_valid(valid: Tensor | None) -> Tensor | None:
    """`valid` itself. Raises `InputError` where a sequence has nothing to attend to."""
    if valid is not None:
        empty = torch.nonzero(~valid.any(dim=1)).flatten().tolist()
        if empty:
            raise InputError(
                f"sequence {empty[0]} is padding from end to end and has nothing to attend to; "
                "leave it out of the batch"
            )
    return valid


class _ListeningAttention(nn.Module):
    """An attention module that reports its mass in full passes, sharing the weights of another."""

    def __init__(self, attention: Attention, layer: int, capture: Capture) -> None:
        super().__init__()
        self.inner = attention
        self.geometry = attention.geometry
        self._report: Callable[[Tensor], None] = lambda mass: capture.listen(layer, mass)
        self._valid: Callable[[], Tensor | None] = lambda: capture.valid

    def forward(
        self,
        x: Tensor,
        rope: tuple[Tensor, Tensor],
        past: KeyValue | None,
        want_mass: bool,
        query_rows: slice | None = None,
        rows: slice = ALL,
    ) -> tuple[Tensor, KeyValue, Tensor | None]:
        """As `Attention.forward`."""
        if past is not None:
            answer: tuple[Tensor, KeyValue, Tensor | None]
            answer = self.inner(x, rope, past, want_mass, query_rows, rows)
            return answer
        query, seen = self.inner.project(x, rope)
        mixed, mass = attend_in_chunks(query, seen, self.geometry.causal, self._valid())
        self._report(mass)
        summed = mass.sum(dim=1) if want_mass else None
        return self.inner.o_proj(mixed.transpose(1, 2).flatten(2)[:, rows]), seen, summed


def attend_in_chunks(
    query: Tensor, seen: KeyValue, causal: bool = False, valid: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Attention output ``[batch, heads, length, head_dim]`` and mass ``[batch, heads, length]``.

    Args:
        query: ``[batch, heads, length, head_dim]``.
        seen: keys and values, of as many heads or of a divisor of them.
        causal: whether a position attends to none after it.
        valid: ``[batch, length]``, False where a sequence is padded.
    """
    batch, heads, length, size = query.shape
    groups = heads // seen.key.shape[1]
    query = (query * size**-0.5).flatten(0, 1)
    key, value = (part.repeat_interleave(groups, dim=1).flatten(0, 1) for part in seen)
    there = None if valid is None else valid.repeat_interleave(heads, dim=0)
    mixed, mass = (
        torch.empty_like(query),
        query.new_zeros(batch * heads, length, dtype=torch.float32),
    )
    room = CHUNK if query.device.type == "cpu" else ACCELERATOR_CHUNK
    rows = max(1, min(length, room // length))
    some = max(1, room // (rows * length))
    for head in (slice(first, first + some) for first in range(0, batch * heads, some)):
        for first in range(0, length, rows):
            chunk = slice(first, min(first + rows, length))
            scores = query[head, chunk] @ key[head].transpose(1, 2)
            hidden = _hidden(chunk, length, causal, None if there is None else there[head])
            if hidden is not None:
                scores = scores.masked_fill_(hidden.to(scores.device), float("-inf"))
            probability = F.softmax(scores, dim=-1, dtype=torch.float32)
            mixed[head, chunk] = probability.to(value.dtype) @ value[head]
            if there is not None:
                probability = probability * there[head, chunk, None]
            mass[head] += probability.sum(dim=1)
    return mixed.unflatten(0, (batch, heads)), mass.unflatten(0, (batch, heads))


def _hidden(chunk: slice, length: int, causal: bool, valid: Tensor | None) -> Tensor | None:
    """Which keys the chunk's queries may not see; a padded query sees all it can."""
    hidden = None
    if causal:
        at = torch.arange(length)
        hidden = at > at[chunk, None]
    if valid is not None:
        padded = ~valid[:, None, :] & valid[:, chunk, None]
        hidden = padded if hidden is None else hidden.to(valid.device) | padded
    return hidden


def _with_listening_attention(network: Transformer, capture: Capture) -> Transformer:
    """A network that shares all but the attention modules with `network`."""
    from hwsearch.compression.swap import swapped

    replaced = {}
    for index, layer in enumerate(network.model.layers):
        attention = layer.self_attn
        assert isinstance(attention, Attention)
        path = f"model.layers.{index}.self_attn"
        replaced[path] = _ListeningAttention(attention, index, capture)
    return swapped(network, replaced)
