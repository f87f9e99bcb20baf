"""onnxruntime on an NVIDIA GPU, by CUDA.

Products of 16-bit floats run on tensor cores. Its kernel of Attention hands out no weights, so where a
layer's attention mass is wanted, that operator is written out. Products of bytes (`w8a8`) would fall to
the CPU, and blocks of codes are multiplied by float inputs.
"""

from typing import Final

from hwsearch.plan import WeightFormat
from hwsearch.runtime.providers.provider import BLOCKS_OF_8_AND_4, NO_HARDWARE, Provider

CUDA: Final = Provider(
    name="onnxruntime-cuda",
    execution="CUDAExecutionProvider",
    package="onnxruntime-gpu",
    least="1.25",
    formats=(WeightFormat.FP32, WeightFormat.FP16, *BLOCKS_OF_8_AND_4),
    processor="gpu",
    hands_out_weights=False,
    rounds_inputs=False,
    untested=NO_HARDWARE,
    # its default is to multiply floats of 32 bits with fewer
    settings={"use_tf32": "0"},
)
