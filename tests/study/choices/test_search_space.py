import pytest

from hwsearch.errors import StudyError
from hwsearch.latency.devices.device import Device
from hwsearch.latency.devices.table import LatencyTable
from hwsearch.plan import CompressionPlan
from hwsearch.study.choices.search_space import SearchSpace, is_uniform
from hwsearch.study.settings import StudySpec
from hwsearch.testing.device import formula_device
from hwsearch.testing.tiny import tiny_denoiser
from tests.study.test_run import WORK


def test_params_and_plans_are_inverse():
    space = SearchSpace(num_layers=2)
    plan = CompressionPlan.validate(
        {
            "layers": [
                {"sink_threshold": 0.5, "attention": "w4"},
                {"sink_threshold": 0.9, "mlp": "w8a8"},
            ],
            "head": "w8",
        }
    )
    assert space.plan(space.params(plan)) == plan
    assert set(space.params(plan)) == set(space.parameters())


def test_uniform_plans_are_uniform_and_complete():
    space = SearchSpace(num_layers=3)
    plans = list(space.uniform_plans())
    assert len(set(plans)) == len(space.thresholds) * len(space.formats)
    assert all(is_uniform(plan) for plan in plans)
    mixed = CompressionPlan.validate({"layers": [{}, {"mlp": "w4"}]})
    assert not is_uniform(mixed)
    assert not is_uniform(CompressionPlan.uniform(2, "w4", "w4"))


def test_size_counts_every_plan():
    space = SearchSpace(num_layers=2, thresholds=(1.0, 0.5), formats=("fp32", "w4"))
    assert space.size == (2 * 2 * 2) ** 2 * 2


def test_formats_the_device_cannot_run_are_refused():
    denoiser = tiny_denoiser()
    device = formula_device(denoiser.geometry, WORK)
    assert SearchSpace.of(denoiser, device).formats == ("fp32", "w8a8", "w8", "w4")
    samples = {k: v for k, v in device.table.samples.items() if k.format != "w4"}
    small = Device(device.info, LatencyTable(samples), device.folder)
    assert "w4" not in SearchSpace.of(denoiser, small).formats
    with pytest.raises(StudyError, match="format w4 is not timed on device formula"):
        SearchSpace.of(denoiser, device).check(small)


@pytest.mark.parametrize(
    ("groups", "names"),
    [
        ("tied", ["layers0-6"]),
        ("thirds", ["layers0-1", "layers2-4", "layers5-6"]),
        ("free", [f"layer{i}" for i in range(7)]),
    ],
)
def test_groups_tie_neighbours_and_coarse_plans_are_free_plans(groups, names):
    space = SearchSpace(num_layers=7, groups=groups)
    assert list(space.spans) == names
    assert [layer for span in space.spans.values() for layer in span] == list(range(7))
    params = {
        name: len(choices) - 1 - i % 2
        for i, (name, choices) in enumerate(space.parameters().items())
    }
    plan = space.plan(params)
    assert space.params(plan) == params
    assert SearchSpace(num_layers=7).offers(plan)
    mixed = CompressionPlan.validate({"layers": [{}] * 6 + [{"mlp": "w4"}]})
    assert space.offers(mixed) == (groups == "free")


def test_a_space_of_one_plan_or_with_a_choice_twice_is_refused():
    device = formula_device(tiny_denoiser().geometry, WORK)
    with pytest.raises(StudyError, match=r"one plan only .*offer a second choice"):
        SearchSpace(num_layers=2, thresholds=(1.0,), formats=("w4",)).check(device)
    with pytest.raises(StudyError, match=r"thresholds must not repeat a choice; got 1\.0, 0\.5"):
        SearchSpace(num_layers=2, thresholds=(1.0, 0.5, 0.5)).check(device)


STUDY = """
model = "gsm-mini"
device = "cpu"
target_ratio = 0.5
[space]
formats = ["fp32", "w8a8"]
"""


def test_flags_win_over_the_study_file(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    spec = StudySpec.resolve(path, {"target_ms": 12.0, "trials": 7, "thresholds": "1.0,0.5"})
    assert (spec.target_ms, spec.target_ratio, spec.trials) == (12.0, None, 7)
    assert spec.space.formats == ("fp32", "w8a8")
    assert spec.space.thresholds == (1.0, 0.5)
    again = tmp_path / "again.toml"
    again.write_text(spec.to_toml())
    assert StudySpec.resolve(again, {}) == spec


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (STUDY + 'format = ["w4"]', "space.format: no such key"),
        (STUDY.replace("w8a8", "int3"), "space.formats.1: .*got 'int3'"),
        (STUDY.replace("target_ratio = 0.5", ""), "exactly one of target_ms, target_ratio and"),
        (STUDY.replace('model = "gsm-mini"', ""), "model: missing"),
        (STUDY.replace('["fp32", "w8a8"]', "[]"), "space.formats: .*at least 1 item"),
        (STUDY + 'groups = "halves"', "space.groups: .*got 'halves'"),
        (STUDY.replace("target", "max_bytes = 0\ntarget"), "max_bytes: .*got 0"),
        ("model = ", "not TOML"),
    ],
)
def test_a_bad_study_file_is_refused_by_key(tmp_path, text, said):
    path = tmp_path / "study.toml"
    path.write_text(text)
    with pytest.raises(StudyError, match=said):
        StudySpec.resolve(path, {})


def test_a_changed_copy_of_a_space_forgets_the_old_choices():
    space = SearchSpace(num_layers=3)
    assert len(space.spans) == 3 and len(space.dials["sink_threshold"]) == 5
    copy = space.model_copy(update={"groups": "tied", "thresholds": (1.0,)})
    assert (len(copy.spans), copy.dials["sink_threshold"]) == (1, (1.0,))


def test_rounding_is_that_of_every_plan_that_rounds_and_is_not_told_where_it_is_the_default():
    plain, space = (SearchSpace(num_layers=1, rounding=r) for r in ("nearest", "calibrated"))
    assert "rounding" not in plain.model_dump_json()
    zeros = dict.fromkeys(space.parameters(), 0)
    assert space.plan(zeros) == CompressionPlan.uniform(1)  # in float: nothing to round
    assert space.plan({**zeros, "head": "w4"}).rounding == "calibrated"
    assert plain.plan({**zeros, "head": "w4"}).rounding == "nearest"
    assert space.needs_calibration and not plain.needs_calibration
    assert space.size == plain.size
