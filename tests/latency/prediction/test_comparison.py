from dataclasses import replace
from pathlib import Path

import pytest

from hwsearch.decoding.kept import KeptPlan
from hwsearch.errors import InputError, MissingShapeError
from hwsearch.latency.devices.device import load_device
from hwsearch.latency.devices.places import CHECKOUT
from hwsearch.latency.prediction.comparison import ComparedPlan, adapt, compare_on, energy_cost
from hwsearch.latency.prediction.predictor import Predictor
from hwsearch.latency.timing.operator_times import Kept
from hwsearch.plan import CompressionPlan, LayerPlan, WeightFormat
from hwsearch.report.comparison import draw_cross
from hwsearch.testing.device import formula_device
from tests.latency.prediction.test_predictor import GEOMETRY, WORK

FORMATS = ("fp32", "w8a8", "w8", "w4")


def uniform(fmt, **rest):
    return CompressionPlan.uniform(3, fmt, fmt, head=fmt, **rest)


CANDIDATES = [
    ComparedPlan(fmt, uniform(fmt), rank=loss, loss=loss)
    for fmt, loss in zip(FORMATS, (0.0, 0.02, 0.01, 0.05), strict=True)
]


def all_kept(plan):
    return KeptPlan.keeping_all(plan)


def on(name, ratio, cost=None):
    device = formula_device(GEOMETRY, WORK) if name == "formula" else load_device(CHECKOUT / name)
    extra = {} if cost is None else {"cost": cost}
    return compare_on(Predictor(device, GEOMETRY, WORK), CANDIDATES, all_kept, ratio, **extra)


def test_the_best_has_the_least_loss_among_those_that_meet_the_target():
    ratios = [cell.ratio for cell in on("formula", 1.0).cells]
    # by its formula w8 costs less than fp32, w4 less than w8, and w8a8 least
    assert ratios[0] == 1.0 > ratios[2] > ratios[3] > ratios[1]
    assert on("formula", 1.0).best == 0
    assert on("formula", ratios[2]).best == 2
    assert on("formula", ratios[3]).best == 1
    column = on("formula", ratios[1] / 2)
    assert not any(cell.meets for cell in column.cells)
    assert column.best == 1, "where none meets the target, the fastest"


def test_what_a_device_cannot_run_is_said_and_not_chosen():
    column = on("apple-m2", 1.0)
    assert column.note == "fp32 is run as fp16"
    assert column.cells[1].latency is None
    assert column.cells[1].why_not == "no w8a8 here (layer 0: attention)"
    assert column.penalty(1) is None
    assert sum(cell.latency is not None for cell in column.cells) == 3
    assert column.cells[0].ratio == pytest.approx(1.0)
    assert column.penalty(column.best) == 0.0


def test_only_fp32_is_run_as_something_else():
    plan, why = adapt(uniform("fp32"), ["fp16", "w4"])
    assert (plan, why) == (uniform("fp16"), "")
    assert adapt(uniform("w8"), ["fp16", "w4"])[1] == "no w8 here (layer 0: attention)"
    layer = LayerPlan(attention="fp32", gate_up="w8a8", down="fp32")
    apart = CompressionPlan(layers=(layer,), head="w4")
    plan, why = adapt(apart, ["fp16", "w8a8", "w4"])
    assert why == "" and plan.layers == (LayerPlan(attention="fp16", gate_up="w8a8", down="fp16"),)
    assert adapt(apart, ["fp32", "w4"])[1] == "no w8a8 here (layer 0: gate_up)"
    head = uniform("w4").model_copy(update={"head": WeightFormat.W8A8})
    assert adapt(head, ["w4"])[1].endswith("(head)")


def test_joules_are_compared_where_power_is_known():
    times, energy = (on("jetson-orin-nano-super-15w", 1.0, cost) for cost in (None, energy_cost))
    assert [cell.ratio for cell in energy.cells] == pytest.approx(
        [cell.ratio for cell in times.cells]
    )
    assert energy.uncompressed == pytest.approx(6.04 * times.uncompressed / 1e3)
    with pytest.raises(InputError, match="apple-m2 has no"):
        on("apple-m2", 1.0, energy_cost)


class Gaps:
    """Costs of a device that lacks some operators."""

    def __init__(self, costs, lacks):
        self._costs, self._lacks = costs, lacks

    def __getattr__(self, name):
        return getattr(self._costs, name)

    def cost_us(self, key):
        if self._lacks(key):
            raise MissingShapeError(f"no row for {key}")
        return self._costs.cost_us(key)


@pytest.mark.parametrize("fmt", ["w8a8", "w8", "w4"])
def test_a_plan_that_cannot_be_priced_is_a_cell_that_says_why(fmt):
    device = formula_device(GEOMETRY, WORK)
    device = replace(device, costs=Gaps(device.costs, lambda key: key.format == fmt))
    column = compare_on(Predictor(device, GEOMETRY, WORK), CANDIDATES, all_kept, 1.0)
    lacking = FORMATS.index(fmt)
    assert [cell.latency is None for cell in column.cells] == [i == lacking for i in range(4)]
    assert "no row for" in column.cells[lacking].why_not
    assert column.best == 0 and sum(cell.latency is not None for cell in column.cells) == 3


def test_a_plan_whose_shares_nobody_knows_is_a_cell_that_says_why():
    def shares(plan):
        if plan.head == "w4":
            raise InputError("its shares follow from weights")
        return all_kept(plan)

    predictor = Predictor(formula_device(GEOMETRY, WORK), GEOMETRY, WORK)
    column = compare_on(predictor, CANDIDATES, shares, 1.0)
    assert [cell.why_not for cell in column.cells] == ["", "", "", "its shares follow from weights"]


def test_nothing_to_compare_is_refused():
    predictor = Predictor(formula_device(GEOMETRY, WORK), GEOMETRY, WORK)
    with pytest.raises(InputError, match="no finished trial"):
        compare_on(predictor, [], all_kept, 0.5)


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_cross_table_is_drawn(tmp_path, suffix):
    path = tmp_path / f"cross.{suffix}"
    draw_cross("a study", ["p", "q"], ["a", "b"], [[0.4, None], [1.2, 0.3]], 0.5, path)
    assert path.stat().st_size > 1000


def test_a_picture_of_no_known_kind_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot draw"):
        draw_cross("t", ["p"], ["a"], [[0.4]], 0.5, Path(tmp_path / "cross.doc"))


def test_a_pruned_plan_runs_where_its_sizes_are_timed():
    pruned = ComparedPlan("pruned", uniform("w8", kept_heads=1, kept_channels=64), rank=0.5)
    candidates = [*CANDIDATES, pruned]
    for kept, runs in ((None, False), (Kept((0.5,), (0.5,)), True)):
        device = formula_device(GEOMETRY, WORK, kept=kept)
        column = compare_on(Predictor(device, GEOMETRY, WORK), candidates, all_kept, 0.5)
        assert (column.cells[-1].latency is not None) == runs
        assert runs or "not timed here" in column.cells[-1].why_not
    # where fp32 is run as fp16, heads stay as they were planned
    adapted, why_not = adapt(uniform("fp32", kept_heads=1), ("fp16",))
    assert not why_not and adapted.layers[0].kept_heads == 1
