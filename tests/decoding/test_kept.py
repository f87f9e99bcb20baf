"""A plan's kept shares as values: refused where they are none, and all that depends on them."""

import itertools

import pytest

from hwsearch.decoding.kept import (
    MASS_RULES,
    STATIC_RULES,
    KeptPlan,
    KeptShares,
    Signal,
    StaticScores,
    signal_of,
)
from hwsearch.errors import PlanError
from hwsearch.plan import CachePolicy, CacheRule, CompressionPlan

STATIC = StaticScores(first=((),) * 2, from_end=((0.0,),) * 2)
POLICIES = [
    CachePolicy(rule=rule, running=running)
    for rule, running in itertools.product(CacheRule, (True, False))
    if running or rule in STATIC_RULES
]


@pytest.mark.parametrize("share", [0.0, -0.1, 1.0001, float("nan")])
@pytest.mark.parametrize("layer", [0, 1])
def test_a_share_is_above_none_and_at_most_all(share, layer):
    shares = [1.0, 1.0]
    shares[layer] = share
    with pytest.raises(PlanError, match=f"layer {layer}: kept share must be above 0 and at most 1"):
        KeptShares(tuple(shares))


@pytest.mark.parametrize("shares", [(), (1.0,), (0.5,) * 3])
def test_a_plan_goes_with_as_many_shares_as_it_has_layers(shares):
    with pytest.raises(PlanError, match=f"{len(shares)} entries but the plan 2 layers"):
        KeptPlan(CompressionPlan.uniform(2), KeptShares(shares))


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_a_refresh_hands_one_signal_out_to_layers_that_drop_positions(policy):
    kept = KeptShares((1.0, 0.5, 0.2), policy, static=STATIC)
    told = {signal: kept.layers_with(signal) for signal in (Signal.MASS, Signal.QUERY)}
    assert kept.signal is signal_of(policy)
    assert [signal for signal, layers in told.items() if layers] == [kept.signal] * bool(
        kept.signal
    )
    assert set().union(*told.values()) == ({1, 2} if kept.signal else set())
    none = KeptShares((1.0,) * 3, policy)
    assert none.signal is Signal.NONE and none == KeptShares((1.0,) * 3, policy)


def test_rules_without_a_signal_look_at_places_or_at_calibrated_scores():
    silent = {(p.rule, p.running) for p in POLICIES if not signal_of(p)}
    assert silent == {(rule, False) for rule in STATIC_RULES} | {
        (CacheRule.RECENT, True),
        (CacheRule.RANDOM, True),
    }
    assert {p.rule for p in POLICIES if signal_of(p) is Signal.MASS} == set(MASS_RULES)


def test_files_spell_signals_as_they_always_did():
    assert [signal.value for signal in Signal] == ["", "mass", "query"]


def test_a_drawn_plan_keeps_by_its_own_rule_and_one_that_keeps_all_by_none():
    plan = CompressionPlan.uniform(2, cache={"rule": "recent", "late_scale": 0.5})
    drawn = KeptPlan.drawn(plan, [0.5, 1.0], refreshes=4)
    assert drawn.kept == KeptShares((0.5, 1.0), plan.cache, 4)
    assert [share for _, share in drawn.layers()] == [0.5, 1.0]
    assert [layer for layer, _ in drawn.layers()] == list(plan.layers)
    assert KeptPlan.keeping_all(plan).kept == KeptShares.keeping_all(2)
    assert hash(drawn) == hash(
        KeptPlan.drawn(plan, (0.5, 1.0), 4)
    ) and drawn != KeptPlan.keeping_all(plan)


def test_kept_shares_are_no_sequence_that_could_be_taken_for_numbers():
    with pytest.raises(TypeError):
        list(KeptShares((1.0,)))
