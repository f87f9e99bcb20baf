"""Ways to change a binary file that leave its form as it is, so that what it says is read, too.

Each takes bytes and a generator of chance and returns other bytes; what is no such file, or is one no more
after another change, has its bytes changed.
"""

from __future__ import annotations

import io
import struct
from contextlib import suppress

import numpy as np

from tests.hardening import mutators

#: What stands in place of a number of a header.
_NUMBERS = (
    0,
    1,
    2,
    3,
    7,
    31,
    64,
    255,
    2**16,
    2**20,
    2**31 - 1,
    2**31,
    2**32,
    2**40,
    2**62,
    2**63,
    2**64 - 1,
)

#: What stands in place of a text of a header.
_TEXTS = (
    b"", b"x", b"llama", b"gpt2", b"\xff\xfe", b"a" * 5000, b"token_embd.weight", b"../x", b"\0",
    b"{question}",
    "\u2028é".encode(),
)  # fmt: skip


def _or_bytes(change):
    """A change; where it cannot be made, one of bytes."""

    def changed(content, chance):
        with suppress(Exception):  # whatever libraries raise of a file that was changed before
            return change(content, chance)
        return mutators.flipped(content, chance)

    return changed


@_or_bytes
def safetensors_changed(content, chance):
    """The header of a safetensors file changed as JSON is, and its length with it."""
    (size,) = struct.unpack_from("<Q", content)
    if size > len(content) - 8:
        raise ValueError(size)
    change = chance.choice((mutators.json_changed, mutators.number_changed, mutators.text_changed))
    header = change(content[8 : 8 + size], chance)
    return struct.pack("<Q", len(header)) + header + content[8 + size :]


@_or_bytes
def archive_changed(content, chance):
    """An array of an archive changed, doubled, left out or given another name, type or shape."""
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    name = chance.choice(sorted(arrays))
    array, kind = arrays[name], chance.randrange(7)
    if kind == 0:
        del arrays[name]
    elif kind == 1:
        arrays[chance.choice(("extra", "../x", "é", *sorted(arrays)))] = array
    elif kind == 2:
        arrays[name] = array.astype(chance.choice(("<f8", "<f4", "<i8", "<u1", "?", "<U9", "<c16")))
    elif kind == 3:
        arrays[name] = chance.choice(
            (array.reshape(-1), array[None], array[:0] if array.ndim else array, array.T,
             np.concatenate([array.reshape(-1)] * 2), np.zeros((0, 3)))
        )  # fmt: skip
    elif array.dtype.kind == "U" and array.shape == ():
        arrays[name] = np.array(chance.choice(mutators.JSON)(str(array).encode(), chance).decode())
    else:
        arrays[name] = _value_changed(array, chance)
    packed = io.BytesIO()
    np.savez(packed, allow_pickle=False, **arrays)
    return packed.getvalue()


def _value_changed(array, chance):
    found = array.copy()
    values = found.reshape(-1)
    if values.size:
        place = chance.randrange(values.size)
        some = (0, -1, 1, 2**31, -(2**31), 2**62, float("nan"), float("inf"), 1e308, -1e-30)
        with np.errstate(all="ignore"):
            values[place] = np.array(chance.choice(some)).astype(found.dtype)
    return found


class _Header:
    """Where the numbers and texts of a GGUF file's header lie."""

    #: bytes of a number, by its kind
    sizes = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # noqa: RUF012

    def __init__(self, content):
        self.content, self.at = content, 4
        self.numbers, self.texts = [], []
        self._number(4)
        tensors, keys = self._number(8), self._number(8)
        for _ in range(keys):
            self._text()
            self._value(self._number(4))
        for _ in range(tensors):
            self._text()
            for _ in range(self._number(4)):
                self._number(8)
            self._number(4)
            self._number(8)

    def _number(self, size):
        found = int.from_bytes(self.content[self.at : self.at + size], "little")
        self.numbers.append((self.at, size))
        self.at += size
        if self.at > len(self.content):
            raise ValueError(self.at)
        return found

    def _text(self):
        start = self.at
        size = self._number(8)
        self.numbers.pop()
        self.at += size
        if self.at > len(self.content):
            raise ValueError(self.at)
        self.texts.append((start, size))

    def _value(self, kind):
        if kind == 8:
            self._text()
        elif kind != 9:
            self._number(self.sizes[kind])
        else:
            kind, count = self._number(4), self._number(8)
            for _ in range(count):
                self._value(kind)


@_or_bytes
def gguf_changed(content, chance):
    """A number or a text of a GGUF header changed; all that lies behind a text moves by whole lines of 32."""
    header = _Header(content)
    if chance.random() < 0.75:
        at, size = chance.choice(header.numbers)
        value = chance.choice((*_NUMBERS, chance.randrange(2**16))) % 256**size
        return content[:at] + value.to_bytes(size, "little") + content[at + size :]
    at, size = chance.choice(header.texts)
    text = chance.choice(_TEXTS)
    text += b"x" * ((size - len(text)) % 32)  # tensors begin on lines of 32 bytes
    return content[:at] + struct.pack("<Q", len(text)) + text + content[at + 8 + size :]


@_or_bytes
def graph_changed(content, chance):
    """A part of an ONNX graph changed: a node, a weight, an end, or where a weight lies."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.ModelProto.FromString(content)
    except DecodeError as error:
        raise ValueError from error
    chance.choice(_GRAPHS)(model.graph, chance)
    return model.SerializeToString()


def _node(graph, chance):
    node = chance.choice(graph.node)
    kind = chance.randrange(5)
    if kind == 0:
        graph.node.remove(node)
    elif kind == 1:
        graph.node.append(node)
    elif kind == 2:
        node.op_type = chance.choice(
            [one.op_type for one in graph.node] + ["Loop", "Nothing", "If"]
        )
    elif kind == 3:
        names = [name for one in graph.node for name in one.output]
        node.input[chance.randrange(len(node.input))] = chance.choice(["", "nothing", *names])
    else:
        node.domain = chance.choice(
            ("", "com.microsoft", "ai.onnx.ml", "own", "com.microsoft.experimental")
        )


def _attribute(graph, chance):
    node = chance.choice([one for one in graph.node if one.attribute])
    one = chance.choice(node.attribute)
    one.i = chance.choice((0, 1, -1, 7, 2**31, 2**62, -(2**63)))
    one.f = chance.choice((0.0, -1.0, 1e30, float("nan"), float("inf")))
    if one.ints:
        one.ints[0] = one.i


def _weight(graph, chance):
    tensor = chance.choice(graph.initializer)
    kind = chance.randrange(5)
    if kind == 0 and tensor.dims:
        tensor.dims[chance.randrange(len(tensor.dims))] = chance.choice(
            (0, -1, 1, 3, 2**20, 2**40, 2**62)
        )
    elif kind == 1:
        tensor.data_type = chance.choice((0, 1, 2, 3, 6, 7, 8, 10, 16, 22, 99))
    elif kind == 2 and tensor.external_data:
        entry = chance.choice(tensor.external_data)
        entry.value = chance.choice(
            (
                "0",
                "1",
                "-1",
                "64",
                "9" * 30,
                "x",
                "",
                "/etc/passwd",
                "../x",
                "bundle.json",
                "plan.json",
            )
        )
    elif kind == 3 and tensor.raw_data:
        tensor.raw_data = mutators.flipped(tensor.raw_data, chance)
    else:
        graph.initializer.remove(tensor)


def _end(graph, chance):
    value = chance.choice([*graph.input, *graph.output])
    kind = value.type.tensor_type
    if chance.random() < 0.3:
        value.name = chance.choice(("tokens", "key_0", "confidence", "nothing"))
    elif chance.random() < 0.4 or not kind.shape.dim:
        kind.elem_type = chance.choice((0, 1, 6, 7, 8, 10, 11, 99))
    else:
        kind.shape.dim[0].dim_value = chance.choice((0, 1, 3, -1, 2**20, 2**40, 2**62))


def _number_of_a_constant(graph, chance):
    """Axes, shapes and starts, which are small and lie in the graph."""
    small = [one for one in graph.initializer if 0 < len(one.raw_data) <= 64]
    tensor = chance.choice(small)
    value = chance.choice((0, 1, -1, 3, 2**20, 2**40, 2**62, -(2**63)))
    raw = value.to_bytes(8, "little", signed=True)
    tensor.raw_data = (raw * 8)[: len(tensor.raw_data)]


_GRAPHS = (_node, _node, _attribute, _weight, _weight, _end, _number_of_a_constant)
