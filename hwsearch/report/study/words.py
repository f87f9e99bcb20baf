"""Numbers and plans as a reader of the page sees them."""

from __future__ import annotations

from collections.abc import Sequence

from hwsearch.plan import CompressionPlan, Decoding, format_words

#: Losses below it, in nats, are what float32 makes of none.
ROUNDING = 1e-8


def ms(value: float) -> str:
    """Milliseconds with three digits that count.

    >>> ms(22.0871), ms(1.23456), ms(284.49)
    ('22.1 ms', '1.23 ms', '284 ms')
    """
    return f"{number(value)} ms"


def number(value: float) -> str:
    """A number with three digits that count, and no exponent before it needs one.

    >>> number(1234.5), number(0.01234), number(0.0), number(1.2e-6)
    ('1234', '0.0123', '0', '1.2e-06')
    """
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def target_words(value: str, how: str) -> str:
    """A target, and whether predicted or measured times are held against it.

    >>> target_words("18.7 ms", "predicted")
    'target of 18.7 ms (predicted)'
    """
    return f"target of {value} ({how})"


def nats(value: float) -> str:
    """A loss; one that is nothing but rounding is none.

    >>> nats(0.00123456), nats(-0.0), nats(-4e-10)
    ('0.00123', '0', '0')
    """
    return "0" if abs(value) < ROUNDING else f"{value:z.3g}"


def percent(share: float) -> str:
    """A share in per cent.

    >>> percent(0.8755)
    '87.5 %'
    """
    return f"{100 * share:.1f} %"


def percent_span(low: float, high: float) -> str:
    """An interval of shares in per cent.

    >>> percent_span(0.846, 0.904)
    '84.6 to 90.4 %'
    """
    return f"{100 * low:.1f} to {100 * high:.1f} %"


def ms_span(ends: Sequence[float] | None) -> str:
    """An interval of milliseconds; nothing where it is unknown.

    >>> ms_span((20.51, 23.9)), ms_span(None)
    ('20.5 to 23.9', '')
    """
    return "" if ends is None else f"{number(ends[0])} to {number(ends[1])}"


def megabytes(size_bytes: float) -> str:
    """Bytes as decimal megabytes, or gigabytes where there are thousands.

    >>> megabytes(8_512_000), megabytes(16_000_000_000)
    ('8.5 MB', '16.0 GB')
    """
    if size_bytes >= 1e9:
        return f"{size_bytes / 1e9:.1f} GB"
    return f"{size_bytes / 1e6:.1f} MB"


def decoding_words(decoding: Decoding | None, makers: Decoding | None) -> str:
    """How a plan decodes, in a few words."""
    if decoding is not None:
        return decoding.words
    return "the makers' decoding" if makers is None else f"the makers' {makers.words}"


def formats_words(plan: CompressionPlan) -> str:
    """Formats of a plan in a few words: one where all are alike.

    >>> formats_words(CompressionPlan.uniform(2, "w8", "w8", head="w8"))
    'w8 in every layer and the head'
    """
    layers = {tuple(layer.formats.items()) for layer in plan.layers}
    if len(layers) > 1:
        used = sorted({fmt.value for layer in plan.layers for fmt in layer.formats.values()})
        return f"{', '.join(used)} by layer, head {plan.head.value}"
    formats = plan.layers[0].formats
    if {*formats.values(), plan.head} == {plan.head}:
        return f"{plan.head.value} in every layer and the head"
    attention, mlp = (format_words(formats, short) for short in ("attention", "mlp"))
    return f"attention {attention}, mlp {mlp} in every layer, head {plan.head.value}"


def plan_lines(plan: CompressionPlan) -> list[str]:
    """A plan as the lines of a hint: layers that are alike stand together."""
    lines: list[str] = []
    begun = 0
    for index, layer in enumerate(plan.layers):
        following = plan.layers[index + 1] if index + 1 < len(plan.layers) else None
        if layer == following:
            continue
        name = f"layer {begun}" if begun == index else f"layers {begun}-{index}"
        said = [f"{group} {fmt.value}" for group, fmt in layer.formats.items()]
        if layer.sink_threshold < 1.0:
            said.append(f"sink threshold {layer.sink_threshold:g}")
        for field, word in (("kept_heads", "heads"), ("kept_channels", "channels")):
            if getattr(layer, field) is not None:
                said.append(f"{getattr(layer, field)} {word}")
        if layer.sparsity is not None:
            said.append(f"sparsity {layer.sparsity}")
        lines.append(f"{name}: {', '.join(said)}")
        begun = index + 1
    return [*lines, f"head: {plan.head.value}"]
