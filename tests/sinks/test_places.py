"""Sinks planted where a test knows them, found by name."""

from __future__ import annotations

import numpy as np
import pytest

from hwsearch.sinks import SinkRecorder
from hwsearch.sinks.places import find_places

PASSES, LAYERS, HEADS, K, ANSWER = 6, 2, 2, 2, 4
MASK, COMMA = 0, 9
#: Three prompts: two of one length, one longer; the comma stands elsewhere in each.
PROMPTS = [[5, 6, COMMA, 7, 8, 5], [6, COMMA, 8, 7, 5, 7], [7, 7, 5, 6, 8, COMMA, 5, 6, 7]]
GROUPS = [[0, 1], [2]]
WEIGHT = 11.0


def planted(where, *, pad=0, groups=GROUPS, told=True):
    """Statistics in which `where(pass, prompt)` has `WEIGHT` and all other positions 1, per head."""
    found = []
    for group in groups:
        longest = max(len(PROMPTS[index]) for index in group)
        length = pad + longest + ANSWER
        valid = np.zeros((len(group), length), dtype=bool)
        lengths = [len(PROMPTS[index]) for index in group]
        recorder = SinkRecorder(K, keep_passes=True, prompts=lengths if told else None)
        for t in range(PASSES):
            tokens = np.full((len(group), length), MASK)
            mass = np.ones((len(group), HEADS, length), dtype=np.float32)
            for row, index in enumerate(group):
                prompt = PROMPTS[index]
                first = length - len(prompt) - ANSWER
                valid[row, first:] = True
                tokens[row, first : first + len(prompt)] = prompt
                for place in where(t, prompt):
                    mass[row, :, first + place] = WEIGHT
            mass *= valid[:, None]
            for layer in range(LAYERS):
                recorder.add(layer, mass, valid if pad or longest > min(lengths) else None)
            recorder.end_pass(tokens if told else None)
        found.append(recorder.statistics())
    return found


def one(length, weight=WEIGHT):
    """Share of one position of `weight` among `length`, all others 1."""
    return weight / (weight + length - 1)


LENGTHS = [len(prompt) + ANSWER for prompt in PROMPTS]

PLANTS = {
    "first token": (lambda t, p: [0], ("start", 0), 0),
    "third token": (lambda t, p: [2], ("start", 2), 2),
    "last of the prompt": (lambda t, p: [len(p) - 1], ("prompt_end", -1), None),
    "first of the answer": (lambda t, p: [len(p)], ("prompt_end", 0), None),
    "third from the prompt's end": (lambda t, p: [len(p) - 3], ("prompt_end", -3), None),
    "separator": (lambda t, p: [p.index(COMMA)], ("token", COMMA), None),
}


@pytest.mark.parametrize("pad", [0, 3])
@pytest.mark.parametrize("batches", [GROUPS, [[0], [1], [2]], [[0, 1, 2]]], ids=str)
@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_sink_is_named_and_measured(plant, batches, pad):
    where, name, _ = PLANTS[plant]
    found = find_places(planted(where, pad=pad, groups=batches))
    assert [(place.kind, place.at) for place in found] == [name]
    (place,) = found
    assert place.share == pytest.approx(np.mean([one(length) for length in LENGTHS]), rel=1e-6)
    order = [index for group in batches for index in group]
    assert place.by_sequence == pytest.approx([one(LENGTHS[index]) for index in order], rel=1e-6)
    assert place.even_share == pytest.approx(np.mean([1 / length for length in LENGTHS]))
    assert place.heaviest == place.sink == place.positions == 1.0
    assert place.by_layer == pytest.approx([place.share] * LAYERS)
    held = [where(0, prompt)[0] for prompt in PROMPTS]
    stood = {(*prompt, MASK)[at] for prompt, at in zip(PROMPTS, held, strict=True)}
    assert set(place.tokens) == stood and sum(place.tokens.values()) == pytest.approx(1.0)


def test_even_attention_and_sinks_that_drift_have_no_place():
    assert find_places(planted(lambda t, p: [])) == []
    assert find_places(planted(lambda t, p: [t + 1], groups=[[0, 1], [2]])) == []


def test_two_sinks_are_two_places_the_heavier_first_and_a_half_time_one_counts_half():
    found = find_places(planted(lambda t, p: [0, len(p) - 1] if t % 2 else [0]))
    assert [(place.kind, place.at) for place in found] == [("start", 0), ("prompt_end", -1)]
    first, last = found
    # in every other pass both are the heaviest, each in part
    assert first.heaviest == pytest.approx(0.75) and last.heaviest == pytest.approx(0.25)
    halves = [(one(length) + WEIGHT / (2 * WEIGHT + length - 2)) / 2 for length in LENGTHS]
    assert first.share == pytest.approx(np.mean(halves), rel=1e-6)


def test_a_sink_of_one_layer_shows_in_that_layer():
    recorder = SinkRecorder(1, keep_passes=True)
    for layer, weight in enumerate((1.0, 7.0)):
        mass = np.ones((1, 1, 8), dtype=np.float32)
        mass[..., 3] = weight
        recorder.add(layer, mass)
    recorder.end_pass()
    (place,) = find_places([recorder.statistics()])
    assert (place.kind, place.at) == ("start", 3) and place.tokens == {}
    assert place.by_layer == pytest.approx([1 / 8, 7 / 14])


def test_a_token_that_is_written_is_counted_from_then_on():
    """The mask's place becomes the comma's in the second pass: each has it for half of the passes."""
    recorder = SinkRecorder(1, keep_passes=True)
    lengths = (8, 12)
    found = []
    for length in lengths:
        recorder = SinkRecorder(1, keep_passes=True, prompts=[length])
        for t in range(4):
            tokens = np.arange(20, 20 + length)[None].copy()
            at = length // 2
            tokens[0, at] = COMMA if t >= 2 else MASK
            mass = np.ones((1, 1, length), dtype=np.float32)
            mass[0, 0, at] = 30.0 if t >= 2 else 1.0
            recorder.add(0, mass)
            recorder.end_pass(tokens)
        found.append(recorder.statistics())
    (place,) = find_places(found)
    assert (place.kind, place.at) == ("token", COMMA)
    assert place.positions == 0.5
    assert place.share == pytest.approx(np.mean([30 / (30 + n - 1) for n in lengths]) / 2)


def test_without_tokens_and_prompts_only_the_start_has_a_name():
    found = find_places(planted(lambda t, p: [0], told=False))
    assert [(place.kind, place.at, place.tokens) for place in found] == [("start", 0, {})]
    last = find_places(planted(lambda t, p: [len(p) - 1], told=False))
    assert all(place.kind == "start" for place in last)
