"""Formats simulated in torch against onnxruntime's quantisers and kernels, where arithmetic is awkward."""

import numpy as np
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
from torch import nn

from hwsearch.bundle.products import quantise_products
from hwsearch.formats.blocks import round_input_blocks, unpacked
from hwsearch.formats.catalog import format_of, simulate
from hwsearch.formats.linears.simulated_linear import rounded
from hwsearch.formats.w8a8 import round_samples
from hwsearch.plan import WeightFormat

#: All that blocks differ by, each with each other at least once.
BLOCKS = ("w8", "w8-g64", "w4", "w4-g128", "w4-asym", "w4-g64-asym", "w2", "w2-g64", "w2-g128-asym")
QUANTISED = [WeightFormat(name) for name in ("w8a8", "fp8", *BLOCKS)]
#: Without blocks: onnxruntime has no tool of its own that makes such products.
WHOLE = (WeightFormat.W8A8, WeightFormat.FP8)
RNG = np.random.default_rng(0)

#: Products below this count as nothing: their arithmetic is that of subnormal numbers.
NOTHING = 1e-30

#: 127 over a smaller input is infinite.
SMALLEST_INPUT = 4e-37


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def cast(array, dtype):
    return torch.from_numpy(array).to(dtype).float().numpy()


def scaled(array, power):
    return (array.astype(np.float64) * 10.0**power).astype(np.float32)


def with_outlier(array):
    array[:, array.shape[1] // 2] = 1e4
    return array


def tied(largest, *shape):
    """Small values, and in every block of 32 the largest with both signs, in either order."""
    array = normal(*shape).clip(-3, 3)
    for row in array:
        for start in range(0, shape[1], 32):
            ends = RNG.permutation([largest, -largest])[: min(2, shape[1] - start)]
            places = start + RNG.permutation(min(32, shape[1] - start))[: len(ends)]
            row[places] = ends
    return array


WEIGHTS = {
    "bfloat16": cast(normal(17, 96), torch.bfloat16),
    "float8": cast(normal(17, 96), torch.float8_e4m3fn),
    "float8, wide range": cast(normal(17, 96), torch.float8_e5m2),
    "ternary": RNG.integers(-1, 2, (17, 96)).astype(np.float32),
    "binary": RNG.choice([-0.5, 0.5], (17, 96)).astype(np.float32),
    "4-bit grid": (RNG.integers(-8, 8, (17, 96)) * np.float32(0.0371)).astype(np.float32),
    "halves": (RNG.integers(-16, 17, (17, 96)) / 2).astype(np.float32),
    "tied": tied(4.0, 17, 96),
    "tied, last block of one": tied(4.0, 17, 33),
    "zeros": np.zeros((5, 64), np.float32),
    "negative zeros": -np.zeros((5, 64), np.float32),
    "a zero block": np.concatenate((normal(5, 32), np.zeros((5, 32), np.float32)), axis=1),
    "a zero row": np.concatenate((normal(4, 64), np.zeros((1, 64), np.float32))),
    "constant": np.full((5, 64), 0.3, np.float32),
    "negative constant": np.full((5, 64), -0.3, np.float32),
    "positive": np.abs(normal(5, 64)),
    "negative": -np.abs(normal(5, 64)),
    "outlier": with_outlier(normal(5, 64)),
    "one output": normal(1, 64),
    **{f"{size} inputs": normal(3, size) for size in (1, 2, 7, 31, 33, 63, 65, 97, 160)},
    **{f"1e{power}": scaled(normal(5, 64), power) for power in (-45, -42, -40, -39, -38, -37)},
    **{f"1e{power}": scaled(normal(5, 64), power) for power in (-20, 20)},
}


def inputs(size):
    yield from (normal(1, rows, size) for rows in (1, 2, 5))
    yield np.zeros((1, 3, size), np.float32)
    yield np.abs(normal(1, 3, size))
    yield -np.abs(normal(1, 3, size))
    yield np.full((1, 3, size), 0.7, np.float32)
    yield (RNG.integers(-255, 256, (1, 3, size)) / 2).astype(np.float32)
    yield (RNG.integers(0, 511, (1, 3, size)) / 2).astype(np.float32)
    yield cast(normal(1, 3, size), torch.bfloat16)
    yield normal(1, 4, size) * np.array([1e-39, 1, 1e5, 0], np.float32)[:, None]
    yield from (scaled(normal(1, 3, size), power) for power in (-42, -39, -37, 15))


def kernel(weight, fmt):
    """Operators that onnxruntime makes of a product with weights ``[out, in]``."""
    rows, size = weight.shape
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, None, size])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, None, rows])
    held = numpy_helper.from_array(np.ascontiguousarray(weight.T), "w")
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    graph = helper.make_graph([node], "g", [x], [y], [held])
    opsets = [helper.make_opsetid("", 23)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    if fmt in WHOLE:
        return quantise_products(model, {"product": fmt})
    # onnxruntime's own tool, so that ours is held to something else than itself
    form = format_of(fmt)
    quantiser = MatMulNBitsQuantizer(
        model,
        bits=form.bits,
        block_size=form.block,
        is_symmetric=form.symmetric,
        accuracy_level=4,
    )
    quantiser.process()
    return quantiser.model.model


def stored(model, fmt, size):
    """The weights ``[out, in]`` that a quantised graph holds, as its operators are defined."""
    arrays = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    if fmt is WeightFormat.FP8:
        codes, scale = (arrays[f"product.weight_{part}"] for part in ("quantized", "scale"))
        return (codes.astype(np.float32) * scale).T
    if fmt is WeightFormat.W8A8:
        codes, scale, zero = (
            arrays[f"product.weight_{part}"] for part in ("quantized", "scale", "zero_point")
        )
        return ((codes.astype(np.int32) - zero).astype(np.float32) * scale).T
    bits, outputs = format_of(fmt).bits, len(arrays[f"w_Q{format_of(fmt).bits}"])
    scales = arrays["w_scales"].reshape(outputs, -1)
    codes = numbers(arrays[f"w_Q{bits}"].reshape(*scales.shape, -1), bits)
    points = np.full(scales.shape, 2 ** (bits - 1))
    if not format_of(fmt).symmetric:
        points = numbers(arrays["w_zero_points"].reshape(outputs, -1), bits)[:, : scales.shape[1]]
    blocks = (codes - points[..., None]).astype(np.float32) * scales[..., None]
    return blocks.reshape(len(blocks), -1)[:, :size]


def numbers(packed, bits):
    """Numbers of so many bits, ``[..., numbers]``, of bytes whose lowest bits come first."""
    digits = np.unpackbits(packed, axis=-1, bitorder="little")
    digits = digits.reshape(*packed.shape[:-1], -1, bits).astype(np.int32)
    return digits @ (1 << np.arange(bits))


def halfway(x, fmt):
    """Inputs half way between two codes, and the distance of those: kernels round them either way."""
    exact = x.astype(np.float64)
    if fmt is WeightFormat.W8A8:
        step = np.full_like(exact, (max(x.max(), 0) - min(x.min(), 0)) / 255)
    elif fmt is WeightFormat.FP8:
        scale = np.maximum(np.abs(exact).max(axis=-1, keepdims=True) / 448, 1e-30)
        # three bits of mantissa, and no exponent below -6
        step = scale * np.exp2(np.floor(np.log2(np.maximum(np.abs(exact) / scale, 2.0**-6))) - 3)
    else:
        block = format_of(fmt).block
        padded = np.pad(np.abs(exact), ((0, 0), (0, 0), (0, -x.shape[-1] % block)))
        largest = padded.reshape(*x.shape[:2], -1, block).max(axis=-1)
        step = np.repeat(largest / 127, block, axis=-1)[..., : x.shape[-1]]
    place = np.divide(exact, step, out=np.zeros_like(exact), where=step > 0)
    return np.where(np.abs(place % 1 - 0.5) < 1e-3, step, 0)


def reach(magnitude, fmt):
    """Sizes ``[in, out]`` whose rounding errors a product carries.

    Kernels of block formats count codes from the smallest and take the surplus off again, in floats:
    all values of a block carry errors of its largest.
    """
    if fmt in WHOLE:
        return magnitude
    size, block = len(magnitude), format_of(fmt).block
    blocks = np.pad(magnitude, ((0, -size % block), (0, 0))).reshape(-1, block, magnitude.shape[1])
    return np.repeat(blocks.max(axis=1), block, axis=0)[:size]


@pytest.mark.parametrize("fmt", QUANTISED)
@pytest.mark.parametrize("name", WEIGHTS)
def test_simulated_weights_and_products_are_onnxruntimes(name, fmt):
    weight = WEIGHTS[name]
    size = weight.shape[1]
    linear = nn.Linear(size, len(weight), bias=False)
    linear.weight.data = torch.from_numpy(weight)
    model = kernel(weight, fmt)
    simulated = simulate(linear, fmt)
    found = simulated.weight.numpy()
    np.testing.assert_array_equal(found, stored(model, fmt, size))
    session = ort.InferenceSession(model.SerializeToString())
    for x in inputs(size):
        theirs = session.run(None, {"x": x})[0].astype(np.float64)
        with torch.no_grad():
            ours = simulated(torch.from_numpy(x)).numpy().astype(np.float64)
        assert np.isfinite(ours).all() and np.isfinite(theirs).all()
        magnitude = np.abs(found).astype(np.float64).T
        reached = reach(magnitude, fmt)
        terms = np.abs(x).astype(np.float64) @ reached
        # w8a8 scales the whole tensor alike, so a small row carries a large one's rounding
        largest = terms.max() if fmt is WeightFormat.W8A8 else terms
        slack = 4e-6 * largest + halfway(x, fmt) @ magnitude + NOTHING
        # and blocks of inputs without an inverse scale are anything as small
        slack = slack + 2 * SMALLEST_INPUT * reached.sum(axis=0)
        assert (np.abs(ours - theirs) <= slack).all(), np.abs(ours - theirs).max()


@pytest.mark.parametrize("largest", [1.0, 0.3, 1e-3])
@pytest.mark.parametrize("first", [1, -1])
def test_the_negative_one_of_two_largest_gets_the_exact_code(first, largest):
    weight = torch.zeros(1, 32)
    weight[0, :3] = torch.tensor([first * largest, -first * largest, largest / 2])
    for bits, exact in ((2, 1 / 2), (4, 7 / 8), (8, 127 / 128)):
        wanted = [largest * (exact if sign > 0 else -1) for sign in (first, -first)]
        found = rounded(weight, format_of(WeightFormat(f"w{bits}")))[0, :3]
        torch.testing.assert_close(found, torch.tensor([*wanted, largest / 2]))


@pytest.mark.parametrize("bits", [2, 4])
def test_zero_points_reach_from_the_smallest_to_the_largest(bits):
    weight = torch.zeros(1, 32)
    weight[0, :4] = torch.tensor([0.25, 2.0, 3.0, 1.0])
    steps = 2**bits - 1
    found = rounded(weight, format_of(WeightFormat(f"w{bits}-asym")))[0, :4]
    torch.testing.assert_close(found, (weight[0, :4] * steps / 3).round() * 3 / steps)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_codes_are_within_their_bits_and_nearest(bits):
    weight = normal(40, 100)
    packed, scales = format_of(WeightFormat(f"w{bits}")).encode(weight.T).values()
    half = 2 ** (bits - 1)
    codes = unpacked(packed, bits).astype(int) - half
    assert codes.shape == (40, 4, 32) and scales.shape == (40, 4)
    assert codes.min() == -half and codes.max() <= half - 1
    values = (codes * scales[..., None]).reshape(40, -1)[:, :100]
    steps = np.repeat(np.abs(scales), 32, axis=1)[:, :100]
    # the largest of the sign that has one code less may be a whole step off
    assert (np.abs(values - weight) <= steps * (1 + 1e-5)).all()
    near = (np.abs(values - weight) <= steps * 0.501).mean()
    assert near > (0.75 if bits == 2 else 0.95)


@pytest.mark.parametrize("rounding", [round_input_blocks, round_samples])
@pytest.mark.parametrize("power", [-45, -42, -39, -37, -30, 0, 20])
def test_inputs_of_any_size_stay_finite_and_near(rounding, power):
    x = torch.from_numpy(scaled(normal(1, 3, 40), power))
    found = rounding(x)
    assert torch.isfinite(found).all()
    step = x.abs().max().double() * 2 / 255
    assert ((found.double() - x.double()).abs() <= step + NOTHING).all()


@pytest.mark.parametrize("fmt", QUANTISED)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_in_float_and_stays_half(fmt, dtype):
    linear = nn.Linear(64, 8, bias=False).to(dtype)
    exact = nn.Linear(64, 8, bias=False)
    exact.weight.data = linear.weight.detach().float()
    half, full = simulate(linear, fmt), simulate(exact, fmt)
    assert half.weight.dtype == dtype
    torch.testing.assert_close(half.weight, full.weight.to(dtype), rtol=0, atol=0)
    x = torch.randn(1, 3, 64).to(dtype)
    found, wanted = half.round_inputs(x), full.round_inputs(x.float())
    torch.testing.assert_close(found, wanted.to(dtype), rtol=0, atol=0)


def test_channels_too_small_for_a_scale_are_zeros():
    weight = torch.full((2, 8), 1e-38)
    weight[1] = 1e-30
    found = rounded(weight, format_of(WeightFormat.W8A8))
    assert not found[0].any() and torch.allclose(found[1], weight[1])
