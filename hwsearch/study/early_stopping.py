"""Trials that stop early: what is known of a plan's loss before all frozen states were judged.

Two rules, either or both. *Wilcoxon*: a trial stops once its losses are significantly worse, state by
state, than those of the best finished trial it competes with. *Fidelity*: every trial is judged on
a share of the states first, then on twice that, and so on; it stops where its whole loss,
estimated from the finished trials, is not below its rival's. (Halving of what remains, as EvoPress
does, arXiv 2410.14649, with the rival in the place of the other candidates.)

A stopped trial is pruned in Optuna's sense. It never wins and is on no front; its estimated loss
tells the additive sampler what it is worth, with its spread.

Optuna's `WilcoxonPruner` has the same test but one objective, weighs all states alike, compares
means over different states, and has every state written to the database on its own; so the test
is made here, by the same function of scipy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import optuna
from numpy.typing import NDArray

from hwsearch.errors import InputError
from hwsearch.study.records.study import finished
from hwsearch.study.records.trial_record import ESTIMATE, SPREAD, TrialRecord, update_trial
from hwsearch.tasks.losses import GradualLoss, Loss
from hwsearch.tasks.losses.by_state import StateLoss

Floats = NDArray[np.float64]
Pruner = Literal["none", "wilcoxon"]

#: States before the first test, and the p value below which a trial is worse.
LEAST_STATES, P_VALUE = 5, 0.05

#: Finished trials before a loss is estimated, and the nearest ones that it is estimated from.
LEAST_PEERS, NEAREST = 4, 16

#: Standard deviations that an estimate must lie above the rival's loss for a trial to stop.
CAUTION = 1.0

#: Least standard deviation of the logarithm of an estimate.
FLOOR = 0.01


@dataclass(frozen=True)
class EarlyStopping:
    """When a trial need not go on.

    The idea: a plan that is clearly worse than the best one on some of the states need not be judged
    on the others. After each state (``wilcoxon``), or at shares of the work that double (`fidelity`),
    its losses are held against those of the finished trial it competes with: the best of one
    objective, or the best that costs no more of two. It stops where a signed-rank test says that it
    is worse (Wilcoxon 1945), or where its whole loss, estimated from finished trials that lost as
    much so far, lies a standard deviation above its rival's.

    Limits: tests after every state are not corrected for their number, so a good plan is stopped now
    and then; uniform plans, which others are held against, never are. Only losses that are computed
    state by state can be watched.

    Attributes:
        pruner: ``wilcoxon``, or ``none``.
        fidelity: share of the work after which a trial is first judged; 1 does not.

    Raises:
        InputError: the share is not above 0 and at most 1.
    """

    pruner: Pruner = "none"
    fidelity: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 < self.fidelity <= 1.0:
            raise InputError(f"fidelity must be above 0 and at most 1; got {self.fidelity}")

    @property
    def never(self) -> bool:
        """Whether no trial can stop early."""
        return self.pruner == "none" and self.fidelity == 1.0

    def check(self, loss_function: Loss) -> None:
        """Raise `InputError` if a loss cannot be watched."""
        if not self.never and not isinstance(loss_function, GradualLoss):
            raise InputError(
                f"loss {loss_function.name!r} is not computed state by state (it has no by_state), so no "
                'trial can stop early; leave pruner = "none" and fidelity = 1'
            )

    def judge(self, trial: optuna.Trial, running: RunningTrial, work: float) -> float:
        """The whole loss of a trial's plan.

        Args:
            trial: gets the states' losses, and an estimate if it is stopped, as attributes.
            running: its plan.
            work: work of all states.

        Raises:
            optuna.TrialPruned: the plan cannot win.
        """
        peers = peers_of(trial.study)
        judged, share, reason = self._watch(running, peers, work)
        update_trial(trial, state_losses=[known.loss for known in judged])
        if reason is None:
            return judged[-1].so_far
        update_trial(trial, judged_share=share, **self.estimate_attributes(judged, running, peers))
        raise optuna.TrialPruned(f"{reason} after {share:.0%} of the work")

    def _watch(
        self, running: RunningTrial, peers: Sequence[Peer], work: float
    ) -> tuple[list[StateLoss], float, str | None]:
        """States judged, the share of the work that they were, and why no more are."""
        rival = running.rival(peers)
        judged: list[StateLoss] = []
        rung, share = self.fidelity, 0.0
        for state in running.states:
            judged.append(state)
            share += state.work / work
            if not math.isfinite(state.so_far):
                return judged, share, None  # nothing that follows makes it a number again
            if running.protected or share > 1 - 1e-9:
                continue
            if self.pruner == "wilcoxon" and rival is not None and is_worse(judged, rival):
                return judged, share, f"significantly worse than trial {rival.number}"
            if share >= rung:
                rung = next(higher for higher in _doubled(rung) if higher > share)
                reason = _screened(judged, running, rival, peers)
                if reason is not None:
                    return judged, share, reason
        return judged, share, None

    def estimate_attributes(
        self, judged: Sequence[StateLoss], running: RunningTrial, peers: Sequence[Peer]
    ) -> dict[str, Any]:
        """What the sampler learns of a stopped trial: its estimate, if there is one."""
        found = estimate(judged, peers)
        if found is None:
            return {}
        return {ESTIMATE: running.values(found.loss), SPREAD: found.spread}


#: Every trial goes to its end.
NEVER = EarlyStopping()


@dataclass(frozen=True)
class RunningTrial:
    """A plan whose loss is being computed.

    Attributes:
        states: its loss, state by state.
        feasible: whether it keeps all limits.
        values: a trial's values, given its loss.
        protected: whether its loss must be known whole.
    """

    states: Iterator[StateLoss]
    feasible: bool
    values: Callable[[float], list[float]]
    protected: bool = False

    def rival(self, peers: Sequence[Peer]) -> Peer | None:
        """The finished trial that it must beat, None where it competes with none.

        With one objective, the best within all limits. With two, the best that costs no more.
        """
        if not self.feasible:
            return None
        costs = self.values(0.0)[1:]
        beats = [
            peer
            for peer in peers
            if peer.feasible and all(a <= b for a, b in zip(peer.costs, costs, strict=True))
        ]
        return min(beats, key=lambda peer: peer.loss, default=None)


@dataclass(frozen=True, eq=False)
class Peer:
    """A finished trial whose states' losses are known.

    Attributes:
        number: of the trial.
        losses: mean loss of each state, [states].
        loss: the whole.
        costs: its further values.
        feasible: whether it kept all limits.
    """

    number: int
    losses: Floats
    loss: float
    costs: tuple[float, ...]
    feasible: bool


@dataclass(frozen=True)
class Estimate:
    """A whole loss guessed from some states, and its standard deviation."""

    loss: float
    spread: float


def peers_of(study: optuna.Study) -> list[Peer]:
    """Every finished trial of a study whose states' losses are known."""
    return [
        Peer(
            trial.number,
            np.array(losses),
            trial.values[0],
            tuple(trial.values[1:]),
            all(over <= 0 for over in trial.constraints.values()),
        )
        for trial in finished(study)
        if (losses := TrialRecord.of(trial).state_losses) is not None
    ]


def is_worse(judged: Sequence[StateLoss], rival: Peer, p_value: float = P_VALUE) -> bool:
    """Whether the states so far say that a plan loses more than its rival.

    Wilcoxon's signed-rank test on the states' differences, one-sided. It ranks them and so may
    go against the means, which are what counts: then the answer is no. Tests after every state
    are not corrected for their number.
    """
    from scipy.stats import wilcoxon

    count = len(judged)
    if count < LEAST_STATES or len(rival.losses) < count:
        return False
    losses, theirs = np.array([state.loss for state in judged]), rival.losses[:count]
    if judged[-1].so_far <= _mean(theirs, judged):
        return False
    test = wilcoxon(losses - theirs, alternative="greater", zero_method="zsplit")
    return float(test.pvalue) < p_value


def estimate(judged: Sequence[StateLoss], peers: Sequence[Peer]) -> Estimate | None:
    """The whole loss, if it is to the states so far as finished trials' are to theirs.

    Ratios are taken from the trials that lose about as much on these states; their spread is the
    estimate's. None with too few trials, or where nothing is lost so far.
    """
    count, here = len(judged), judged[-1].so_far
    known = [p for p in peers if len(p.losses) >= count and p.loss > 0]
    parts = np.array([_mean(p.losses[:count], judged) for p in known])
    usable = parts > 0
    if here <= 0 or usable.sum() < LEAST_PEERS:
        return None
    parts, wholes = np.log(parts[usable]), np.log(np.array([p.loss for p in known])[usable])
    near = np.argsort(np.abs(parts - math.log(here)), kind="stable")[:NEAREST]
    ratios = (wholes - parts)[near]
    loss = here * math.exp(float(ratios.mean()))
    spread = float(ratios.std(ddof=1)) * math.sqrt(1 + 1 / len(ratios))
    return Estimate(loss, loss * max(spread, FLOOR))


def _screened(
    judged: Sequence[StateLoss], running: RunningTrial, rival: Peer | None, peers: Sequence[Peer]
) -> str | None:
    """Why a trial stops at a rung; None if it goes on."""
    found = estimate(judged, peers)
    if found is None:
        return None
    if not running.feasible:
        return f"over a limit, its loss estimated at {found.loss:z.5f}"
    if rival is not None and found.loss - CAUTION * found.spread > rival.loss:
        return f"estimated at {found.loss:z.5f} where trial {rival.number} has {rival.loss:z.5f}"
    return None


def _mean(losses: Floats, judged: Sequence[StateLoss]) -> float:
    """Mean of some states' losses by the weights of those judged."""
    return float(np.average(losses, weights=[state.weight for state in judged]))


def _doubled(rung: float) -> Iterator[float]:
    while True:
        yield rung
        rung *= 2
