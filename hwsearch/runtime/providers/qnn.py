"""Qualcomm's QNN under onnxruntime: the neural processor (HTP) of Snapdragon chips.

It has no Attention, wants fixed sizes, and computes floats in 16 bits. Packages from 2.0 on are
plug-ins, which are registered otherwise; this is for those before.
"""

from typing import Final

from hwsearch.plan import WeightFormat
from hwsearch.runtime.providers.provider import NO_HARDWARE, TRANSFORMER_OPERATORS, Provider

QNN: Final = Provider(
    name="onnxruntime-qnn",
    execution="QNNExecutionProvider",
    package="onnxruntime-qnn<2",
    least="1.25",
    formats=(WeightFormat.FP32,),
    processor="npu",
    decomposed=TRANSFORMER_OPERATORS,
    static_shapes=True,
    untested=NO_HARDWARE,
    settings={"backend_type": "htp"},
)
