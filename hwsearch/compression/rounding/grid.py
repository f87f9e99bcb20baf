"""The numbers that a weight may become: whole ones times scales that are fixed beforehand."""

from __future__ import annotations

from dataclasses import dataclass
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
        scales: ``[out, groups]``, of either sign, none 0.
        inputs: columns of the matrix.
    """

    form: IntegerFormat
    scales: Tensor
    inputs: int

    @classmethod
    def of(cls, weight: Tensor, form: IntegerFormat) -> Grid:
        """The scales that the format takes by itself for weights ``[out, in]``."""
        scales = torch.from_numpy(form.scales(weight.float().cpu().numpy()))
        return cls(form, scales.to(weight.device), weight.shape[1])

    @property
    def by_input(self) -> Tensor:
        """The scale of every weight, ``[out, in]``."""
        width = self.form.block or self.inputs
        return self.scales.repeat_interleave(width, dim=1)[:, : self.inputs]

    def nearest(self, weight: Tensor) -> Tensor:
        """Nearest numbers ``[out, in]`` to weights, each for itself."""
        return (weight / self.by_input).round().clamp(self.form.low, self.form.high)

    def value(self, numbers: Tensor) -> Tensor:
        """What numbers stand for."""
        return numbers * self.by_input

    def times(self, factors: Tensor) -> Grid:
        """Scales of each output times a factor, ``[out]``; of a factor that is no number or above 2 either
        way, as they are.
        """
        fair = (factors >= 0.5) & (factors <= 2.0)
        scales = self.scales * torch.where(fair, factors, 1.0)[:, None]
        return Grid(self.form, scales, self.inputs)

    def codes(self, numbers: Tensor) -> Codes:
        """The format's arrays."""
        whole = numbers.to(torch.int8).cpu().numpy()
        return self.form.pack(whole, self.scales.cpu().numpy().astype(np.float32))


def clipped(weight: Tensor, form: IntegerFormat, importance: Tensor) -> Grid:
    """Scales of blocks by least squared error, some of the largest weights cut off.

    Either end of the numbers, which reach one further down than up, may be that of the largest weight.
    In the end the best fit for the numbers found is tried, too.

    Args:
        weight: ``[out, in]``.
        form: a format in blocks.
        importance: what an input's squared errors count for, ``[in]``; not negative.
    """
    plain = Grid.of(weight, form)
    blocks = _blocks(weight, plain)
    weights = _blocks(importance[None], plain) + torch.finfo(torch.float32).tiny
    best, least = plain.scales, _error(blocks, plain.scales, weights, form)
    for clip in CLIPS:
        for sign in (1, -1):
            best, least = _better(plain.scales * (sign * clip), best, least, blocks, weights, form)
    best, _ = _better(_fit(blocks, best, weights, form), best, least, blocks, weights, form)
    return Grid(form, best, weight.shape[1])


def _blocks(values: Tensor, grid: Grid) -> Tensor:
    """``[rows, in]`` as ``[rows, groups, block]``, padded with zeros."""
    groups = grid.scales.shape[1]
    width = grid.form.block or grid.inputs
    padded = torch.nn.functional.pad(values, (0, groups * width - values.shape[1]))
    return padded.unflatten(1, (groups, width))


def _numbers(blocks: Tensor, scales: Tensor, form: IntegerFormat) -> Tensor:
    return (blocks / scales[..., None]).round_().clamp_(form.low, form.high)


def _error(blocks: Tensor, scales: Tensor, weights: Tensor, form: IntegerFormat) -> Tensor:
    rounded = _numbers(blocks, scales, form).mul_(scales[..., None])
    return rounded.sub_(blocks).square_().mul_(weights).sum(dim=-1)


def _better(
    tried: Tensor, best: Tensor, least: Tensor, blocks: Tensor, weights: Tensor, form: IntegerFormat
) -> tuple[Tensor, Tensor]:
    """The best scales so far and their errors, others having been tried."""
    error = _error(blocks, tried, weights, form)
    return torch.where(error < least, tried, best), torch.minimum(error, least)


def _fit(blocks: Tensor, scales: Tensor, weights: Tensor, form: IntegerFormat) -> Tensor:
    """The scales that fit the numbers of others best."""
    numbers = _numbers(blocks, scales, form)
    weighed = numbers * weights
    found = (weighed * blocks).sum(dim=-1) / (weighed * numbers).sum(dim=-1)
    return torch.where(found.isfinite() & (found != 0), found, scales)
