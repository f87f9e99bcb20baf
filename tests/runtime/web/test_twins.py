"""What is written in JavaScript, too, decides as Python does: policies, rules, schedules, generations."""

import json
import random
import re

import numpy as np
import pytest

from hwsearch.commit.catalog import POLICIES
from hwsearch.decoding.backend import Prediction
from hwsearch.decoding.committing.schedule import quotas_of, shares_of
from hwsearch.decoding.kept import STATIC_RULES, KeptShares, StaticScores
from hwsearch.decoding.rules import PositionKeeper
from hwsearch.decoding.sampler import generation
from hwsearch.plan import CachePolicy, CacheRule, CommitRule, Decoding
from hwsearch.testing.commit_policy import one_of, random_candidates
from tests.runtime.web.node import HERE, answers, run

#: By chance, which is numpy's.
DRAWN = (CommitRule.RANDOM, CommitRule.ORIGIN)
VARIANTS = [
    {},
    {"factor": 3.0},
    {"threshold": 0.5},
    {"threshold": 0.7, "decay": 0.9},
    {"bound": 0.5},
    {"divergence": 0.02},
    {"low": 0.1},
]


def policies():
    """Every policy, with its own numbers and with others."""
    for policy in POLICIES.values():
        for changes in VARIANTS:
            if changes.keys() <= policy.model_fields.keys():
                yield policy(**changes)


def test_every_policy_commits_the_same_masks():
    cases, expected = [], []
    for policy in policies():
        candidates = [one_of(random_candidates(seed), 0) for seed in range(60)]
        told = [
            {
                "masked": one.masked[0].tolist(),
                "confidence": one.confidence[0].tolist(),
                "maskedShare": float(one.masked_share[0]),
                "entropy": one.entropy[0].tolist(),
                "divergences": one.divergences[: policy.needs_divergences, 0].tolist(),
            }
            for one in candidates
        ]
        cases.append({"policy": policy.model_dump(), "candidates": told})
        committed = []
        for one in candidates:
            object.__setattr__(one, "divergences", one.divergences[: policy.needs_divergences])
            committed.append(policy.commit(one)[0].tolist())
        expected.append(committed)
    assert {case["policy"]["policy"] for case in cases} == POLICIES.keys()
    for case, found, right in zip(cases, answers("policies", cases), expected, strict=True):
        assert found == right, case["policy"]


def keeper_cases():
    """Generations of refreshes and advances, some of which show more of the sequence than before."""
    rng = np.random.default_rng(0)
    static = StaticScores(first=(tuple(rng.random(4)),), from_end=(tuple(rng.random(12)),))
    running = [(rule, True) for rule in CacheRule if rule is not CacheRule.RANDOM]
    for rule, is_running in [*running, *((rule, False) for rule in STATIC_RULES)]:
        for _ in range(12):
            policy = CachePolicy(
                rule=rule,
                running=is_running,
                early_scale=float(rng.choice([1.0, 1.3])),
                late_scale=float(rng.choice([1.0, 0.4])),
            )
            kept = KeptShares((float(rng.uniform(0.05, 0.95)),), policy, 5, static)
            yield kept, list(events(rng))


def events(rng):
    """Whether a block begins with a refresh, what it shows, and where it is."""
    length = int(rng.integers(14, 24))
    for index in range(6):
        length += int(rng.integers(0, 3)) if index % 2 else 0
        # of few distinct values, so that there are ties
        signal = rng.integers(0, 7, length) / 8 if index % 3 else rng.exponential(1, length)
        start = int(rng.integers(2, length - 6))
        is_refresh = index == 0 or rng.random() < 0.7
        yield (signal.astype(np.float32) if is_refresh else None), length, start, start + 4, 2


def test_every_rule_keeps_the_same_positions():
    cases, expected = [], []
    for kept, happened in keeper_cases():
        keeper, chosen = PositionKeeper(kept, 0), []
        for signal, length, start, stop, tail in happened:
            if signal is None:
                keeper.advance(length, tail)
            else:
                keeper.see((1, length), signal[None], tail)
            chosen.append(keeper.choose((1, length), start, stop)[0].tolist())
        expected.append(chosen)
        told = [
            {
                "signal": None if signal is None else signal.tolist(),
                **{"length": length, "start": start, "stop": stop, "tail": tail},
            }
            for signal, length, start, stop, tail in happened
        ]
        cases.append(
            {
                "kept": {
                    "shares": kept.shares,
                    "policy": kept.policy.model_dump(mode="json"),
                    "refreshes": kept.refreshes,
                    "scores": kept.static.model_dump(mode="json"),
                },
                "layer": 0,
                "events": told,
            }
        )
    for case, found, right in zip(cases, answers("keepers", cases), expected, strict=True):
        assert found == right, case["kept"]["policy"]


def test_schedules_write_as_many_tokens_in_each_pass():
    decodings = [
        Decoding(gen_length=blocks * length, block_length=length, steps=blocks * steps, **rest)
        for rule in CommitRule
        if rule not in DRAWN
        for blocks, length, steps in [(1, 64, 64), (2, 32, 7), (4, 8, 3), (1, 5, 1), (3, 20, 13)]
        for rest in [{"refresh_interval": 4, "rule": rule}]
    ]
    cases = [decoding.model_dump(mode="json") for decoding in decodings]
    for decoding, found in zip(decodings, answers("schedules", cases), strict=True):
        assert found["quotas"] == quotas_of(decoding), decoding
        assert found["shares"] == shares_of(decoding)
        assert found["refreshes"] == decoding.refreshes


MASK, END = 0, 7


class Table:
    """Predicts what stands in a table, whatever it is asked; keeps what that was."""

    def __init__(self, predictions):
        self.predictions, self.asked = predictions, []

    def begin(self, **_):
        pass

    def refresh(self, tokens, start, stop, *scope):
        return self._answer("refresh", tokens, start, stop, scope)

    def step(self, tokens, start, stop, *scope):
        return self._answer("step", tokens, start, stop, scope)

    def _answer(self, kind, tokens, start, stop, scope):
        found = self.predictions[len(self.asked)]
        told = None
        if scope:
            places = scope[0].positions
            told = {
                "rows": list(scope[0].rows),
                "store": scope[0].store,
                "positions": None if places is None else places.tolist(),
                "tail": scope[0].tail,
            }
        self.asked.append([kind, start, stop, told, tokens[0].tolist()])
        floats = {
            name: np.array([found[name]], np.float32)
            for name in ("confidence", "entropy", "divergence")
        }
        return Prediction(np.array([found["tokens"]]), **floats)


def drawn_decoding(rng):
    """Any decoding that leaves nothing to chance."""
    block = rng.choice([4, 8])
    fields = {
        "gen_length": block * rng.choice([1, 2, 3]),
        "block_length": block,
        "refresh_interval": rng.choice([1, 2, 3, block]),
        "stop_at_end": rng.random() < 0.5,
    }
    window = {"before": rng.choice([0, 3]), "after": rng.choice([0, 0, 2, None])}
    window["advance"] = rng.random() < 0.4
    if rng.random() < 0.7:
        fields["commit"] = {"policy": rng.choice(sorted(POLICIES))}
        looks_back = fields["commit"]["policy"] in ("kl-stable", "credit")
        window["slide"] = not looks_back and rng.random() < 0.4
    else:
        fields["rule"] = rng.choice([rule.value for rule in CommitRule if rule not in DRAWN])
        fields["steps"] = fields["gen_length"] // block * rng.choice([1, 3, block])
    if rng.random() < 0.6:
        fields["window"] = window
    if rng.random() < 0.4:
        fields["suffix_window"] = block + rng.choice([0, 2])
    return Decoding.model_validate(fields)


def drawn_predictions(rng, decoding):
    """One for every pass that there can be, with tokens of which some end the answer or are masks."""

    def floats(scale):
        # those of 32 bits, which both sides then read alike
        values = [rng.random() ** rng.choice([0.05, 1.0]) * scale for _ in range(block)]
        return np.array(values, np.float32).tolist()

    block = decoding.block_length
    return [
        {
            "tokens": [rng.choice([MASK, 3, 4, 5, END]) for _ in range(block)],
            **{"confidence": floats(1), "entropy": floats(0.1), "divergence": floats(0.02)},
        }
        for _ in range(decoding.gen_length + decoding.num_blocks)
    ]


def test_generations_ask_for_the_same_passes_and_write_the_same_tokens():
    rng = random.Random(0)
    cases, expected = [], []
    for _ in range(300):
        decoding = drawn_decoding(rng)
        prompt, suffix = [9] * rng.choice([1, 6]), [8] * rng.choice([0, 0, 3])
        case = {
            "decoding": decoding.model_dump(mode="json"),
            "given": {"prompt": prompt, "suffix": suffix},
            **{"mask": MASK, "ends": [END, 6]},
            "predictions": drawn_predictions(rng, decoding),
        }
        backend = Table(case["predictions"])
        found = generation(
            backend,
            np.array([prompt]),
            decoding,
            MASK,
            end_tokens=case["ends"],
            suffixes=np.array([suffix], dtype=np.int64),
        )
        cases.append(case)
        expected.append(
            {
                "tokens": found.tokens[0, found.blank.place].tolist(),
                "written": found.written[0].tolist(),
                "passes": [
                    [record.call.shape.kind.value, record.call.start - len(prompt)]
                    for record in found.passes
                ],
                "asked": backend.asked,
            }
        )
    kinds = {kind for right in expected for kind, _ in right["passes"]}
    assert kinds == {"refresh", "step", "advance"}
    for case, found, right in zip(cases, answers("generations", cases), expected, strict=True):
        assert found == right, case["decoding"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rule": "random", "steps": 4}, "rule 'random' draws lots, .*known: low_confidence"),
        ({"rule": "origin", "steps": 4}, "rule 'origin' draws lots"),
        ({"temperature": 0.5, "steps": 4}, "temperature 0.5 draws tokens"),
        ({"commit": {"policy": "oracle"}, "steps": 4}, "commit policy 'oracle' is not run here"),
    ],
)
def test_what_is_left_to_chance_or_unknown_is_refused_by_name(changes, said):
    decoding = {"gen_length": 4, "block_length": 4, "refresh_interval": 1, **changes}
    _, error = run(HERE / "twin.mjs", "schedules", stdin=json.dumps([decoding]), code=1)
    assert re.search(said, error), error
