"""Covariance of two plans' losses under the additive-plus-pairs prior of `model`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from hwsearch.study.samplers.additive.encoding import ChoiceSpace, Floats, Rows


@dataclass(frozen=True)
class Grams:
    """Inner products of two lists of plans that every kernel with the same sizes is made of.

    Attributes:
        linear: product of the mean sizes, [left, right].
        apart: sum over parameters of the product of sizes, [left, right].
        equal: the same, over parameters on which both plans agree.
        apart2: `apart` with squared products.
        equal2: `equal` with squared products.
        groups: number of parameters.
    """

    linear: Floats
    apart: Floats
    equal: Floats
    apart2: Floats
    equal2: Floats
    groups: int


def grams(space: ChoiceSpace, sizes: Floats, left: Rows, right: Rows) -> Grams:
    """`Grams` of the plans `left` [n, groups] and `right` [m, groups]."""
    a, b = sizes[left + space.offsets], sizes[right + space.offsets]
    hot_a, hot_b = space.one_hot(left, sizes), space.one_hot(right, sizes)
    return Grams(
        np.outer(a.mean(axis=1), b.mean(axis=1)),
        a @ b.T,
        hot_a @ hot_b.T,
        a**2 @ (b**2).T,
        hot_a**2 @ (hot_b**2).T,
        len(space.names),
    )


def swap_grams(space: ChoiceSpace, sizes: Floats, rows: Rows, plan: Rows) -> Grams:
    """`Grams` of `rows` [n, groups] with every single swap of `plan`, [n, columns].

    A swap changes one term of each sum, so this needs no matrix product.
    """
    group = space.group_of
    a, b = sizes[rows + space.offsets], sizes[plan + space.offsets]
    own, step = a[:, group], sizes - b[group]
    before = np.where(rows == plan, a, 0.0)
    after = space.one_hot(rows, sizes)
    equal = (before * b).sum(axis=1)[:, None] - (before * b)[:, group] + after * sizes
    before2 = (before * b) ** 2
    equal2 = before2.sum(axis=1)[:, None] - before2[:, group] + (after * sizes) ** 2
    return Grams(
        np.outer(a.mean(axis=1), b.mean() + step / len(space.names)),
        (a @ b)[:, None] + own * step,
        equal,
        (a**2 @ b**2)[:, None] + own**2 * (sizes**2 - b[group] ** 2),
        equal2,
        len(space.names),
    )


@dataclass(frozen=True)
class Kernel:
    """Prior covariance of the (warped) loss, in units of the model's analytic scale.

    Attributes:
        sizes: prior standard deviation of each column's effect, 0 at the reference, [columns].
        shared: variance of the slope all parameters share.
        curve: variance of the shared curvature.
        bond: correlation of the effects of two choices of one parameter.
        pair: variance of pair effects, against products of sizes.
        noise: variance of what no term explains.
        relative: the same where it grows with the value: as a share of a plan's squared value.
    """

    sizes: Floats
    shared: float = 1.0
    curve: float = 0.1
    bond: float = 0.8
    pair: float = 0.1
    noise: float = 1e-4
    relative: float = 0.0

    LEVEL: ClassVar[float] = 100.0

    def covariance(self, of: Grams) -> Floats:
        """Covariance without the noise, [left, right]."""
        own = self.bond * of.apart + (1.0 - self.bond) * of.equal
        bond2 = self.bond**2
        squares = bond2 * of.apart2 + (1.0 - bond2) * of.equal2
        shared = of.groups * of.linear * (self.shared + self.curve * of.linear)
        return self.LEVEL + shared + own + (0.5 * self.pair) * (own**2 - squares)

    @property
    def terms(self) -> tuple[float, ...]:
        """All that `covariance` depends on, beside the sizes."""
        return self.shared, self.curve, self.bond, self.pair

    def changed(self, name: str, value: float) -> Kernel:
        """This kernel with one of its numbers replaced."""
        numbers: dict[str, Any] = {name: value}
        return replace(self, **numbers)

    def prior_variance(self, space: ChoiceSpace, rows: Rows) -> Floats:
        """Variance of each plan without the noise, [n]: the covariance's diagonal."""
        sizes = self.sizes[rows + space.offsets]
        own = (sizes**2).sum(axis=1)
        linear = sizes.mean(axis=1) ** 2
        pairs = 0.5 * (own**2 - (sizes**4).sum(axis=1))
        shared = len(space.names) * linear * (self.shared + self.curve * linear)
        variance: Floats = self.LEVEL + shared + own + self.pair * pairs
        return variance


def swap_variance(space: ChoiceSpace, kernel: Kernel, rows: Rows, plan: Rows) -> Floats:
    """Prior variance of what each single swap of `plan` changes, [columns]; `rows` are the swaps."""
    own = kernel.prior_variance(space, rows)
    at = kernel.prior_variance(space, plan[None])
    cross = kernel.covariance(swap_grams(space, kernel.sizes, plan[None], plan))[0]
    changes: Floats = np.maximum(own + at - 2.0 * cross, 0.0)
    return changes
