"""Work shows how far it is where somebody asked to see it, and nowhere else."""

from contextlib import contextmanager

from hwsearch.progress import each, showing, work
from hwsearch.sinks import calibrate_sinks
from hwsearch.tasks.losses import make_loss
from hwsearch.tasks.problem import Problem
from hwsearch.testing.tiny import tiny_denoiser


class Shown:
    """What was shown: of each piece of work its total, and how much of it was done."""

    def __init__(self):
        self.totals, self.done = {}, {}

    @contextmanager
    def show(self, description, total):
        self.totals[description] = total
        self.done[description] = 0
        yield lambda more: self.done.__setitem__(description, self.done[description] + more)


def test_nothing_is_shown_unless_asked():
    with work("counting", 2) as advance:
        advance(1)
    assert list(each("ab", "counting", 2)) == ["a", "b"]


def test_items_are_done_one_after_the_other_by_their_sizes():
    shown = Shown()
    with showing(shown.show):
        seen = [(item, shown.done["reading"]) for item in each(["a", "bb"], "reading", 3, len)]
    assert seen == [("a", 0), ("bb", 1)]
    assert shown.done == shown.totals == {"reading": 3}
    list(each("ab", "counting", 2))
    assert "counting" not in shown.done, "nothing is shown any more"


def test_long_work_on_a_model_says_how_far_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("HWSEARCH_CACHE", str(tmp_path))
    denoiser, shown = tiny_denoiser(), Shown()
    with showing(shown.show):
        make_loss("kl", denoiser, [Problem("tom has 3 apples ?", ""), Problem("how many ?", "")])
        calibrate_sinks(denoiser, ["how many ?"])
    assert shown.done == shown.totals
    assert shown.totals.keys() == {"recording states", "calibrating sinks"}
    assert shown.totals["recording states"] == 2 * denoiser.decoding.steps
