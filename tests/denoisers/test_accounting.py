from __future__ import annotations

import json
import subprocess
import sys

import pytest

from hwsearch.denoisers.accounting import (
    bytes_by_format,
    matrix_bytes,
    parameters,
    pass_flops,
    plan_bytes,
)
from hwsearch.denoisers.loading.config import parse_config
from hwsearch.denoisers.loading.json_fields import Fields
from hwsearch.denoisers.transformer import Transformer
from hwsearch.plan import CompressionPlan, WeightFormat
from tests.denoisers.checkpoints import HIDDEN, VOCAB, llada_config, stock_config

LLADA_8B = llada_config() | {
    "d_model": 4096,
    "n_heads": 32,
    "n_kv_heads": 32,
    "n_layers": 32,
    "mlp_hidden_size": 12288,
    "vocab_size": 126464,
    "embedding_size": 126464,
    "mask_token_id": 126336,
    "eos_token_id": 126081,
}


def geometry_of(config):
    return parse_config(Fields(config, "config.json")).geometry


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("tied", [False, True])
def test_parameters_are_those_of_the_network(kind, tied):
    geometry = geometry_of(stock_config(kind, 2) | {"tie_word_embeddings": tied, "head_dim": 12})
    counted = sum(weight.numel() for weight in Transformer(geometry).parameters())
    assert parameters(geometry).total == counted


def test_bytes_shrink_with_bits_and_fp32_is_four_a_parameter():
    geometry = geometry_of(LLADA_8B)
    sizes = bytes_by_format(geometry)
    assert sizes["fp32"] == 4 * parameters(geometry).total
    assert sizes["w4"] < sizes["w8a8"] < sizes["w8"] < sizes["fp32"]


def test_matrix_bytes_count_scales_and_padding():
    assert matrix_bytes((3, 40), WeightFormat.W4) == 3 * 2 * (16 + 4)
    assert matrix_bytes((3, 40), WeightFormat.W8) == 3 * 2 * (32 + 4)
    assert matrix_bytes((3, 40), WeightFormat.W8A8) == 3 * (40 + 4 + 1)


def test_bytes_of_a_plan_with_four_formats_are_a_sum_by_hand():
    geometry = geometry_of(LLADA_8B)
    layer = {"qkv": "w8", "out": "w4", "gate_up": "w8a8", "down": "fp32"}
    plan = CompressionPlan.validate({"layers": [layer, *[{}] * 31]})
    hidden, inner = 4096, 12288
    # fp32: 4 bytes a weight; in blocks of 32 a float scale each; w8a8: a scale and a byte an output
    whole = 4 * (4 * hidden * hidden + 2 * inner * hidden)
    own = 3 * hidden * hidden * 36 // 32 + hidden * hidden * 20 // 32
    own += 2 * inner * (hidden + 4 + 1)
    same = plan_bytes(geometry, CompressionPlan.uniform(32))
    assert plan_bytes(geometry, plan) == same - whole + own


def test_work_of_a_pass():
    geometry = geometry_of(stock_config("llama"))
    counted = parameters(geometry)
    done = pass_flops(geometry, rows=10, keys=30, predicted=4)
    assert done.attention_linear + done.mlp == 2 * 10 * 3 * (counted.attention + counted.mlp)
    assert done.attention == 3 * 2 * (2 * 10 * 30 * HIDDEN)
    assert done.head == 2 * 4 * VOCAB * HIDDEN
    assert done.total == done.attention_linear + done.mlp + done.attention + done.head


def test_a_config_alone_is_enough_and_torch_stays_out(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(LLADA_8B))
    program = (
        "import sys\n"
        "from hwsearch.denoisers.accounting import parameters\n"
        "from hwsearch.denoisers.loading.config import read_geometry\n"
        "print(parameters(read_geometry(sys.argv[1])).total, 'torch' in sys.modules)"
    )
    for given in (path, tmp_path):
        command = [sys.executable, "-c", program, str(given)]
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert answer.split() == ["8015581184", "False"]
