"""onnxruntime's own CPU provider: every format of `hwsearch.formats` that has an operator there."""

from typing import Final

from hwsearch.plan import WeightFormat
from hwsearch.runtime.providers.provider import Provider

CPU: Final = Provider(
    name="onnxruntime-cpu",
    execution="CPUExecutionProvider",
    package="onnxruntime",
    least="1.25",
    formats=tuple(fmt for fmt in WeightFormat if fmt is not WeightFormat.FP16),
)
