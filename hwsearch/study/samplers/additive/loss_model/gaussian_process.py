"""The loss model: a Gaussian process whose kernel is additive over parameters, plus pairs.

With ``s`` the prior sizes of the choices (0 at the reference), the loss of a plan ``x`` is

    level + shared · S(x) + curve · S(x)² + Σ_g effect_g(x_g) + Σ_{g<h} pair_gh(x_g, x_h),

``S(x) = mean_g s_g(x_g)``; all terms are Gaussian a priori, so the posterior is exact. The pair
term costs no more than the additive one (an elementary symmetric polynomial of the kernels:
Duvenaud et al. 2011, "Additive Gaussian Processes", eq. 9).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, solve_triangular

from hwsearch.study.samplers.additive.encoding import ChoiceSpace, Floats, Rows
from hwsearch.study.samplers.additive.loss_model.kernel import (
    Kernel,
    grams,
    swap_grams,
    swap_variance,
)


@dataclass(frozen=True)
class Posterior:
    """A kernel conditioned on finished trials.

    Attributes:
        space: the plans.
        kernel: the prior.
        rows: plans of the trials, [n, groups].
        mean_effects: prior mean of each column, [columns].
        level: prior mean of every plan.
        factor: lower Cholesky factor of the trials' covariance, [n, n].
        weights: covariance⁻¹ · residuals, [n].
        scale: analytic variance scale.
        noise: variance of each value, beside the kernel's, in units of the scale, [n].
        rate: variance that no term explains per squared value, in units of the scale.
        log_likelihood: log marginal likelihood, up to a constant.
    """

    space: ChoiceSpace
    kernel: Kernel
    rows: Rows
    mean_effects: Floats
    level: float
    factor: Floats
    weights: Floats
    scale: float
    noise: Floats
    rate: float
    log_likelihood: float

    @classmethod
    def fit(
        cls,
        space: ChoiceSpace,
        kernel: Kernel,
        rows: Rows,
        z: Floats,
        *,
        mean_effects: Floats | None = None,
        covariance: Floats | None = None,
        noise: Floats | None = None,
    ) -> Posterior:
        """Condition on values `z` [n] of the plans `rows` [n, groups].

        `covariance` is the kernel's of the rows, for callers that fit one to many values; `noise` is the
        further variance of each value, in units of the scale, [n].
        """
        noise = np.zeros(len(z)) if noise is None else noise
        prior = np.zeros(space.columns) if mean_effects is None else mean_effects
        residual = z - space.total(rows, prior)
        level = float(residual.mean())
        if covariance is None:
            covariance = kernel.covariance(grams(space, kernel.sizes, rows, rows))
        else:
            covariance = covariance.copy()
        typical = covariance.trace() / len(z) - kernel.LEVEL
        rate = kernel.relative * float(typical / (z @ z / len(z) + 1e-12))
        covariance.flat[:: len(z) + 1] += kernel.noise + 1e-8 + noise + rate * z**2  # its diagonal
        factor = np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)
        weights = np.asarray(
            cho_solve((factor, True), residual - level, check_finite=False), dtype=np.float64
        )
        fit = float((residual - level) @ weights)
        scale = max((fit + 1e-6) / len(z), 1e-18)
        likelihood = -0.5 * len(z) * np.log(scale) - float(np.log(np.diag(factor)).sum())
        return cls(
            space, kernel, rows, prior, level, factor, weights, scale, noise, rate, likelihood
        )

    def predict(self, rows: Rows) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the plans' values, [n] each."""
        cross, inner = self._cross(rows)
        prior = self.kernel.prior_variance(self.space, rows)
        mean = self._mean(rows, cross)
        unexplained = np.maximum(prior - (inner**2).sum(axis=0), 1e-12) + self.rate * mean**2
        return mean, np.sqrt(unexplained * self.scale)

    def predict_swaps(self, plan: Rows) -> tuple[Floats, Floats]:
        """`predict` for every single swap of `plan`, [columns] each; far cheaper."""
        rows = swap_rows(self.space, plan)
        cross = self.kernel.covariance(swap_grams(self.space, self.kernel.sizes, self.rows, plan))
        inner = solve_triangular(self.factor, cross, lower=True, check_finite=False)
        prior = self.kernel.prior_variance(self.space, rows)
        mean = self._mean(rows, cross)
        unexplained = np.maximum(prior - (inner**2).sum(axis=0), 1e-12) + self.rate * mean**2
        return mean, np.sqrt(unexplained * self.scale)

    def swaps_at(self, plan: Rows) -> tuple[Floats, Floats]:
        """What each column changes when it replaces `plan`'s choice.

        Returns:
            Mean and standard deviation of the difference, [columns] each.
        """
        rows = swap_rows(self.space, plan)
        cross = self.kernel.covariance(swap_grams(self.space, self.kernel.sizes, self.rows, plan))
        mean = self._mean(rows, cross)
        kept = int(plan[0] + self.space.offsets[0])  # swapping in what is there changes nothing
        inner = solve_triangular(
            self.factor, cross - cross[:, kept : kept + 1], lower=True, check_finite=False
        )
        prior = swap_variance(self.space, self.kernel, rows, plan)
        spread = np.sqrt(np.maximum(prior - (inner**2).sum(axis=0), 0.0) * self.scale)
        return mean - mean[kept], spread

    def _cross(self, rows: Rows) -> tuple[Floats, Floats]:
        cross = self.kernel.covariance(grams(self.space, self.kernel.sizes, self.rows, rows))
        return cross, solve_triangular(self.factor, cross, lower=True, check_finite=False)

    def _mean(self, rows: Rows, cross: Floats) -> Floats:
        return self.level + self.space.total(rows, self.mean_effects) + self.weights @ cross


def swap_rows(space: ChoiceSpace, plan: Rows) -> Rows:
    """`plan` with one choice replaced, one row for each column, [columns, groups]."""
    rows = np.repeat(plan[None], space.columns, axis=0)
    rows[np.arange(space.columns), space.group_of] = space.choice_of
    return rows
