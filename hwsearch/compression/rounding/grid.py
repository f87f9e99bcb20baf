"""The numbers that a weight may become: whole ones times scales that are fixed beforehand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from hwsearch.formats.integer_format import IntegerFormat

if TYPE_CHECKING:
    from hwsearch.formats.weight_format import Codes

#: Share of a block's largest magnitude that clipped scales reach.
CLIPS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6)


@dataclass(frozen=True)
class Grid:
    """Scales of a matrix in a format.

    Attributes:
        form: the format.
        scales: ``[out, groups]``, none 0; of either sign where there are no zero points.
        inputs: columns of the matrix.
        points: how many numbers of each group lie below 0, ``[out, groups]``, as floats; None where they
            reach from the format's `low` to its `high`.
    """

    form: IntegerFormat
    scales: Tensor
    inputs: int
    points: Tensor | None = None

    @classmethod
    def of(cls, weight: Tensor, form: IntegerFormat) -> Grid:
        """The scales that the format takes by itself for weights ``[out, in]``."""
        return cls.taken(form.encode(weight.float().cpu().numpy().T), weight, form)

    @classmethod
    def taken(cls, codes: Codes, weight: Tensor, form: IntegerFormat) -> Grid:
        """The same, of codes that the format has made of the weights."""
        scales = torch.from_numpy(form.scales(codes)).to(weight.device)
        found = form.zero_points(codes)
        points = None if found is None else torch.from_numpy(found).to(scales)
        return cls(form, scales, weight.shape[1], points)

    @property
    def width(self) -> int:
        """Inputs that share one scale."""
        return self.form.block or self.inputs

    @property
    def bounds(self) -> tuple[Tensor, Tensor]:
        """Least and largest number of each group, ``[out, groups]``."""
        form = self.form
        if self.points is None:
            return torch.full_like(self.scales, form.low), torch.full_like(self.scales, form.high)
        return -self.points, form.high - form.low - self.points

    def by_input(self, values: Tensor) -> Tensor:
        """Of values of groups, those of every weight, ``[out, in]``."""
        return values.repeat_interleave(self.width, dim=1)[:, : self.inputs]

    def nearest(self, weight: Tensor) -> Tensor:
        """Nearest numbers ``[out, in]`` to weights, each for itself."""
        low, high = (self.by_input(bound) for bound in self.bounds)
        return (weight / self.by_input(self.scales)).round().clamp(low, high)

    def value(self, numbers: Tensor) -> Tensor:
        """What numbers stand for."""
        return numbers * self.by_input(self.scales)

    def times(self, factors: Tensor | float) -> Grid:
        """Scales times a factor, or those of each output times its own, ``[out, 1]``."""
        return replace(self, scales=self.scales * factors)

    def fitted(self, factors: Tensor) -> Grid:
        """Scales of each output times a factor, ``[out]``; of a factor that is no number or above 2 either
        way, as they are.
        """
        fair = (factors >= 0.5) & (factors <= 2.0)
        return self.times(torch.where(fair, factors, 1.0)[:, None])

    def codes(self, numbers: Tensor) -> Codes:
        """The format's arrays."""
        points = None if self.points is None else self.points.cpu().numpy().astype(np.uint8)
        whole = numbers.to(torch.int8).cpu().numpy()
        return self.form.pack(whole, self.scales.cpu().numpy().astype(np.float32), points)


def clipped(weight: Tensor, plain: Grid, importance: Tensor) -> Grid:
    """Scales of blocks by least squared error, some of the largest weights cut off.

    Without zero points either end of the numbers, which reach one further down than up, may be that of the
    largest weight. In the end the best fit for the numbers found is tried, too.

    Args:
        weight: ``[out, in]``.
        plain: the scales of a format in blocks by itself.
        importance: what an input's squared errors count for, ``[in]``; not negative.
    """
    blocks = _blocks(weight, plain)
    weights = _blocks(importance[None], plain) + torch.finfo(torch.float32).tiny
    best, least = plain, _error(blocks, plain, weights)
    signs = (1, -1) if plain.points is None else (1,)
    for clip in CLIPS:
        for sign in signs:
            best, least = _better(plain.times(sign * clip), best, least, blocks, weights)
    best, _ = _better(_fit(blocks, best, weights), best, least, blocks, weights)
    return best


def _blocks(values: Tensor, grid: Grid) -> Tensor:
    """``[rows, in]`` as ``[rows, groups, block]``, padded with zeros."""
    groups = grid.scales.shape[1]
    padded = torch.nn.functional.pad(values, (0, groups * grid.width - values.shape[1]))
    return padded.unflatten(1, (groups, grid.width))


def _numbers(blocks: Tensor, grid: Grid) -> Tensor:
    low, high = (bound[..., None] for bound in grid.bounds)
    return (blocks / grid.scales[..., None]).round_().clamp_(low, high)


def _error(blocks: Tensor, grid: Grid, weights: Tensor) -> Tensor:
    rounded = _numbers(blocks, grid).mul_(grid.scales[..., None])
    return rounded.sub_(blocks).square_().mul_(weights).sum(dim=-1)


def _better(
    tried: Grid, best: Grid, least: Tensor, blocks: Tensor, weights: Tensor
) -> tuple[Grid, Tensor]:
    """The best scales so far and their errors, others having been tried."""
    error = _error(blocks, tried, weights)
    scales = torch.where(error < least, tried.scales, best.scales)
    return replace(best, scales=scales), torch.minimum(error, least)


def _fit(blocks: Tensor, grid: Grid, weights: Tensor) -> Grid:
    """The scales that fit the numbers of others best."""
    numbers = _numbers(blocks, grid)
    weighed = numbers * weights
    found = (weighed * blocks).sum(dim=-1) / (weighed * numbers).sum(dim=-1)
    fair = found.isfinite() & (found != 0)
    if grid.points is not None:
        fair &= found > 0
    return replace(grid, scales=torch.where(fair, found, grid.scales))
