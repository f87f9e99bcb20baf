"""Error and time of 8-bit integer products by the codes of their weights, and by how a session is asked.

`paired` are the product's own codes (int8, neighbours with room for each other), `int8` those of
onnxruntime's quantiser, `uint8` the same 128 higher; `option` asks a session for exact products.

    python studies/int8-exactness/run.py [--rounds 40] [-o FOLDER]

Prints machine and instruction set, then for every shape the largest error against the exact product
as a share of the largest output, and times as ratios to int8 with the option, medians of interleaved
rounds on one thread. Writes the same as `results.json` where a folder is given.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from hwsearch.bundle.products import quantise_products
from hwsearch.latency.devices.environment import instructions, processor
from hwsearch.latency.timing.clock import interleave
from hwsearch.plan import WeightFormat

#: (inputs, outputs) of a product.
SHAPES = ((192, 576), (512, 2048), (1536, 576), (4096, 1024))
ROWS = (1, 16, 64, 256)
VARIANTS = ("fp32", "paired plain", "paired option", "int8 plain", "int8 option", "uint8 plain")
BASE = "int8 option"


def float_model(weight: np.ndarray) -> onnx.ModelProto:
    """One product."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, None, weight.shape[0]])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, None, weight.shape[1]])
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    held = numpy_helper.from_array(weight, "w")
    graph = helper.make_graph([node], "product", [x], [y], [held])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)


def quantised(weight: np.ndarray) -> onnx.ModelProto:
    """The product with int8 weights, as onnxruntime's quantiser writes them by itself."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        source = float_model(weight)
        quantize_dynamic(source, str(path), per_channel=True, weight_type=QuantType.QInt8)
        return onnx.load(path)


def unsigned(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same product with uint8 weights."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        if tensor.data_type == TensorProto.INT8:
            codes = numpy_helper.to_array(tensor).view(np.uint8) ^ np.uint8(128)
            tensor.CopyFrom(numpy_helper.from_array(codes, tensor.name))
    return copy


def session(model: onnx.ModelProto, exact: bool) -> ort.InferenceSession:
    """On one thread, with the option that asks for exact int8 or without."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if exact:
        options.add_session_config_entry("session.x64quantprecision", "1")
    return ort.InferenceSession(model.SerializeToString(), options)


def models_of(weight: np.ndarray) -> dict[str, onnx.ModelProto]:
    """A product by the codes of its weights."""
    source, int8 = float_model(weight), quantised(weight)
    paired = quantise_products(float_model(weight), {"product": WeightFormat.W8A8})
    return {"fp32": source, "paired": paired, "int8": int8, "uint8": unsigned(int8)}


def exact_product(x: np.ndarray, model: onnx.ModelProto) -> np.ndarray:
    """What the operators are defined to give, in whole numbers."""
    # onnxruntime's quantiser calls the weight's arrays otherwise than ours
    ends = ("quantized", "zero_point", "scale")
    arrays = {
        end: numpy_helper.to_array(tensor)
        for end in ends
        for tensor in model.graph.initializer
        if tensor.name.endswith(f"_{end}")
    }
    low, high = min(x.min(), 0), max(x.max(), 0)
    step = np.float32((high - low) / np.float32(255))
    zero = np.clip(np.rint(-low / step), 0, 255)
    codes = np.clip(np.rint(x[0] / step) + zero, 0, 255).astype(np.int64) - int(zero)
    weight, middle = (arrays[end].astype(np.int64) for end in ends[:2])
    return (codes @ (weight - middle)) * (np.float64(step) * arrays["scale"])


def measure(rounds: int) -> list[dict[str, object]]:
    """Errors and ratios of every shape."""
    rng, rows_of = np.random.default_rng(0), []
    for inputs, outputs in SHAPES:
        weight = rng.standard_normal((inputs, outputs), dtype=np.float32)
        models = models_of(weight)
        opened = {
            name: session(models[name.split()[0]], name.endswith("option")) for name in VARIANTS
        }
        for rows in ROWS:
            x = np.abs(rng.standard_normal((1, rows, inputs), dtype=np.float32))
            wanted = {
                name: exact_product(x, model) for name, model in models.items() if name != "fp32"
            }
            found = {name: each.run(None, {"x": x})[0][0] for name, each in opened.items()}
            runs = {
                name: (lambda each=each, x=x: each.run(None, {"x": x}))
                for name, each in opened.items()
            }
            samples = interleave(runs, rounds)
            base = np.array(samples[BASE])
            rows_of.append(
                {
                    "shape": [rows, inputs, outputs],
                    "error": {
                        name: largest_error(y, wanted[name.split()[0]])
                        for name, y in found.items()
                        if name != "fp32"
                    },
                    "ratio": {
                        name: round(float(np.median(np.array(s) / base)), 3)
                        for name, s in samples.items()
                    },
                }
            )
            print(json.dumps(rows_of[-1]), flush=True)
    return rows_of


def largest_error(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference as a share of the largest output."""
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    facts = {
        "processor": processor(),
        "instructions": instructions(),
        "onnxruntime": ort.__version__,
    }
    print(json.dumps(facts), flush=True)
    rows = measure(options.rounds)
    over = {
        name: {
            "median ratio": float(np.median([row["ratio"][name] for row in rows])),
            "ratios": [min(r["ratio"][name] for r in rows), max(r["ratio"][name] for r in rows)],
            "largest error": max(row["error"].get(name, 0.0) for row in rows),
        }
        for name in VARIANTS
    }
    print(json.dumps(over, indent=1))
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        document = {"machine": facts, "summary": over, "rows": rows}
        text = json.dumps(document, indent=1) + "\n"
        (options.out / "results.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
