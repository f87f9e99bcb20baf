"""Choice of the warp and the kernel's numbers by marginal likelihood, on a small grid."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hwsearch.study.samplers.additive.encoding import ChoiceSpace, Floats, Rows
from hwsearch.study.samplers.additive.loss_model.gaussian_process import Posterior
from hwsearch.study.samplers.additive.loss_model.kernel import Grams, Kernel, grams
from hwsearch.study.samplers.additive.loss_model.prior import fitted_sizes, flat_sizes
from hwsearch.study.samplers.additive.loss_model.prior_mean import PriorMean
from hwsearch.study.samplers.additive.loss_model.warp import Warp

BENDS = (0.0, 1.5, -1.5, -4.0)
ROUNDS = 9  # of learning the sizes and then the kernel's other numbers, each given the other
GRID: dict[str, tuple[float, ...]] = {
    "pair": (0.0, 0.01, 0.1, 1.0, 10.0),
    "curve": (0.01, 0.3),
    "bond": (0.3, 0.8, 0.95),
    "noise": (1e-6, 1e-4, 1e-2),
    "relative": (0.0, 1e-3, 1e-2, 1e-1),
}
TRUSTS = (0.0, 0.25, 0.5, 0.71, 1.0, 1.41, 2.0, 4.0)  # factors of expected losses


@dataclass(frozen=True)
class Tuning:
    """What the likelihood chose.

    Attributes:
        bend: of the warp.
        kernel: the kernel.
        scale: variance scale that goes with it.
        trust: factor of the losses that were expected before any trial.
    """

    bend: float
    kernel: Kernel
    scale: float = 1.0
    trust: float = 1.0


def tune(
    space: ChoiceSpace,
    rows: Rows,
    losses: Floats,
    spread: Floats,
    prior: PriorMean | None = None,
) -> Tuning:
    """The warp and kernel most likely to have produced `losses` [n] of the plans `rows`.

    Prior sizes come from an additive fit that knows none, then one pass of coordinate search over
    the other numbers, and both again and again: a choice that no trial has told apart begins as
    large as any, and only sizes learned from sizes learned before (expectation maximisation) tell
    that what all choices of its kind cost together leaves it little. With two rounds the model
    doubts cheap plans by several times what they turn out to lose.

    `spread` is the standard deviation of each loss; what it means in units of the scale is taken
    from the fit before. With a `prior` mean, sizes are those of what departs from it.
    """
    sizes = flat_sizes(space) if prior is None else prior.sizes(space)
    choice = Tuning(0.0, Kernel(sizes, pair=0.0))
    noise = None
    for _ in range(ROUNDS):
        warp = Warp.over(losses, choice.bend)
        mean = expected_effects(prior, warp, choice.trust)
        posterior = Posterior.fit(
            space, choice.kernel, rows, warp.forward(losses), mean_effects=mean, noise=noise
        )
        effects, error = posterior.swaps_at(space.reference_row)
        effects = effects if mean is None else effects - mean
        kernel = replace(choice.kernel, sizes=fitted_sizes(space, effects, error))
        noise = warp.spread(losses, spread) ** 2 / posterior.scale
        blocks = grams(space, kernel.sizes, rows, rows)
        search = _Search(space, rows, losses, blocks, noise, prior)
        choice = search.run(replace(choice, kernel=kernel))
    return replace(choice, scale=search.posterior(choice).scale)


def expected_effects(prior: PriorMean | None, warp: Warp, trust: float) -> Floats | None:
    """Mean effects of a prior; None without one."""
    return None if prior is None else prior.effects(warp, trust)


def tune_additive(space: ChoiceSpace, rows: Rows, values: Floats) -> Kernel:
    """A kernel without pairs, for quantities known to be additive: latency, bytes, energy."""
    kernel = Kernel(flat_sizes(space), curve=0.0, pair=0.0, noise=1e-5)
    z = Warp.over(values, 0.0).forward(values)
    effects, spread = Posterior.fit(space, kernel, rows, z).swaps_at(space.reference_row)
    return replace(kernel, sizes=fitted_sizes(space, effects, spread))


@dataclass(frozen=True)
class _Warped:
    """Losses by one warp, and the sum of its `log_slope` at them."""

    warp: Warp
    values: Floats
    slope: float


@dataclass(frozen=True)
class _Search:
    """Coordinate search over `BENDS`, `GRID` and `TRUSTS` for one set of trials and prior sizes.

    Most options share a warp or a covariance with one before: each is computed once.
    """

    space: ChoiceSpace
    rows: Rows
    losses: Floats
    blocks: Grams
    noise: Floats
    prior: PriorMean | None = None
    warped: dict[float, _Warped] = field(default_factory=dict)
    covariances: dict[tuple[float, ...], Floats] = field(default_factory=dict)

    def run(self, start: Tuning) -> Tuning:
        best, best_score = start, self.score(start)
        trust = () if self.prior is None else ("trust",)
        for name in ("bend", *trust, *GRID):
            for option in _options(best, name):
                score = self.score(option)
                if score > best_score:
                    best, best_score = option, score
        return best

    def score(self, choice: Tuning) -> float:
        """Log marginal likelihood of the losses themselves, so that warps can be compared."""
        return self.posterior(choice).log_likelihood + self._warped(choice.bend).slope

    def posterior(self, choice: Tuning) -> Posterior:
        """The fit that a choice gives."""
        warped = self._warped(choice.bend)
        return Posterior.fit(
            self.space,
            choice.kernel,
            self.rows,
            warped.values,
            mean_effects=expected_effects(self.prior, warped.warp, choice.trust),
            covariance=self._covariance(choice.kernel),
            noise=self.noise,
        )

    def _warped(self, bend: float) -> _Warped:
        if bend not in self.warped:
            warp = Warp.over(self.losses, bend)
            slope = float(warp.log_slope(self.losses).sum())
            self.warped[bend] = _Warped(warp, warp.forward(self.losses), slope)
        return self.warped[bend]

    def _covariance(self, kernel: Kernel) -> Floats:
        if kernel.terms not in self.covariances:
            self.covariances[kernel.terms] = kernel.covariance(self.blocks)
        return self.covariances[kernel.terms]


def _options(at: Tuning, name: str) -> list[Tuning]:
    if name == "bend":
        return [replace(at, bend=bend) for bend in BENDS if bend != at.bend]
    if name == "trust":
        return [replace(at, trust=trust) for trust in TRUSTS if trust != at.trust]
    kernels = [at.kernel.changed(name, v) for v in GRID[name] if v != getattr(at.kernel, name)]
    return [replace(at, kernel=kernel) for kernel in kernels]
