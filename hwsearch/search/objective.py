"""One trial: a plan in, its loss and its predicted latency out."""

from __future__ import annotations

from dataclasses import dataclass

import optuna

from hwsearch.compression import WeightBank, compress
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.latency.predict import Latency, Predictor
from hwsearch.plan import CompressionPlan
from hwsearch.search.samplers import LATENCY, Known
from hwsearch.search.space import SearchSpace
from hwsearch.sinks import SinkProfile
from hwsearch.tasks.proxies import Proxy


@dataclass(frozen=True, eq=False)
class Objective:
    """Callable for `optuna.Study.optimize`; everything that trials share is made beforehand.

    Attributes:
        denoiser: the uncompressed model.
        space: the choices.
        predictor: milliseconds of a plan.
        sinks: kept shares of a plan.
        proxy: the loss.
        bank: modules quantised so far.
        target_ms: predicted generation time that a plan may not exceed.
    """

    denoiser: Denoiser
    space: SearchSpace
    predictor: Predictor
    sinks: SinkProfile
    proxy: Proxy
    bank: WeightBank
    target_ms: float

    def __call__(self, trial: optuna.Trial) -> float:
        """Loss of the trial's plan; latency goes into its constraint and attributes."""
        plan = self.space.suggest(trial)
        latency = self.latency(plan)
        trial.set_constraint(LATENCY, latency.generation_ms - self.target_ms)
        trial.set_user_attr("generation_ms", latency.generation_ms)
        trial.set_user_attr("refresh_ms", latency.refresh_ms)
        trial.set_user_attr("step_ms", latency.step_ms)
        trial.set_user_attr("size_bytes", size_bytes(self.denoiser, plan))
        return self.loss(plan)

    def latency(self, plan: CompressionPlan) -> Latency:
        """Predicted times of a plan."""
        return self.predictor.predict(plan, self.sinks.kept_shares(plan))

    def loss(self, plan: CompressionPlan) -> float:
        """Loss of a plan by the proxy, in the proxy's own unit."""
        compressed = compress(self.denoiser, plan, self.bank)
        return self.proxy.loss(compressed.network, self.sinks.kept_shares(plan))

    def costs(self) -> dict[str, dict[object, float]]:
        """What each choice of each parameter adds to the generation time, in milliseconds.

        Added to the time of the plan of first choices. Exact: a pass is a sum over
        layers, and a layer is a sum over threshold, attention format and mlp format.
        """
        parameters = self.space.parameters()
        first = {name: choices[0] for name, choices in parameters.items()}
        base = self._first_ms()
        return {
            name: {
                choice: self.latency(self.space.plan({**first, name: choice})).generation_ms - base
                for choice in choices
            }
            for name, choices in parameters.items()
        }

    def budget_ms(self) -> float:
        """Milliseconds that the choices of a plan may add together, on the scale of `costs`."""
        return self.target_ms - self._first_ms()

    def known(self) -> Known:
        """What a sampler may know before the first trial."""
        return Known(self.space.distributions(), self.costs(), self.budget_ms())

    def _first_ms(self) -> float:
        first = {name: choices[0] for name, choices in self.space.parameters().items()}
        return self.latency(self.space.plan(first)).generation_ms


def size_bytes(denoiser: Denoiser, plan: CompressionPlan) -> int:
    """Bytes of a plan's weights: codes and scales of the linears, float32 for the rest."""
    return denoiser.plan_bytes(plan)
