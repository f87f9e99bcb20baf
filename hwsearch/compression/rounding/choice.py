"""Of several ways to round a linear, the one with the least error in its outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from hwsearch.compression.rounding.gptq import InputOrder, gptq
from hwsearch.compression.rounding.grid import Grid, clipped
from hwsearch.compression.rounding.input_scaling import ALPHAS, balanced
from hwsearch.compression.rounding.linear_inputs import LinearInputs
from hwsearch.errors import CheckpointError
from hwsearch.formats.integer_format import IntegerFormat, RoundedWeight
from hwsearch.formats.linears.stored_linear import outputs_at_once

if TYPE_CHECKING:
    from hwsearch.formats.weight_format import Codes

#: With so few bits, steps that cut off the largest weights lose more than rounding to nearest. GPTQ then
#: tries the format's own, and steps that are so much coarser: weights that make up for others reach further.
FEW_BITS, WIDER = 2, 1.2


@torch.inference_mode()
def round_group(
    linears: Mapping[str, Tensor], form: IntegerFormat, seen: LinearInputs
) -> Iterator[tuple[str, RoundedWeight]]:
    """Linears of the same inputs in a format, each by the method of least error.

    Methods are fitted to most samples, and judged by the squared error of the outputs on the others.
    All linears have one scale of their inputs; the rest is chosen for each piece of outputs, by what rounding
    weights adds to the error: what rounding inputs does is nearly the same for all methods.

    Args:
        linears: weights ``[out, in]`` by name.
        form: the format.
        seen: what they see.

    Raises:
        CheckpointError: a weight is no finite number.
    """
    for name, weight in linears.items():
        if not bool(weight.isfinite().all()):
            raise CheckpointError(
                f"{name}.weight holds NaN or infinite values; take another checkpoint"
            )
    scale = _best_scale(linears, form, seen)
    fit, judge = (_Rounding(form, part, scale) for part in seen.split)
    for name, weight in linears.items():
        pieces = [_best(fit.scaled(piece), fit, judge) for piece in _pieces(weight)]
        specs = form.specs(*weight.shape[::-1])
        codes = {
            part: np.concatenate([piece[part] for piece in pieces], axis=spec.axis)
            for part, spec in specs.items()
        }
        yield name, RoundedWeight(codes, scale)


def _pieces(weight: Tensor) -> Iterator[Tensor]:
    """Weights that are floats at the same time."""
    for start, stop in outputs_at_once(*weight.shape):
        yield weight[start:stop].detach().float()


class _Rounding:
    """A format's rounding of inputs that are divided by a scale first."""

    def __init__(self, form: IntegerFormat, seen: LinearInputs, scale: Tensor | None) -> None:
        self.form, self.seen, self.scale = form, seen, scale

    @cached_property
    def rounded(self) -> list[Tensor]:
        """Rounded inputs of each sample."""
        return [
            self.form.round_inputs(x if self.scale is None else x / self.scale)
            for x in self.seen.inputs
        ]

    def scaled(self, weight: Tensor) -> Tensor:
        """Weights for the inputs as they are rounded."""
        return weight if self.scale is None else weight * self.scale

    def error(self, weight: Tensor, rounded: Tensor) -> float:
        """Mean squared error of outputs, rows by their weights."""
        total = torch.zeros((), dtype=torch.float64)
        for x, known, counts in zip(self.seen.inputs, self.rounded, self.seen.weights, strict=True):
            wrong = (known @ rounded.T).sub_(x @ weight.T).square_().sum(dim=-1)
            total += (wrong * counts).sum().double().cpu()
        return float(total)

    @cached_property
    def hessian(self) -> Tensor:
        """``Σ w x xᵀ`` of rounded inputs x, ``[in, in]``."""
        found = torch.zeros((), dtype=torch.float64, device=self.rounded[0].device)
        for x, counts in zip(self.rounded, self.seen.weights, strict=True):
            rows = (x * counts.sqrt()[..., None]).flatten(0, 1)
            found = found + (rows.T @ rows).double()
        return found.float()

    @cached_property
    def orders(self) -> list[InputOrder]:
        """Largest inputs first, and as they are; none where the Hessian cannot be inverted."""
        found = (InputOrder.of(self.hessian, by_activation=first) for first in (True, False))
        return [order for order in found if order is not None]

    def added(self, wrong: Tensor) -> float:
        """Squared error of outputs by errors ``[out, in]`` of scaled weights alone."""
        return float((wrong @ self.hessian).mul_(wrong).sum(dtype=torch.float64))


def _best_scale(
    linears: Mapping[str, Tensor], form: IntegerFormat, seen: LinearInputs
) -> Tensor | None:
    """The scale of inputs with the least error where weights are rounded to nearest; None for 1."""
    scales = [*_scales(linears, form, seen)]
    best, least = None, float("inf")
    for scale in (None, *scales) if scales else ():
        rounding = _Rounding(form, seen.split[1], scale)
        error = sum(
            rounding.error(piece, _nearest(rounding.scaled(piece), form))
            for weight in linears.values()
            for piece in _pieces(weight)
        )
        if error < least:
            best, least = scale, error
    return best


def _scales(
    linears: Mapping[str, Tensor], form: IntegerFormat, seen: LinearInputs
) -> Iterator[Tensor]:
    """Scales that are tried beside 1: where one large input costs all others their precision."""
    if seen.sources is None or not form.rounds_inputs_whole:
        return
    weights = torch.stack([_largest(weight) for weight in linears.values()]).amax(dim=0)
    count = int(seen.sources.max()) + 1
    inputs, weights = (
        torch.zeros(count, device=values.device).scatter_reduce(0, seen.sources, values, "amax")
        for values in (seen.largest, weights)
    )
    for alpha in ALPHAS:
        yield balanced(inputs, weights, alpha)[seen.sources]


def _largest(weight: Tensor) -> Tensor:
    return torch.stack([piece.abs().amax(dim=0) for piece in _pieces(weight)]).amax(dim=0)


def _nearest(weight: Tensor, form: IntegerFormat) -> Tensor:
    return _decoded(_encoded(weight, form), weight, form)


def _encoded(weight: Tensor, form: IntegerFormat) -> Codes:
    return form.encode(weight.cpu().numpy().T)


def _decoded(codes: Codes, weight: Tensor, form: IntegerFormat) -> Tensor:
    return torch.from_numpy(form.decode(codes, weight.shape[1])).to(weight.device)


def _best(weight: Tensor, fit: _Rounding, judge: _Rounding) -> Codes:
    """Codes of a piece of a scaled weight by the method of least error; the simplest of equal ones."""
    form, codes = fit.form, _encoded(weight, fit.form)
    coarse = form.bits <= FEW_BITS
    chosen = plain = Grid.taken(codes, weight, form)
    least = judge.added(_decoded(codes, weight, form) - weight)
    outputs = weight @ fit.hessian

    def offer(grid: Grid, numbers: Tensor) -> None:
        nonlocal codes, chosen, least
        tried = _as_large(weight, outputs, grid, numbers) if coarse else grid
        error = judge.added(tried.value(numbers) - weight)
        if error < least:
            codes, chosen, least = tried.codes(numbers), grid, error

    grids = [plain]
    if form.block is not None:
        cut = clipped(weight, plain, fit.hessian.diagonal())
        offer(cut, cut.nearest(weight))
        grids = [plain, plain.times(WIDER), cut] if coarse else [cut]
    for place, order in enumerate(fit.orders):
        for grid in [chosen] if place else grids:
            offer(grid, gptq(weight, order, grid))
    return codes


def _as_large(weight: Tensor, outputs: Tensor, grid: Grid, numbers: Tensor) -> Grid:
    """Scales by which outputs are as large as they were, in the mean.

    What is rounded coarsely comes out smaller than it was, which adds up from layer to layer: numbers of
    least error are drawn towards zero.

    Args:
        weight: what is rounded, ``[out, in]``.
        outputs: the weight times the Hessian of its inputs.
        grid: scales so far.
        numbers: what stands for the weight.
    """
    exact = (outputs * weight).sum(dim=1)
    return grid.fitted(exact / (outputs * grid.value(numbers)).sum(dim=1))
