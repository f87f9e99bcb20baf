"""Apple's CoreML under onnxruntime: the CPU, GPU and neural engine of Macs and iPhones.

It has kernels for simple operators of floats alone, of those that gather for GatherND alone, and takes a
node only where its sizes are fixed.
"""

from typing import Final

from hwsearch.plan import WeightFormat
from hwsearch.runtime.providers.provider import NO_HARDWARE, TRANSFORMER_OPERATORS, Provider

COREML: Final = Provider(
    name="onnxruntime-coreml",
    execution="CoreMLExecutionProvider",
    package="onnxruntime",
    least="1.25",
    formats=(WeightFormat.FP32,),
    processor="npu",
    decomposed=TRANSFORMER_OPERATORS | {"Gather"},
    static_shapes=True,
    untested=NO_HARDWARE,
    settings={"ModelFormat": "MLProgram", "RequireStaticInputShapes": "1"},
)
