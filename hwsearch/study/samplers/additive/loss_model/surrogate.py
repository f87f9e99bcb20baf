"""From evidence to predictions: which trials each model is fitted to, and how."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from hwsearch.study.samplers.additive.encoding import ChoiceSpace, Floats, Rows
from hwsearch.study.samplers.additive.loss_model.gaussian_process import Posterior
from hwsearch.study.samplers.additive.loss_model.hyperparameters import (
    Tuning,
    expected_effects,
    tune_additive,
)
from hwsearch.study.samplers.additive.loss_model.prior_mean import PriorMean
from hwsearch.study.samplers.additive.loss_model.warp import Warp

FIT_LIMIT = 160  # trials the Gaussian process conditions on; the ridge fit uses them all
RIDGE = 0.01  # residual variance of the ridge fit against the prior variance of an effect


@dataclass(frozen=True)
class Surrogate:
    """A posterior and the scale it speaks in.

    Attributes:
        warp: map between losses and the posterior's scale.
        posterior: the model on the warped scale.
    """

    warp: Warp
    posterior: Posterior

    def predict(self, rows: Rows) -> tuple[Floats, Floats]:
        """Mean and standard deviation on the warped scale, [n] each."""
        return self.posterior.predict(rows)

    def mean(self, rows: Rows) -> Floats:
        """Median prediction in the quantity's own unit, [n]."""
        return self.warp.inverse(self.posterior.predict(rows)[0])


def fit_loss(
    space: ChoiceSpace,
    tuning: Tuning,
    rows: Rows,
    losses: Floats,
    *,
    chosen: Rows,
    gram: Floats,
    spread: Floats,
    prior: PriorMean | None = None,
) -> Surrogate:
    """The loss model.

    Args:
        space: the plans.
        tuning: what `tune` chose.
        rows: plans of all trials, [n, groups].
        losses: their losses, [n].
        chosen: indices of the trials to condition on exactly, at most `FIT_LIMIT`.
        gram: one-hot gram matrix of all trials, [columns, columns].
        spread: standard deviation of each loss, [n]; 0 for one that was measured whole.
        prior: what was expected before any trial.
    """
    warp = Warp.over(losses, tuning.bend)
    z = warp.forward(losses)
    mean = expected_effects(prior, warp, tuning.trust)
    if len(chosen) < len(rows):
        mean = np.zeros(space.columns) if mean is None else mean
        beyond = z - space.total(rows, mean)
        mean = mean + ridge_effects(space, tuning.kernel.sizes, rows, beyond, gram)
    noise = warp.spread(losses[chosen], spread[chosen]) ** 2 / tuning.scale
    posterior = Posterior.fit(
        space, tuning.kernel, rows[chosen], z[chosen], mean_effects=mean, noise=noise
    )
    return Surrogate(warp, posterior)


def fit_additive(space: ChoiceSpace, rows: Rows, values: Floats) -> Surrogate:
    """The model of a quantity known to be additive, on at most `FIT_LIMIT` newest trials."""
    known = np.flatnonzero(np.isfinite(values))[-FIT_LIMIT:]
    rows, values = rows[known], values[known]
    warp = Warp.over(values, 0.0)
    kernel = tune_additive(space, rows, values)
    return Surrogate(warp, Posterior.fit(space, kernel, rows, warp.forward(values)))


def believe(predictor: Surrogate, pending: Rows) -> Surrogate:
    """The predictor after plans now running come out exactly as predicted (kriging believer)."""
    if not len(pending):
        return predictor
    old = predictor.posterior
    seen = old.factor @ (old.factor.T @ old.weights)
    z_seen = seen + old.level + old.space.total(old.rows, old.mean_effects)
    rows = np.concatenate([old.rows, pending])
    z = np.concatenate([z_seen, old.predict(pending)[0]])
    noise = np.concatenate([old.noise, np.zeros(len(pending))])
    posterior = Posterior.fit(
        old.space, old.kernel, rows, z, mean_effects=old.mean_effects, noise=noise
    )
    return Surrogate(predictor.warp, posterior)


def ridge_effects(space: ChoiceSpace, sizes: Floats, rows: Rows, z: Floats, gram: Floats) -> Floats:
    """Additive effects by ridge regression on every trial, from sufficient statistics.

    Effects are shrunk towards 0 in proportion to their prior `sizes`; the level is free.

    Returns:
        Effect of each column, 0 at the reference, [columns].
    """
    target = np.bincount(
        (rows + space.offsets).ravel(),
        weights=np.repeat(z - z.mean(), rows.shape[1]),
        minlength=space.columns,
    )
    share = np.diag(gram) / len(rows)
    centred = gram - len(rows) * np.outer(share, share)
    system = sizes[:, None] * centred * sizes
    system[np.diag_indices_from(system)] += RIDGE
    factor = cho_factor(system, lower=True, overwrite_a=True, check_finite=False)
    return sizes * cho_solve(factor, sizes * target, check_finite=False)
