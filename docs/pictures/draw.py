"""The pictures of the docs, as SVG.

    python docs/pictures/draw.py

`passes.svg` is drawn from `passes.json` (`record.py` makes it), `waterfall.svg` from `demo.json` (a run of
`make demo JSON=1`). The others show how something works, and are drawn from formulas alone.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

from svg import BLUE, GREY, INK, ORANGE, PALE, Picture

HERE = Path(__file__).parent


def plan() -> Picture:
    """Which dials a plan has."""
    p = Picture(720, 250, "A plan: dials of each layer, the head's format, and the decoding")
    dials = [("qkv", "format"), ("out", "format"), ("gate_up", "format"), ("down", "format")]
    for row in range(3):
        y = 20 + row * 62
        name = "layer N" if row == 2 else f"layer {row}"
        p.text(16, y + 28, name, bold=True)
        for column, words in enumerate(dials):
            p.labelled(90 + column * 92, y, 84, 46, *words, fill="#dbe7f5")
        p.labelled(462, y, 110, 46, "sink threshold", "cached positions", size=12)
        p.labelled(580, y, 124, 46, "heads, channels", "what stays", size=12)
    p.text(40, 196, "…", 16, "middle", GREY)
    p.labelled(90, 206, 360, 34, "decoding: policy, stop, window", fill="#fbe6d0")
    p.labelled(462, 206, 110, 34, "head: format", fill="#dbe7f5")
    p.labelled(580, 206, 124, 34, "rounding", fill="#e3f1e8")
    return p


def passes() -> Picture:
    """In which pass each token of one answer was written, by two decodings."""
    found = json.loads((HERE / "passes.json").read_text(encoding="utf-8"))["decodings"]
    p = Picture(760, 640, "Passes of one answer: 48 by the makers' schedule, a few by a threshold")
    top = 54
    for name, one in found.items():
        count, cell = len(one["passes"]), 13
        p.text(16, top - 30, f"{name}: {count} passes", 14, bold=True)
        p.text(100, top - 10, "position in the answer →", 11, fill=GREY)
        height = 8 if count > 20 else cell
        for index, kind in enumerate(one["passes"]):
            y = top + index * height
            if count <= 20 or kind == "refresh":
                p.text(92, y + height - 1, f"{kind} {index + 1}", 10, "end", GREY)
            for position, wrote in enumerate(one["written"]):
                written = 0 <= wrote < index
                now = wrote == index
                fill = ORANGE if now else BLUE if written else PALE
                p.box(100 + position * cell, y, cell - 1, height - 1, fill, radius=1)
        top += count * height + 74
    p.box(100, top - 50, 12, 12, ORANGE, radius=1)
    p.text(118, top - 40, "written by this pass", 12)
    p.box(270, top - 50, 12, 12, BLUE, radius=1)
    p.text(288, top - 40, "written before", 12)
    p.box(400, top - 50, 12, 12, PALE, stroke=GREY, radius=1)
    p.text(418, top - 40, "still a mask", 12)
    p.height = top - 24
    return p


def sinks() -> Picture:
    """What a sink threshold does to the cache of a layer."""
    p = Picture(720, 236, "A layer keeps the cached positions that are sinks most often")
    weight = [
        math.exp(-((i - 2) ** 2) / 3) + 0.9 * math.exp(-((i - 15) ** 2) / 4) for i in range(30)
    ]
    weight = [0.06 + w + 0.08 * math.sin(3 * i) ** 2 for i, w in enumerate(weight)]
    cut = sorted(weight, reverse=True)[14]
    for i, w in enumerate(weight):
        kept = w >= cut
        p.box(40 + i * 19, 110 - 70 * w, 14, 70 * w, ORANGE if kept else GREY, radius=1)
        p.box(40 + i * 19, 150, 14, 22, BLUE if kept else PALE, stroke=GREY, radius=2)
    p.text(40, 24, "attention that each cached position receives in a refresh", bold=True)
    p.text(
        40, 142, "the layer's cache until the next refresh, at a kept share of one half", bold=True
    )
    p.line([(320, 178), (320, 204)], arrow=True)
    p.labelled(190, 206, 260, 26, "steps attend to what is blue", fill="#dbe7f5")
    p.text(470, 223, "half the keys, half that work", 12, fill=GREY)
    return p


def formats() -> Picture:
    """Which numbers a format has, and where weights go."""
    p = Picture(720, 236, "Weights on the grids of three formats")
    weights = [-0.93, -0.61, -0.47, -0.22, -0.08, 0.05, 0.17, 0.33, 0.52, 0.78]
    for row, (name, bits) in enumerate((("w8", 8), ("w4", 4), ("w2", 2))):
        y, levels = 62 + row * 62, 2 ** (bits - 1)
        scale = 0.93 / levels
        p.text(16, y + 5, name, 14, bold=True)
        for code in range(-levels, levels):
            x = 390 + 310 * code * scale
            p.line([(x, y - 6), (x, y + 6)], GREY, 0.6 if bits == 8 else 1.2)
        for w in weights:
            code = max(-levels, min(levels - 1, round(w / scale)))
            x, near = 390 + 310 * w, 390 + 310 * code * scale
            p.line([(x, y - 22), (near, y - 4)], ORANGE, 1)
            p.dot(x, y - 24, 3, ORANGE)
            p.dot(near, y, 3.5, BLUE)
    p.text(60, 24, "orange: weights of a block as floats", 12, fill=ORANGE)
    p.text(300, 24, "blue: the numbers that stand for them", 12, fill=BLUE)
    p.text(
        60,
        222,
        "a block shares one scale; fewer bits leave fewer numbers to choose from",
        12,
        fill=INK,
    )
    return p


def latency() -> Picture:
    """From the samples of operators to the milliseconds of a generation."""
    p = Picture(740, 210, "How a prediction is made: operators, sums, lines, passes")
    boxes = [
        ("operators", "each timed, in turns"),
        ("a pass", "sum of its operators"),
        ("calibration", "a + b · sum"),
        ("a generation", "passes × time of each"),
    ]
    for i, words in enumerate(boxes):
        x = 12 + i * 184
        p.labelled(x, 20, 164, 54, *words, fill="#dbe7f5", size=12)
        if i:
            p.line([(x - 20, 47), (x - 2, 47)], arrow=True)
    p.labelled(12, 110, 164, 44, "table of the device", "median, scatter", size=12)
    p.labelled(196, 110, 164, 44, "the plan", "which operators", fill="#e3f1e8", size=12)
    p.labelled(380, 110, 164, 44, "bundles, run whole", "here, beside each other", size=12)
    p.labelled(
        564, 110, 164, 44, "questions, answered", "count the passes", fill="#fbe6d0", size=12
    )
    for i in range(4):
        p.line([(94 + i * 184, 108), (94 + i * 184, 78)], arrow=True)
    p.text(
        12,
        190,
        "Both errors go along: that of each median, and that of whole models about the line.",
        12,
    )
    return p


def intervals() -> Picture:
    """Why accuracies are compared problem by problem: an example, where 9 answers got right and 16 wrong."""
    p = Picture(720, 240, "Two accuracies with their intervals, and the paired difference")
    p.text(16, 26, "each by itself, 500 problems, 95 % intervals", bold=True)
    left, unit = 210, 44  # from 82 %

    def x(percent: float) -> float:
        return left + (percent - 82) * unit

    for y, name, low, mid, high in (
        (56, "uncompressed", *wilson(441, 500)),
        (86, "compressed", *wilson(434, 500)),
    ):
        p.text(16, y + 5, name)
        p.line([(x(low), y), (x(high), y)], BLUE, 3)
        p.dot(x(mid), y, 5)
        p.text(x(high) + 10, y + 5, f"{mid:.1f} %", 12)
    p.text(16, 132, "the difference, on the same problems", bold=True)
    zero, step = 460, 70
    p.line([(zero, 146), (zero, 200)], GREY, 1, dashed=True)
    p.text(zero, 216, "0 points", 12, "middle", GREY)
    low, mid, high = paired(9, 16, 500)
    p.line([(zero + low * step, 172), (zero + high * step, 172)], ORANGE, 3)
    p.dot(zero + mid * step, 172, 5, ORANGE)
    p.text(16, 177, "compressed − uncompressed")
    p.text(
        16,
        234,
        "Most problems are answered alike, so the difference is known better than either.",
        12,
    )
    return p


def wilson(right: int, asked: int) -> tuple[float, float, float]:
    """Share in percent with Wilson's 95 % interval."""
    z, share = 1.96, right / asked
    middle = (share + z * z / (2 * asked)) / (1 + z * z / asked)
    half = z * math.sqrt(share * (1 - share) / asked + z * z / (4 * asked**2)) / (1 + z * z / asked)
    return 100 * (middle - half), 100 * share, 100 * (middle + half)


def paired(won: int, lost: int, asked: int) -> tuple[float, float, float]:
    """Difference in points where so many problems were won and lost, with its normal 95 % interval."""
    mean = (won - lost) / asked
    half = 1.96 * math.sqrt(((won + lost) / asked - mean**2) / asked)
    return 100 * (mean - half), 100 * mean, 100 * (mean + half)


def forecasts() -> Picture:
    """A pass that is foreseen need not be run."""
    p = Picture(720, 190, "A forecast writes tokens that the next pass would have written")
    for row, (name, kinds) in enumerate(
        (
            ("without", ["refresh", "step", "step", "refresh", "step"]),
            ("with a forecast", ["refresh", "forecast", "refresh", "forecast", "step"]),
        )
    ):
        x, y = 150, 24 + row * 76
        p.text(16, y + 27, name, bold=True)
        for kind in kinds:
            width = {"refresh": 150, "step": 78, "forecast": 16}[kind]
            fill = {"refresh": "#9dbfe6", "step": "#dbe7f5", "forecast": ORANGE}[kind]
            p.box(x, y, width, 42, fill)
            if kind != "forecast":
                p.text(x + width / 2, y + 26, kind, 12, "middle")
            x += width + 4
    p.text(150, 172, "orange: numpy, no network. time →", 12, fill=GREY)
    return p


def analytical() -> Picture:
    """How the weights of the data concentrate as noise falls."""
    p = Picture(720, 230, "Weights of data points in the best guess, at three levels of noise")
    angle, out = [2.4 * i for i in range(50)], [math.sqrt(i) for i in range(50)]
    spots = [(14 * r * math.cos(a), 11 * r * math.sin(a)) for a, r in zip(angle, out, strict=True)]
    at = (28.0, 16.0)
    for column, (name, spread) in enumerate(
        (("much noise", 120.0), ("less", 26.0), ("little", 7.0))
    ):
        cx = 125 + column * 235
        p.text(cx, 24, name, 13, "middle", bold=True)
        weights = [
            math.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * spread**2)) for x, y in spots
        ]
        largest = max(weights)
        for (x, y), w in zip(spots, weights, strict=True):
            share = w / largest
            p.dot(
                cx + x,
                122 + y,
                2.5 + 3.5 * share,
                BLUE if share > 0.02 else GREY,
                0.25 + 0.75 * share,
            )
        counted = sum(weights) ** 2 / sum(w * w for w in weights)
        p.dot(cx + at[0], 122 + at[1], 4, ORANGE)
        p.text(
            cx, 218, f"as many as {counted:.0f} of {len(spots)} points count", 12, "middle", GREY
        )
    return p


def waterfall() -> Picture:
    """What each lever brings: passes and milliseconds of the demo."""
    demo = json.loads((HERE / "demo.json").read_text(encoding="utf-8"))
    rows = demo["waterfall"]
    p = Picture(760, 76 + 44 * len(rows), "Milliseconds and passes of a generation, lever by lever")
    longest = max(row["measured_ms"] for row in rows)
    for i, row in enumerate(rows):
        y = 44 + i * 44
        width = 340 * row["measured_ms"] / longest
        p.text(224, y + 20, row["title"], 13, "end")
        p.box(236, y, width, 28, ORANGE if i == len(rows) - 1 else BLUE)
        took = f"{row['measured_ms']:.1f} ms, {row['measured_passes']:.1f} passes"
        p.text(244 + width, y + 19, took, 12, bold=True)
    p.text(236, 26, "measured milliseconds of one generation", 12, fill=GREY)
    p.text(
        16,
        66 + 44 * len(rows),
        f"{demo['command']} at {demo['commit']}: {demo['machine']}",
        11,
        fill=GREY,
    )
    return p


PICTURES = (waterfall, plan, passes, sinks, formats, latency, intervals, forecasts, analytical)


def main() -> None:
    """Draw all of them beside this file."""
    for draw in PICTURES:
        draw().write(HERE / f"{draw.__name__}.svg")


if __name__ == "__main__":
    main()
