"""How much work rounding by calibration is, told from sizes alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

#: Rows of all samples together.
MOST_ROWS = 8192

#: Multiplications by ``out · in²``: outputs exact, and errors of four tries; twice a half of GPTQ's.
_BY_WEIGHTS = 6.0

#: And by ``in³``: two factorings and inversions, in double precision.
_BY_INPUTS = 5.3

#: How much longer a multiplication takes here than in a pass: 2 to 5 times in gsm-mini, by format.
SLOWER = 3.0


def multiplications(
    layers: Sequence[Mapping[str, Sequence[tuple[int, int]]]], rows: int, formats: int
) -> float:
    """Multiplications of rounding all linears of all layers to some formats.

    >>> f"{multiplications([{'qkv': [(64, 64)] * 3}], rows=100, formats=2):.3g}"
    '1.3e+07'

    Args:
        layers: for each layer the (out, in) of the linears of each group, which share their inputs.
        rows: positions that are looked at.
        formats: how many.
    """
    found = 0.0
    for layer in layers:
        for linears in layer.values():
            if linears:
                outputs, inputs = sum(out for out, _ in linears), linears[0][1]
                each = _BY_WEIGHTS * outputs + _BY_INPUTS * inputs + rows
                found += each * inputs**2
    return found * formats
