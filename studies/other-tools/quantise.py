"""The float graph of run.py, quantised by another tool; runs in an environment of that tool's own.

pip install onnxruntime onnx onnx-ir sympy            # for onnxruntime-int8, onnxruntime-int4
pip install olive-ai onnxruntime                      # for olive-int8, olive-int4
pip install nncf onnx onnxruntime                     # for nncf-int4, nncf-int8
TOOL_PYTHON studies/other-tools/quantise.py METHOD FOLDER
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import onnx


def onnxruntime_int8(source: Path, target: Path) -> None:
    """onnxruntime's dynamic quantiser: int8 weights a channel, inputs rounded at each run."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        source,
        target,
        per_channel=True,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["MatMul"],
    )


def onnxruntime_int4(source: Path, target: Path) -> None:
    """onnxruntime's 4-bit weights in blocks of 32, to nearest, inputs in int8."""
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantiser = MatMulNBitsQuantizer(
        onnx.load(source), block_size=32, is_symmetric=True, accuracy_level=4
    )
    quantiser.process()
    quantiser.model.save_model_to_file(str(target), use_external_data_format=False)


def olive(source: Path, target: Path, pass_name: str, **settings: object) -> None:
    """One pass of Olive, by its workflow."""
    from olive.workflows import run

    run(
        {
            "input_model": {"type": "ONNXModel", "model_path": str(source)},
            "passes": {"quantise": {"type": pass_name, **settings}},
            "output_dir": str(target.parent / "olive"),
            "log_severity_level": 3,
        }
    )
    (made,) = (target.parent / "olive").rglob("*.onnx")
    onnx.save(onnx.load(made), target)


def olive_int8(source: Path, target: Path) -> None:
    """Olive's dynamic quantisation with its defaults."""
    olive(source, target, "OnnxDynamicQuantization")


def olive_int4(source: Path, target: Path) -> None:
    """Olive's 4-bit weights, to nearest, in blocks of 32."""
    settings = {"block_size": 32, "is_symmetric": True, "accuracy_level": 4}
    olive(source, target, "OnnxBlockWiseRtnQuantization", **settings)


def nncf(source: Path, target: Path, **settings: object) -> None:
    """NNCF's compression of weights, without data; the tied head, a transposed embedding, is none to it."""
    from nncf import IgnoredScope, compress_weights

    ignored = IgnoredScope(names=["head"])
    onnx.save(compress_weights(onnx.load(source), ignored_scope=ignored, **settings), target)


def nncf_int8(source: Path, target: Path) -> None:
    """8 bits a weight, symmetric; inputs stay floats."""
    from nncf import CompressWeightsMode

    nncf(source, target, mode=CompressWeightsMode.INT8_SYM)


def nncf_int4(source: Path, target: Path) -> None:
    """4 bits a weight in blocks of 32, symmetric; the embedding, and inputs, as its defaults have them."""
    from nncf import CompressWeightsMode

    nncf(source, target, mode=CompressWeightsMode.INT4_SYM, group_size=32)


METHODS = {
    "onnxruntime-int8": onnxruntime_int8,
    "onnxruntime-int4": onnxruntime_int4,
    "olive-int8": olive_int8,
    "olive-int4": olive_int4,
    "nncf-int8": nncf_int8,
    "nncf-int4": nncf_int4,
}


def main(method: str, folder: str) -> None:
    """Quantise the float graph, and say how long it took."""
    target = Path(folder) / f"other-{method}" / "refresh-logits.onnx"
    target.parent.mkdir(parents=True, exist_ok=True)
    # the graph in one file: what a tool is usually given
    whole = Path(folder) / "float-whole.onnx"
    if not whole.is_file():
        onnx.save(onnx.load(Path(folder) / "float" / "refresh-logits.onnx"), whole)
    began = time.perf_counter()
    METHODS[method](whole, target)
    print(f"{method}: {time.perf_counter() - began:.1f} s, {target.stat().st_size} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
