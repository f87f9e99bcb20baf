"""Linears whose weights stay as they are stored, and become floats a piece at a time when they are used.

A model may be larger than memory. Its weights are then mapped from their files, as 16-bit floats or as the
codes of a format, and the system keeps in memory what it has room for.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hwsearch.formats.linears.simulated_linear import biased

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwsearch.formats.integer_format import RoundedWeight
    from hwsearch.formats.weight_format import Format

#: Weights of a matrix that are floats at the same time.
AT_ONCE = 1 << 24

#: Weights of a matrix that may be held as floats; a head of 126,464 tokens is larger.
MOST_HELD = 1 << 27


class StoredLinear(nn.Linear):
    """A linear that computes in the type of its inputs, whatever type its weight is stored in."""

    _floats: Tensor | None = None

    def hold(self) -> None:
        """Keep the weight as 32-bit floats until `release`, for several inputs; not one too large for it."""
        if self.weight.dtype != torch.float32 and self.weight.numel() <= MOST_HELD:
            self._floats = self.weight.float()

    def release(self) -> None:
        """Forget the floats."""
        self._floats = None

    @classmethod
    def of(cls, linear: nn.Linear) -> StoredLinear:
        """The same linear; its weight is shared."""
        found = cls(linear.in_features, linear.out_features, bias=False, device="meta")
        found.weight, found.bias = linear.weight, linear.bias
        return found

    def forward(self, x: Tensor) -> Tensor:
        """The product of inputs ``[..., in]``."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        if self.weight.dtype == x.dtype:
            return F.linear(x, self.weight, bias)
        if self._floats is not None:
            return F.linear(x, self._floats.to(x.dtype), bias)
        product: Tensor = _StoredProduct.apply(x, self.weight)  # type: ignore[no-untyped-call]
        return biased(product, bias)


class _StoredProduct(torch.autograd.Function):
    """Inputs times a stored weight; what flows back makes the floats again, so that none are kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.weight = weight
        pieces = (weight[slice(*rows)].to(x.dtype) for rows in outputs_at_once(*weight.shape))
        return _product(x, pieces)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,), weight = gradients, ctx.weight
        parts = (
            gradient[..., slice(*rows)] @ weight[slice(*rows)].to(gradient.dtype)
            for rows in outputs_at_once(*weight.shape)
        )
        return functools.reduce(torch.add, parts), None


class StoredEmbedding(nn.Embedding):
    """An embedding whose rows become floats when they are read.

    Args:
        embedding: whose weight is shared.
        dtype: of the rows that it gives.
    """

    def __init__(self, embedding: nn.Embedding, dtype: torch.dtype) -> None:
        # one to be drawn would have torch load its compiler
        super().__init__(1, 1, _weight=torch.empty(1, 1, device="meta"))
        self.num_embeddings, self.embedding_dim = embedding.weight.shape
        self.weight, self._dtype = embedding.weight, dtype

    def forward(self, tokens: Tensor) -> Tensor:
        """Rows ``[..., hidden]`` of tokens."""
        return F.embedding(tokens, self.weight).to(self._dtype)


class CodedLinear(nn.Module):
    """A linear in a format, held as its codes; what `SimulatedLinear` computes, to the last bit.

    Args:
        codes: the arrays of `Format.encode`, in memory or mapped from a file.
        bias: the linear's own, or None.
        form: its format.
        inputs: features of its inputs.
        outputs: and of its outputs.
    """

    bias: Tensor | None
    rounded: RoundedWeight | None = None

    def __init__(
        self,
        codes: Mapping[str, NDArray[np.generic]],
        bias: Tensor | None,
        form: Format,
        inputs: int,
        outputs: int,
    ) -> None:
        super().__init__()
        self.register_buffer("bias", bias)
        self.codes, self.form = codes, form
        self.in_features, self.out_features = inputs, outputs
        self.specs = form.specs(inputs, outputs)
        self.round_inputs: Callable[[Tensor], Tensor] = form.round_inputs
        self._floats: Tensor | None = None

    @classmethod
    def calibrated(cls, linear: nn.Linear, form: Format, weight: RoundedWeight) -> CodedLinear:
        """A linear whose weight was rounded before, by what it sees."""
        bias = None if linear.bias is None else linear.bias.detach()
        found = cls(weight.codes, bias, form, linear.in_features, linear.out_features)
        found.rounded, found.round_inputs = weight, weight.dividing(form.round_inputs)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """The product of rounded inputs ``[..., in]``."""
        pieces = self._pieces(x) if self._floats is None else iter((self._floats.to(x.dtype),))
        if self.form.rounds_outputs:
            return biased(
                self.form.round_outputs(_product(self.round_inputs(x), pieces)), self.bias
            )
        if self._floats is not None:
            return F.linear(self.round_inputs(x), next(pieces), self.bias)
        return biased(_product(self.round_inputs(x), pieces), self.bias)

    def hold(self) -> None:
        """Keep the weight as floats until `release`, for several inputs; not one too large for it."""
        if self.in_features * self.out_features <= MOST_HELD:
            self._floats = self.weight

    def release(self) -> None:
        """Forget the floats."""
        self._floats = None

    @property
    def weight(self) -> Tensor:
        """All rounded weights ``[out, in]``, made now."""
        pieces = [*self._pieces(torch.empty(0))]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def _pieces(self, like: Tensor) -> Iterator[Tensor]:
        for start, stop in outputs_at_once(self.out_features, self.in_features):
            codes = {n: a[self.specs[n].outputs(start, stop)] for n, a in self.codes.items()}
            yield torch.from_numpy(self.form.decode(codes, self.in_features)).to(like)


def outputs_at_once(outputs: int, inputs: int) -> Iterator[tuple[int, int]]:
    """Ranges of outputs that are floats at the same time."""
    step = max(1, AT_ONCE // inputs)
    for start in range(0, outputs, step):
        yield start, min(start + step, outputs)


def _product(x: Tensor, pieces: Iterator[Tensor]) -> Tensor:
    return torch.cat([F.linear(x, piece) for piece in pieces], dim=-1)


def is_stored(module: Any) -> bool:
    """Whether a module computes in another type than that of its weight."""
    return isinstance(module, StoredLinear | StoredEmbedding)
