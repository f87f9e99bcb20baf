"""Ways to change a file, by kind. Each takes bytes and a generator of chance and returns other bytes."""

from __future__ import annotations

import gzip
import json
import re

NUMBER = re.compile(rb"(?<![\w.])-?\d+(?:\.\d+)?(?![\w.])")

#: What stands in place of a number.
HUGE = (
    b"0", b"-1", b"1000000", b"1000000000", b"4000000000000000000", b"1" + b"0" * 400, b"9" * 5000,
    b"1e308", b"1e-308", b"1e999", b"NaN", b"nan", b"inf", b"-Infinity", b"true", b"null", b'"1"', b"[]",
    b"{}", b"0.5", b"3.0", b"0x10",
)  # fmt: skip

#: What stands in place of a text.
TEXTS = (
    '""', '"\\ud800"', '"\\u0000"', '"../../etc/passwd"', '"/etc/passwd"', '"' + "a" * 100_000 + '"',
    "17", "true",
    "null", "[1]", '{"a": 1}', '"{question:300000000}"', '"{question.__class__}"',
    "[[]]", "-1", "1e999",
)  # fmt: skip


def flipped(content, chance):
    found = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 8))):
        if found:
            found[chance.randrange(len(found))] = chance.randrange(256)
    return bytes(found)


def cut(content, chance):
    return content[: chance.randrange(len(content) + 1)]


def without_a_part(content, chance):
    start = chance.randrange(len(content) + 1)
    return content[:start] + content[start + chance.randrange(1, 64) :]


def with_more(content, chance):
    start = chance.randrange(len(content) + 1)
    part = content[start : start + chance.randrange(1, 200)]
    return content[:start] + part * chance.choice((1, 2, 50)) + content[start:]


def line_deleted(content, chance):
    lines = content.split(b"\n")
    del lines[chance.randrange(len(lines))]
    return b"\n".join(lines)


def line_doubled(content, chance):
    lines = content.split(b"\n")
    place = chance.randrange(len(lines))
    lines.insert(chance.randrange(len(lines) + 1), lines[place])
    return b"\n".join(lines)


def lines_swapped(content, chance):
    lines = content.split(b"\n")
    one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return b"\n".join(lines)


def number_changed(content, chance):
    found = list(NUMBER.finditer(content))
    if not found:
        return flipped(content, chance)
    place = chance.choice(found)
    return content[: place.start()] + chance.choice(HUGE) + content[place.end() :]


def text_changed(content, chance):
    found = list(re.finditer(rb'"[^"\n]*"', content))
    if not found:
        return flipped(content, chance)
    place = chance.choice(found)
    return content[: place.start()] + chance.choice(TEXTS).encode() + content[place.end() :]


def recoded(content, chance):
    text = content.decode("utf-8", "replace")
    return chance.choice(
        (
            lambda: text.encode("utf-16"),
            lambda: text.encode("utf-32"),
            lambda: b"\xef\xbb\xbf" + content,
            lambda: gzip.compress(content, mtime=0),
            lambda: text.replace("\n", "\r\n").encode(),
            lambda: text.replace("a", "\xe9").encode("latin-1", "replace"),
            lambda: b"",
            lambda: b"\0" * 64,
            lambda: content.replace(b" ", b"\0"),
            lambda: text.replace(" ", "\u2028").encode(),
        )
    )()


def nested(content, chance):
    deep = chance.choice((70, 990, 5000, 100_000))
    opened, closed = chance.choice(((b"[", b"]"), (b'{"a":', b"}")))
    inside = opened * deep + b"1" + closed * deep
    found = list(NUMBER.finditer(content))
    if not found or chance.random() < 0.3:
        return inside
    place = chance.choice(found)
    return content[: place.start()] + inside + content[place.end() :]


def json_changed(content, chance):
    """A value of JSON anywhere in it changed, a key removed, doubled or added."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return number_changed(content, chance)
    places = []

    def walk(value):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            places.append((value, key))
            if isinstance(inner, dict | list):
                walk(inner)

    if (
        not isinstance(found, dict | list)
        or not found
        or content.count(b"[" * 60)
        or content.count(b'{"a":' * 60)
    ):
        return flipped(content, chance)
    walk(found)
    holder, key = chance.choice(places)
    kind = chance.randrange(4)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[chance.choice(("extra", "", "a" * 5000, str(key) + " "))] = holder[key]
    elif kind == 2 and isinstance(holder[key], list):
        holder[key] = holder[key] * chance.choice((0, 2, 40))
    else:
        holder[key] = chance.choice(
            (None, True, False, 0, -1, 1, 2.5, 10**6, 10**9, 4 * 10**18, 10**400, 1e308, "", "x", "1",
             [], {}, [[]], [1], {"a": 1}, "a" * 5000, "../x", "/x", "\ud800", "\0")
        )  # fmt: skip
    return json.dumps(found).encode()


BYTES = (flipped, cut, without_a_part, with_more)
TEXT = (
    *BYTES, line_deleted, line_doubled, lines_swapped, number_changed, number_changed, text_changed,
    text_changed, recoded, nested,
)  # fmt: skip
JSON = (*TEXT, json_changed, json_changed, json_changed, json_changed)
