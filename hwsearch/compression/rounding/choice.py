"""Of several ways to round a linear, the one with the least error in its outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from hwsearch.compression.rounding.gptq import gptq
from hwsearch.compression.rounding.grid import Grid, clipped
from hwsearch.compression.rounding.input_scaling import ALPHAS, balanced
from hwsearch.compression.rounding.linear_inputs import LinearInputs
from hwsearch.errors import CheckpointError
from hwsearch.formats.integer_format import IntegerFormat, RoundedWeight
from hwsearch.formats.stored_linear import outputs_at_once

if TYPE_CHECKING:
    from hwsearch.formats.weight_format import Codes

#: GPTQ also tries steps that are so much coarser than the format's own: weights that made up for others reach
#: further than the largest did.
WIDER = 1.2


@torch.inference_mode()
def round_group(
    linears: Mapping[str, Tensor], form: IntegerFormat, seen: LinearInputs
) -> Iterator[tuple[str, RoundedWeight]]:
    """Linears of the same inputs in a format, each by the method of least error.

    Methods are fitted to most samples, and judged by the squared error of the outputs on the others.
    All linears have one scale of their inputs; the rest is chosen for each piece of outputs.

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
        pieces = [_best(piece, fit, judge) for piece in _pieces(weight)]
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
        found = torch.zeros(())
        for x, counts in zip(self.rounded, self.seen.weights, strict=True):
            rows = (x * counts.sqrt()[..., None]).flatten(0, 1)
            found = found + (rows.T @ rows).double()
        return found


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
    decoded = form.decode(form.encode(weight.cpu().numpy().T), weight.shape[1])
    return torch.from_numpy(decoded).to(weight.device)


def _best(weight: Tensor, fit: _Rounding, judge: _Rounding) -> Codes:
    """Codes of a piece of a weight by the method of least error; the simplest of equal ones."""
    form, scaled = fit.form, fit.scaled(weight)
    plain = Grid.of(scaled, form)
    codes, chosen = form.encode(scaled.cpu().numpy().T), plain
    least = judge.error(weight, _nearest(scaled, form))

    def offer(grid: Grid, numbers: Tensor | None) -> None:
        nonlocal codes, chosen, least
        if numbers is None:
            return
        tried = _as_large(weight, grid, numbers, fit)
        error = judge.error(weight, tried.value(numbers))
        if error < least:
            codes, chosen, least = tried.codes(numbers), grid, error

    grids = [plain]
    if form.block is not None:
        cut = clipped(scaled, form, fit.hessian.diagonal().float())
        offer(cut, cut.nearest(scaled))
        grids += [plain.times(torch.full((len(weight),), WIDER)), cut]
    for grid in grids:
        offer(grid, gptq(scaled, fit.hessian, grid, by_activation=True))
    offer(chosen, gptq(scaled, fit.hessian, chosen))
    return codes


def _as_large(weight: Tensor, grid: Grid, numbers: Tensor, fit: _Rounding) -> Grid:
    """Scales by which outputs are as large as they were, in the mean.

    What is rounded coarsely comes out smaller than it was, which adds up from layer to layer: numbers of
    least error are drawn towards zero.
    """
    value = grid.value(numbers)
    exact = torch.zeros(len(weight), dtype=torch.float64, device=weight.device)
    both = exact.clone()
    for x, known, counts in zip(fit.seen.inputs, fit.rounded, fit.seen.weights, strict=True):
        y = x @ weight.T
        weighed = y * counts[..., None]
        exact += (weighed * y).flatten(0, 1).sum(dim=0)
        both += (weighed * (known @ value.T)).flatten(0, 1).sum(dim=0)
    return grid.times((exact / both).float())
