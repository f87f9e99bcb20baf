"""TensorRT under onnxruntime, on an NVIDIA GPU.

It parses operators of ONNX alone, so none of blocks of codes, and compiles a graph for each set of sizes.
"""

from typing import Final

from hwsearch.plan import WeightFormat
from hwsearch.runtime.providers.provider import NO_HARDWARE, TRANSFORMER_OPERATORS, Provider

TENSORRT: Final = Provider(
    name="onnxruntime-tensorrt",
    execution="TensorrtExecutionProvider",
    package="onnxruntime-gpu",
    least="1.25",
    formats=(WeightFormat.FP32, WeightFormat.FP16),
    processor="gpu",
    decomposed=TRANSFORMER_OPERATORS,
    static_shapes=True,
    untested=NO_HARDWARE,
)
