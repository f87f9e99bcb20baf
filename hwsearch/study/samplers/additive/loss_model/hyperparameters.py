"""Choice of the warp and the kernel's numbers by marginal likelihood, on a small grid."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hwsearch.study.samplers.additive.encoding import ChoiceSpace, Floats, Rows
from hwsearch.study.samplers.additive.loss_model.gaussian_process import Posterior
from hwsearch.study.samplers.additive.loss_model.kernel import Grams, Kernel, grams
from hwsearch.study.samplers.additive.loss_model.prior import fitted_sizes, flat_sizes
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


@dataclass(frozen=True)
class Tuning:
    """What the likelihood chose: the warp's bend, the kernel, and the scale it goes with."""

    bend: float
    kernel: Kernel
    scale: float = 1.0


def tune(space: ChoiceSpace, rows: Rows, losses: Floats, spread: Floats) -> Tuning:
    """The warp and kernel most likely to have produced `losses` [n] of the plans `rows`.

    Prior sizes come from an additive fit that knows none, then one pass of coordinate search over
    the other numbers, and both again and again: a choice that no trial has told apart begins as
    large as any, and only sizes learned from sizes learned before (expectation maximisation) tell
    that what all choices of its kind cost together leaves it little. With two rounds the model
    doubts cheap plans by several times what they turn out to lose.

    `spread` is the standard deviation of each loss; what it means in units of the scale is taken
    from the fit before.
    """
    choice = Tuning(0.0, Kernel(flat_sizes(space), pair=0.0))
    noise = None
    for _ in range(ROUNDS):
        warp = Warp.over(losses, choice.bend)
        posterior = Posterior.fit(space, choice.kernel, rows, warp.forward(losses), noise=noise)
        effects, error = posterior.swaps_at(space.reference_row)
        kernel = replace(choice.kernel, sizes=fitted_sizes(space, effects, error))
        noise = warp.spread(losses, spread) ** 2 / posterior.scale
        blocks = grams(space, kernel.sizes, rows, rows)
        search = _Search(space, rows, losses, blocks, noise)
        choice = search.run(replace(choice, kernel=kernel))
    return replace(choice, scale=search.posterior(choice).scale)


def tune_additive(space: ChoiceSpace, rows: Rows, values: Floats) -> Kernel:
    """A kernel without pairs, for quantities known to be additive: latency, bytes, energy."""
    kernel = Kernel(flat_sizes(space), curve=0.0, pair=0.0, noise=1e-5)
    z = Warp.over(values, 0.0).forward(values)
    effects, spread = Posterior.fit(space, kernel, rows, z).swaps_at(space.reference_row)
    return replace(kernel, sizes=fitted_sizes(space, effects, spread))


@dataclass(frozen=True)
class _Search:
    """Coordinate search over `BENDS` and `GRID` for one set of trials and prior sizes."""

    space: ChoiceSpace
    rows: Rows
    losses: Floats
    blocks: Grams
    noise: Floats

    def run(self, start: Tuning) -> Tuning:
        best, best_score = start, self.score(start)
        for name in ("bend", *GRID):
            for option in _options(best, name):
                score = self.score(option)
                if score > best_score:
                    best, best_score = option, score
        return best

    def score(self, choice: Tuning) -> float:
        """Log marginal likelihood of the losses themselves, so that warps can be compared."""
        warp = Warp.over(self.losses, choice.bend)
        slope = float(warp.log_slope(self.losses).sum())
        return self.posterior(choice).log_likelihood + slope

    def posterior(self, choice: Tuning) -> Posterior:
        """The fit that a choice gives."""
        z = Warp.over(self.losses, choice.bend).forward(self.losses)
        return Posterior.fit(
            self.space, choice.kernel, self.rows, z, blocks=self.blocks, noise=self.noise
        )


def _options(at: Tuning, name: str) -> list[Tuning]:
    if name == "bend":
        return [replace(at, bend=bend) for bend in BENDS if bend != at.bend]
    kernels = [at.kernel.changed(name, v) for v in GRID[name] if v != getattr(at.kernel, name)]
    return [replace(at, kernel=kernel) for kernel in kernels]
