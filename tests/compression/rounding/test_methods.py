import pytest
import torch

from hwsearch.compression.rounding.choice import round_group
from hwsearch.compression.rounding.gptq import InputOrder, damped_inverse_root, gptq
from hwsearch.compression.rounding.grid import Grid, clipped
from hwsearch.compression.rounding.input_scaling import balanced, power_of_two
from hwsearch.compression.rounding.linear_inputs import LinearInputs
from hwsearch.errors import CheckpointError
from hwsearch.formats.catalog import FORMATS, format_of
from hwsearch.formats.integer_format import IntegerFormat
from hwsearch.plan import WeightFormat

FORMS = [form for form in FORMATS.values() if isinstance(form, IntegerFormat)]
W2, W4, W8A8 = (format_of(WeightFormat(name)) for name in ("w2", "w4", "w8a8"))


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def seen_of(rows, inputs, samples=4, scales=None, seed=1):
    scales = torch.ones(inputs) if scales is None else scales
    xs = [drawn(1, rows, inputs, seed=seed + i) * scales for i in range(samples)]
    return LinearInputs(xs, [torch.ones(1, rows) for _ in xs], torch.arange(inputs))


def decoded(rounded, form, inputs):
    return torch.from_numpy(form.decode(rounded.codes, inputs))


def output_error(weight, rounded, form, seen):
    scale = 1.0 if rounded is None or rounded.scale is None else rounded.scale
    codes = form.encode(weight.numpy().T) if rounded is None else rounded.codes
    matrix = torch.from_numpy(form.decode(codes, weight.shape[1]))
    return sum(
        float((form.round_inputs(x / scale) @ matrix.T - x @ weight.T).square().sum())
        for x in seen.inputs
    )


def whole(numbers, form=W4):
    """A grid of scale 1."""
    return Grid(form, torch.ones(len(numbers), 1), len(numbers[0]))


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_the_nearest_numbers_are_those_that_the_format_takes(form):
    weight = drawn(5, 70)
    grid = Grid.of(weight, form)
    numbers = grid.nearest(weight)
    codes, plain = grid.codes(numbers), form.encode(weight.numpy().T)
    assert {n: (a.dtype, a.shape) for n, a in codes.items()} == {
        n: (a.dtype, a.shape) for n, a in plain.items()
    }
    assert torch.equal(grid.value(numbers), torch.from_numpy(form.decode(plain, 70)))
    assert torch.equal(grid.value(numbers), torch.from_numpy(form.decode(codes, 70)))


@pytest.mark.parametrize("form", FORMATS.values(), ids=lambda form: form.name)
def test_scaling_outputs_by_powers_of_two_is_rounding_what_was_scaled(form):
    matrix, factors = drawn(70, 5).numpy(), power_of_two(drawn(5).exp()).numpy()
    scaled = form.scale_outputs(form.encode(matrix), factors)
    again = form.encode(matrix * factors)
    assert {n: a.tobytes() for n, a in scaled.items()} == {n: a.tobytes() for n, a in again.items()}


def test_clipping_gives_up_the_largest_weight_where_the_others_are_worth_it():
    weight = torch.full((1, 32), 0.05)
    weight[0, 0], weight[0, 1::2] = 1.0, -0.05
    plain = Grid.of(weight, W4)
    assert not plain.nearest(weight)[0, 1:].any()  # all others are lost
    small = torch.ones(32)
    small[0] = 1e-4
    cut = clipped(weight, plain, small)
    wrong = (cut.value(cut.nearest(weight)) - weight).square() * small
    assert wrong.sum() < 0.5 * (weight[0, 1:] ** 2).sum()


def test_clipped_scales_are_never_worse():
    weight, importance = drawn(6, 70), drawn(70).exp()
    plain = Grid.of(weight, W4)
    cut = clipped(weight, plain, importance)
    errors = [((g.value(g.nearest(weight)) - weight) ** 2 * importance).sum() for g in (plain, cut)]
    assert errors[1] < 0.9 * errors[0]


def test_clipping_leaves_zeros_alone():
    zeros = torch.zeros(2, 64)
    grid = clipped(zeros, Grid.of(zeros, W4), torch.ones(64))
    assert grid.scales.isfinite().all()
    assert not grid.nearest(torch.zeros(2, 64)).any()


def test_gptq_lets_a_later_weight_make_up_for_an_earlier_one():
    # the two inputs are always alike, so only the sum of their weights counts: .8, of which 1 is nearest
    weight, hessian = torch.tensor([[0.4, 0.4]]), torch.ones(2, 2)
    assert gptq(weight, InputOrder.of(hessian), whole(weight)).tolist() == [[0, 1]]
    assert whole(weight).nearest(weight).tolist() == [[0, 0]]


def test_gptq_can_begin_with_the_largest_input():
    # input 1 is twice as large: .4 of it left over is .8 of input 0
    weight, hessian = torch.tensor([[0.0, 0.4]]), torch.tensor([[1.0, 2.0], [2.0, 4.0]])
    assert gptq(weight, InputOrder.of(hessian, by_activation=True), whole(weight)).tolist() == [
        [1, 0]
    ]
    assert gptq(weight, InputOrder.of(hessian), whole(weight)).tolist() == [[0, 0]]


def test_without_correlations_gptq_rounds_to_nearest():
    weight = drawn(3, 64)
    grid = Grid.of(weight, W4)
    hessian = torch.diag(drawn(64).exp())
    for by_activation in (False, True):
        assert torch.equal(
            gptq(weight, InputOrder.of(hessian, by_activation=by_activation), grid),
            grid.nearest(weight),
        )


def test_neighbours_in_w8a8_never_exceed_their_sum():
    x = drawn(40, 63) @ drawn(63, 63, seed=3)
    weight = drawn(16, 63, seed=4)
    grid = Grid.of(weight, W8A8)
    tight = Grid(W8A8, grid.scales * 0.6, 63)  # cut off, so that the limit is felt
    for by_activation in (False, True):
        order = InputOrder.of(x.T @ x, by_activation=by_activation)
        numbers = gptq(weight, order, tight).abs()
        assert (numbers[:, 0:62:2] + numbers[:, 1::2]).max() == 128
        assert numbers.max() <= 127


def test_a_dead_input_is_rounded_to_nearest_and_hurts_no_other():
    weight, x = drawn(4, 32), drawn(99, 32, seed=2)
    x[:, 5] = 0
    grid = Grid.of(weight, W4)
    numbers = gptq(weight, InputOrder.of(x.T @ x), grid)
    assert torch.equal(numbers[:, 5], grid.nearest(weight)[:, 5])
    assert numbers.isfinite().all()


def test_a_hessian_that_is_not_positive_definite_is_damped_more_and_then_given_up():
    rank_one = torch.full((8, 8), 1.0)
    rank_one[0, 1] = rank_one[1, 0] = 1.05  # indefinite until it is damped by more than .05
    assert torch.linalg.eigvalsh(rank_one * (1 - 0.01) + 0.02 * torch.eye(8)).min() < 0
    assert damped_inverse_root(rank_one) is not None
    hopeless = torch.full((8, 8), 5.0)
    hopeless.fill_diagonal_(1.0)
    assert damped_inverse_root(hopeless) is None
    assert InputOrder.of(hopeless) is None
    assert damped_inverse_root(torch.full((8, 8), float("nan"))) is None


def test_scales_are_powers_of_two_and_1_where_there_is_nothing_to_balance():
    assert power_of_two(torch.tensor([3.0, 0.3, 0.0, 1.0])).tolist() == [4.0, 0.25, 1.0, 1.0]
    inputs, weights = torch.tensor([1.0, 16.0, 0.0, 1.0]), torch.tensor([1.0, 1.0, 1.0, 0.0])
    scale = balanced(inputs, weights, 0.5)
    assert scale.tolist() == [0.5, 2.0, 1.0, 1.0]
    assert torch.equal(balanced(torch.zeros(3), torch.ones(3), 0.5), torch.ones(3))


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("rows", [3, 200], ids=["few-rows", "many-rows"])
def test_the_choice_is_no_worse_than_nearest_on_what_it_is_judged_by(form, rows):
    weight, seen = drawn(20, 70), seen_of(rows, 70)
    _, judge = seen.split
    ((_, rounded),) = round_group({"w": weight}, form, seen)
    chosen = output_error(weight, rounded, form, judge)
    assert chosen <= output_error(weight, None, form, judge)


def correlated(samples=4):
    mix = drawn(8, 64, seed=9)
    xs = [drawn(1, 64, 8, seed=i) @ mix for i in range(samples)]
    return LinearInputs(xs, [torch.ones(1, 64)] * samples)


@pytest.mark.parametrize("form", [W2, W4], ids=lambda form: form.name)
def test_correlated_inputs_leave_a_fraction_of_the_error_of_rounding_to_nearest(form):
    seen, weight = correlated(), drawn(20, 64)
    ((_, rounded),) = round_group({"w": weight}, form, seen)
    assert rounded.scale is None  # nobody said where inputs could be scaled
    assert output_error(weight, rounded, form, seen) < 0.3 * output_error(weight, None, form, seen)


def test_outputs_of_two_bits_are_as_large_as_they_were():
    """Numbers of least error are drawn towards zero, and what is a little too small in each layer adds up."""
    seen, weight = seen_of(100, 64), drawn(200, 64)
    ((_, rounded),) = round_group({"w": weight}, W2, seen)
    matrix = decoded(rounded, W2, 64)
    exact = torch.cat([(x @ weight.T).flatten() for x in seen.inputs])
    found = torch.cat([(W2.round_inputs(x) @ matrix.T).flatten() for x in seen.inputs])
    assert float(found @ exact / (exact @ exact)) == pytest.approx(1.0, abs=0.02)


def test_factors_that_would_ruin_an_output_leave_it_as_it_is():
    grid = Grid.of(drawn(4, 32), W4)
    factors = torch.tensor([1.5, 0.1, float("nan"), float("inf")])
    expected = grid.scales * torch.tensor([1.5, 1.0, 1.0, 1.0])[:, None]
    assert torch.equal(grid.fitted(factors).scales, expected)


def test_an_outlier_of_w8a8_is_scaled_down_and_shared_by_all_linears():
    seen = seen_of(50, 64)
    for x in seen.inputs:
        x[:, 0, 7] *= 1e3  # a massive activation of the first token alone
    weights = {"a": drawn(20, 64), "b": drawn(8, 64, seed=5)}
    found = dict(round_group(weights, W8A8, seen))
    assert found["a"].scale is found["b"].scale
    assert found["a"].scale[7] >= 32 * found["a"].scale.median()
    assert torch.equal(found["a"].scale.log2().round(), found["a"].scale.log2())
    errors = [output_error(weights["a"], one, W8A8, seen) for one in (found["a"], None)]
    assert errors[0] < 0.2 * errors[1]


def test_inputs_that_come_from_one_place_have_one_scale():
    scales = torch.ones(64)
    scales[3] = 1e3
    xs = [drawn(1, 50, 64, seed=i) * scales for i in range(4)]
    seen = LinearInputs(xs, [torch.ones(1, 50)] * 4, torch.arange(64) % 32)
    ((_, rounded),) = round_group({"w": drawn(20, 64)}, W8A8, seen)
    assert torch.equal(rounded.scale[:32], rounded.scale[32:])
    assert rounded.scale[3] > rounded.scale[4]


def test_a_dead_column_and_dead_weights_work():
    seen = seen_of(9, 64, scales=torch.cat([torch.zeros(32), torch.ones(32)]))
    weight = drawn(4, 64)
    weight[:, 40:] = 0
    for form in FORMS:
        ((_, rounded),) = round_group({"w": weight}, form, seen)
        assert decoded(rounded, form, 64).isfinite().all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number_is_named(bad):
    weight = drawn(4, 32)
    weight[1, 2] = bad
    with pytest.raises(CheckpointError, match=r"^layers\.3\.up_proj\.weight holds NaN or infinite"):
        dict(round_group({"layers.3.up_proj": weight}, W4, seen_of(8, 32)))


def test_rounding_is_the_same_every_time():
    first, second = (
        dict(round_group({"w": drawn(20, 70)}, W4, seen_of(30, 70)))["w"] for _ in range(2)
    )
    assert {n: a.tobytes() for n, a in first.codes.items()} == {
        n: a.tobytes() for n, a in second.codes.items()
    }
