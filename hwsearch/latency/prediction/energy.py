"""Energy of the arithmetic alone, to compare formats: no device's joules.

Constants are bare data-path energies at 45 nm and 0.9 V (Horowitz, ISSCC 2014) and DRAM at 64 pJ
a byte (LPDDR4, 8 pJ a bit, as Accelergy's CACTI plug-in has it). A board spends far more on idling and on
everything around the arithmetic (a Raspberry Pi 5 about 1090 pJ for a byte of weights), so only ratios
between plans are given. For joules see `Predictor.energy_j`: measured power times time.
"""

from __future__ import annotations

from collections.abc import Mapping

from hwsearch.decoding.kept import KeptPlan
from hwsearch.formats.catalog import format_of
from hwsearch.latency.devices.roofline import moved_bytes
from hwsearch.latency.operators import OpKey, generation_operators
from hwsearch.latency.prediction.predictor import Predictor
from hwsearch.plan import WeightFormat

LABEL = "45 nm constants of arithmetic and DRAM, only to compare formats"

#: Picojoules of a byte read from or written to memory.
BYTE_PJ = 64.0


def arithmetic(predictor: Predictor, plan: KeptPlan) -> dict[str, object]:
    """Energy of a plan's arithmetic and memory traffic as a share of the uncompressed plan's."""
    whole = KeptPlan.keeping_all(predictor.device.uncompressed(len(plan.plan.layers)))
    share = _picojoules(predictor, plan) / _picojoules(predictor, whole)
    return {"share_of_uncompressed": share, "label": LABEL}


def _picojoules(predictor: Predictor, plan: KeptPlan) -> float:
    parts = (predictor.geometry, plan, predictor.workload)
    return sum(map(_sum, generation_operators(*parts)))


def _sum(operators: Mapping[OpKey, float]) -> float:
    return sum(count * operator_pj(key) for key, count in operators.items())


def operator_pj(key: OpKey) -> float:
    """Picojoules of one operator: multiply-adds of products, in fp32 elsewhere, and bytes."""
    form = format_of(WeightFormat(key.format))
    macs = 0.0
    if key.kind == "linear":
        macs = float(key.rows * key.in_features * key.out_features)
    elif key.kind.startswith("attention"):
        macs = 2.0 * key.rows * key.in_features * key.out_features
    elif key.kind == "mean-query":
        macs = float(key.in_features * key.kv_size)
    return macs * form.mac_pj + moved_bytes(key, form.bytes_per_weight) * BYTE_PJ
