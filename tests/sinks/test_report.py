"""From recorded trajectories to figures, verdicts and a page."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwsearch.report.sinks import findings, measure_sinks, write_page
from hwsearch.report.sinks.draw import draw_sinks, shown_layers
from hwsearch.report.sinks.measures import bootstrap
from hwsearch.sinks import SinkRecorder


def recorded(centres, problems=6, length=20):
    """A model of one layer whose single sink is at `centres`, one a pass, jittered by problem."""
    recorder = SinkRecorder(1, keep_passes=True)
    for centre in centres:
        mass = np.full((problems, 1, length), 0.5, dtype=np.float32)
        for problem in range(problems):
            mass[problem, 0, centre + problem % 2] = 10.5
        recorder.add(0, mass)
        recorder.end_pass()
    return [recorder.statistics()]


STILL = measure_sinks("twin", True, recorded([2, 2, 2, 2]))
MOVING = measure_sinks("mine", False, recorded([2, 6, 10, 14]))


def test_measures_by_hand():
    assert MOVING.temporal[0, 0] == pytest.approx(np.std([2, 6, 10, 14]) / 20)
    assert MOVING.drift[:, 0] == pytest.approx([12 / 20] * 6)
    assert MOVING.overlap.tolist() == [[0.0]] * 6
    assert MOVING.concentration[0, 0] == pytest.approx(10.5 / 20)
    assert MOVING.variance[0, 0] == pytest.approx(3 / 4)
    assert STILL.temporal.max() == STILL.variance.max() == 0.0
    assert STILL.overlap.tolist() == [[1.0]] * 6
    # mean mass 1; one position 10.5, nineteen 0.5
    assert STILL.spatial[0, 0] == pytest.approx((9.5**2 + 19 * 0.5**2) / 20)


def test_verdicts_follow_the_intervals_of_differences():
    agreed = findings(MOVING, STILL)
    assert [finding.verdict for finding in agreed] == ["agrees"] * 3
    assert all(finding.difference.low <= finding.difference.high for finding in agreed)
    swapped = findings(replace(STILL, causal=False), replace(MOVING, causal=True))
    assert [finding.verdict for finding in swapped] == ["disagrees"] * 3
    same = findings(replace(STILL, causal=False), STILL)
    assert [finding.verdict for finding in same] == ["undecided"] * 3


def test_the_order_of_the_two_models_does_not_matter():
    assert [finding.verdict for finding in findings(STILL, MOVING)] == ["agrees"] * 3


def test_alone_a_model_is_held_to_what_is_claimed_of_its_kind():
    assert [f.verdict for f in findings(MOVING)] == ["undecided", "agrees", "agrees"]
    wrong = findings(replace(STILL, causal=False))
    assert [f.verdict for f in wrong] == ["undecided", "disagrees", "disagrees"]
    assert all(f.difference is None for f in wrong)


def test_bootstrap_intervals_hold_the_mean_and_shrink_with_problems():
    rng = np.random.default_rng(0)
    few, many = bootstrap(rng.normal(size=10)), bootstrap(rng.normal(size=1000))
    assert few.low < few.mean < few.high
    assert many.high - many.low < few.high - few.low
    assert abs(many.mean) < 4 * (many.high - many.low)


def test_the_page_holds_its_pictures_and_answers(tmp_path):
    pytest.importorskip("matplotlib")
    models = [MOVING, STILL]
    pictures = draw_sinks(models, tmp_path)
    assert [picture.name for picture in pictures] == [
        "heat.png",
        "trajectories.png",
        "variance.png",
    ]
    write_page(tmp_path / "page.html", models, findings(*models), pictures)
    text = (tmp_path / "page.html").read_text()
    assert text.count("data:image/png;base64,") == 3
    assert "this agrees with the claim" in text and "mine" in text and "twin" in text


def test_shown_layers_reach_from_first_to_last():
    assert shown_layers(3) == [0, 1, 2]
    assert shown_layers(32)[0] == 0 and shown_layers(32)[-1] == 31 and len(shown_layers(32)) == 6
