"""The chosen plan as a picture, layer by dial."""

from __future__ import annotations

from typing import Any

from hwsearch.formats.catalog import FORMATS
from hwsearch.plan import CacheRule, CompressionPlan, LayerPlan, WeightFormat, kept_of
from hwsearch.report.study.charts import APART, BELOW, WIDTH, chart, heat, ink_on, layer, names
from hwsearch.report.study.facts import Chosen, Facts
from hwsearch.report.study.section import Figure, MissingFactsError, Section, Table
from hwsearch.report.study.words import formats_words, percent

TITLE = "The chosen plan"

#: Bits of a weight that nothing was done to.
WHOLE_BITS = 32

#: A dial of a layer: its heading, what a cell says, and what share stays (None: cannot be told).
Cell = tuple[str, str, float | None]


def plan(facts: Facts) -> Section:
    """Every layer and every dial of the chosen plan, and how it decodes."""
    chosen = facts.chosen
    words = (
        f"{chosen.why[0].upper()}{chosen.why[1:]}: {formats_words(chosen.plan)}. A cell says what a "
        "dial is set to; the darker it is, the more is left of the uncompressed model.",
        f"Decoding: {facts.decoding(chosen.plan)}. {decoding_explained(facts, chosen.plan)}",
        *cache_words(chosen.plan),
    )
    return Section("plan", TITLE, words, figures=(_figure(facts, chosen),))


def decoding_explained(facts: Facts, plan: CompressionPlan) -> str:
    """What the words of a decoding mean for a generation."""
    if facts.record.decoding is None:
        return ""
    decoding = plan.decoding or facts.record.decoding_value
    said = [
        f"{decoding.gen_length} tokens are written in {decoding.num_blocks} blocks of "
        f"{decoding.block_length}"
    ]
    if decoding.commit is None:
        said.append(f"a schedule of {decoding.steps} passes says how many masks each pass writes")
    else:
        said.append(
            f"each pass writes the masks that its commit policy allows ({decoding.commit.words})"
        )
    if decoding.stop_at_end:
        said.append("the generation stops at the end token")
    if decoding.window.advance:
        said.append("a new block begins from the cache instead of a refresh")
    if decoding.forecast is not None:
        said.append(f"some tokens are foreseen without a pass ({decoding.forecast.words})")
    return "; ".join(said) + "."


def cache_words(plan: CompressionPlan) -> list[str]:
    """By which rule positions stay, where any go."""
    if all(one.sink_threshold == 1.0 for one in plan.layers):
        return ["No layer drops cached positions."]
    cache = plan.cache
    how = "scored anew at each refresh" if cache.running else "scored beforehand"
    said = f"Cached positions stay by the rule {cache.rule.value}, {how}."
    if cache.early_scale != 1.0 or cache.late_scale != 1.0:
        said += (
            f" Shares are multiplied by {cache.early_scale:g} while more than {percent(cache.boundary)} is "
            f"unwritten, then by {cache.late_scale:g}."
        )
    return [said]


def _figure(facts: Facts, chosen: Chosen) -> Figure:
    rows = cells(facts, chosen.plan)
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    dials = list(dict.fromkeys(row["dial"] for row in rows))
    y = names("layer", layers)
    x = names("dial", dials, orient="top", labelPadding=6)
    height = 30 * len(layers)
    squares = layer(
        rows, "rect", hint=True, x=x, y=y, look={"stroke": "#ffffff", "strokeWidth": 1.5},
        color=heat("share", "share that stays", format=".0%", **BELOW),
    )  # fmt: skip
    words = layer(
        rows,
        "text",
        x=x,
        y=y,
        text={"field": "text"},
        color={"field": "ink", "type": "nominal", "scale": None},
    )
    by = {(row["layer"], row["dial"]): row["text"] for row in rows}
    body = tuple((name, *(by.get((name, dial), "") for dial in dials)) for name in layers)
    return Figure(
        "plan",
        "What is done to each layer",
        f"Table of {len(layers)} rows (layers and the head) by {len(dials)} dials ({', '.join(dials)}): "
        f"{formats_words(chosen.plan)}.",
        chart(
            squares, words, width=min(WIDTH, 190 + 115 * len(dials)), height=height, resolve=APART
        ),
        Table(("layer", *dials), body, "The plan, layer by layer"),
    )


def cells(facts: Facts, plan: CompressionPlan) -> list[dict[str, Any]]:
    """One row a layer and dial; dials that nothing can be said of are left out."""
    shares = kept_shares(facts, plan)
    found = []
    for index, one in enumerate(plan.layers):
        for dial, text, share in _dials(
            facts, plan, one, None if shares is None else shares[index]
        ):
            found.append(_cell(f"layer {index}", dial, text, share))
    for dial in ("q, k, v", "attn. out", "gate, up", "down"):
        found.append(_cell("head", dial, "", None))
    found.append(_cell("head", "head", plan.head.value, bits_share(plan.head)))
    heading = [row for row in found if row["share"] is not None]
    return heading


def _cell(layer_name: str, dial: str, text: str, share: float | None) -> dict[str, Any]:
    said = f"{layer_name}, {dial}: {text}"
    stays = "" if share is None else f" ({percent(share)} of the uncompressed stays)"
    ink = ink_on(share or 0.0)
    return {
        "layer": layer_name, "dial": dial, "text": text, "share": share, "ink": ink,
        "hint": said + stays,
    }  # fmt: skip


def kept_shares(facts: Facts, plan: CompressionPlan) -> list[float] | None:
    """Share of cached positions that each layer keeps; None where the study keeps no sinks."""
    if all(one.sink_threshold == 1.0 for one in plan.layers):
        return [1.0] * len(plan.layers)
    try:
        return list(facts.pricing.keep(plan).kept.shares)
    except MissingFactsError:
        return None


def _dials(facts: Facts, plan: CompressionPlan, one: LayerPlan, share: float | None) -> list[Cell]:
    threshold = one.sink_threshold
    positions = "all" if threshold == 1.0 else f"≤ {threshold:g}"
    if share is not None and share < 1.0:
        positions = percent(share)
        if plan.cache.rule in (CacheRule.KEEP_STABLE, CacheRule.DROP_TRANSIENT):
            positions += f" (≤ {threshold:g})"
    found: list[Cell] = [
        ("cached positions", positions, share if share is not None else threshold),
        ("q, k, v", one.qkv.value, bits_share(one.qkv)),
        ("attn. out", one.out.value, bits_share(one.out)),
        ("gate, up", one.gate_up.value, bits_share(one.gate_up)),
        ("down", one.down.value, bits_share(one.down)),
    ]
    geometry = facts.record.model_geometry
    for field, whole, dial in (
        ("kept_heads", "num_kv_heads", "heads"),
        ("kept_channels", "intermediate_size", "channels"),
    ):
        kept, most = getattr(one, field), getattr(geometry, whole, None)
        if kept is None:
            found.append((dial, "all" if most is None else f"all {most}", 1.0))
        else:
            found.append(
                (dial, f"{kept}" if most is None else f"{kept} of {most}", kept / (most or kept))
            )
    if any(other.sparsity is not None for other in plan.layers):
        found.append(
            ("sparsity", "none" if one.sparsity is None else str(one.sparsity), _dense(one))
        )
    return found


def _dense(one: LayerPlan) -> float:
    """Share of a layer's weights that are no zeros."""
    if isinstance(one.sparsity, str):
        kept, of = kept_of(one.sparsity)
        return kept / of
    return 1.0 - (one.sparsity or 0.0)


def bits_share(fmt: WeightFormat) -> float:
    """Bits of a format's weights, as a share of those of float32."""
    return FORMATS[fmt].bits / WHOLE_BITS
