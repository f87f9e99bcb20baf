"""Intel's OpenVINO under onnxruntime, on a processor of x86 (of other makers, too).

It has no kernel for the operator Attention. Where only that is written out, onnxruntime 1.24.1 joins nodes
of OpenVINO's around what is left into a circle and opens nothing, so all three operators of transformers
are. Weights in blocks are multiplied by float inputs: where a processor has VNNI it would round those,
were it not told not to, and compute other numbers than elsewhere. `Provider.threads_option` is its own:
it starts threads besides those of the session.
"""

import json
from typing import Final

from hwsearch.plan import WeightFormat
from hwsearch.runtime.providers.provider import (
    BLOCKS_OF_8_AND_4,
    TRANSFORMER_OPERATORS,
    Provider,
)

OPENVINO: Final = Provider(
    name="onnxruntime-openvino",
    execution="OpenVINOExecutionProvider",
    package="onnxruntime-openvino",
    least="1.24.1",
    formats=(
        WeightFormat.FP32,
        WeightFormat.W8A8,
        *BLOCKS_OF_8_AND_4,
        WeightFormat.W2,
        WeightFormat.W2_G64,
        WeightFormat.W2_G128,
    ),
    decomposed=TRANSFORMER_OPERATORS,
    fixed_rows=True,
    rounds_inputs=False,
    # its default on processors with bfloat16 units is to compute in that
    settings={
        "device_type": "CPU",
        "precision": "FP32",
        "load_config": json.dumps({"CPU": {"DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}}),
    },
    threads_option="num_of_threads",
)
