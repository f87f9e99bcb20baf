"""What ``llama-bench`` of llama.cpp writes (``-o json`` or ``-o csv``): passes by file type.

A row is a test: reading a prompt of `n_prompt` tokens, or writing `n_gen`, `n_depth` tokens in. Rows that do
both are passed over. Columns are those of llama.cpp's ``tools/llama-bench``.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, model_validator

from hwsearch.errors import TableError
from hwsearch.files import FileKind, checked, open_plain, parse_json, read_text
from hwsearch.files.kinds import MIB
from hwsearch.schema import Frozen

#: File types as llama.cpp writes them out, by the names of `hwsearch.latency.benchmarks.passes.ENCODINGS`.
TYPES = {
    "all F32": "F32",
    "F16": "F16",
    "BF16": "BF16",
    "Q8_0": "Q8_0",
    "Q6_K": "Q6_K",
    "Q5_1": "Q5_1",
    "Q5_0": "Q5_0",
    "Q4_1": "Q4_1",
    "Q4_0": "Q4_0",
    "IQ4_NL - 4.5 bpw": "IQ4_NL",
    "Q4_K - Medium": "Q4_K_M",
}

#: What llama.cpp adds where a file does not say its type, and it goes by that of most tensors.
GUESSED = " (guessed)"

#: When llama.cpp ceased to compute logits of every row of a prompt; a row says when it was run.
LAST_ROW_ALONE = "2024-03"

#: The file that llama-bench writes.
BENCH_FILE = FileKind("output of llama-bench", 64 * MIB, TableError, "run llama-bench with -o json")

#: Most passes over one prompt: each is priced by itself.
MOST_PASSES = 4096

Count = Annotated[int, Field(ge=0, le=1 << 24)]
Name = Annotated[str, Field(max_length=1000)]


class BenchTest(Frozen):
    """A row; other columns are passed over. `model_size` is in bytes.

    Raises:
        ValueError: a prompt was read in more passes than anybody waits for.
    """

    model_config = ConfigDict(extra="ignore")

    model_type: Name
    model_n_params: Annotated[int, Field(ge=1, le=1 << 50)]
    model_size: Annotated[int, Field(ge=0, le=1 << 52)] = 0
    n_prompt: Count
    n_gen: Count
    avg_ts: Annotated[float, Field(ge=1e-9, lt=1e12)]
    n_depth: Count = 0
    n_ubatch: Annotated[int, Field(ge=1, le=1 << 20)] = 512
    n_threads: Annotated[int, Field(ge=1, le=1 << 16)] = 1
    backends: Name = "CPU"
    cpu_info: Name = ""
    gpu_info: Name = ""
    build_commit: Name = ""
    test_time: Name = ""

    @model_validator(mode="after")
    def _of_few_passes(self) -> Self:
        if self.n_prompt > MOST_PASSES * self.n_ubatch:
            raise ValueError(
                f"a prompt of {self.n_prompt} tokens in passes of {self.n_ubatch} takes more than "
                f"{MOST_PASSES} passes"
            )
        return self

    @property
    def kind(self) -> str | None:
        """The model file's type; None where it is not one of `TYPES`."""
        told = self.model_type.removesuffix(GUESSED)
        found = (name for said, name in TYPES.items() if told.endswith(f" {said}"))
        return next(found, None)

    @property
    def head_rows(self) -> int:
        """Rows of each pass over a prompt whose logits were computed: one, since `LAST_ROW_ALONE`."""
        return self.n_ubatch if "" < self.test_time < LAST_ROW_ALONE else 1


@dataclass(frozen=True)
class BenchRun:
    """Tests of one model on one machine.

    Attributes:
        tests: in the order of the file.
        where: the file, for errors.
    """

    tests: tuple[BenchTest, ...]
    where: str

    def prompt(self, kind: str) -> BenchTest | None:
        """The test of a type that reads the longest prompt; None where there is none."""
        found = [t for t in self.tests if t.kind == kind and t.n_prompt and not t.n_gen]
        return max(found, key=lambda test: test.n_prompt, default=None)

    def token(self, kind: str) -> BenchTest | None:
        """The test of a type that writes the most tokens at no depth, or at the least one."""
        found = [t for t in self.tests if t.kind == kind and t.n_gen and not t.n_prompt]
        return min(found, key=lambda test: (test.n_depth, -test.n_gen), default=None)

    @property
    def kinds(self) -> list[str]:
        """Types of which a prompt was read and tokens were written."""
        every = dict.fromkeys(test.kind for test in self.tests if test.kind is not None)
        return [kind for kind in every if self.prompt(kind) and self.token(kind)]


def is_llama_bench(path: Path) -> bool:
    """Whether a file looks like one of these: JSON that begins with a list, or its columns' names."""
    try:
        with open_plain(path, BENCH_FILE) as file:
            first = file.read(4096).lstrip()
    except TableError:
        return False
    return first[:1] == b"[" or b"model_type" in first.partition(b"\n")[0]


def read_bench(path: Path) -> BenchRun:
    """Read and check such a file.

    Raises:
        TableError: it cannot be read, a row is impossible, or rows are of different models or machines.
    """
    tests = tuple(_tests(path))
    if not tests:
        raise TableError(f"{path}: no rows; run llama-bench with -o json")
    for name in ("model_n_params", "backends", "cpu_info", "gpu_info"):
        values = list(dict.fromkeys(getattr(test, name) for test in tests))
        if len(values) > 1:
            raise TableError(
                f"{path}: rows have {name} {values[0]!r} and {values[1]!r}; a device is made of one model, "
                "in several types, on one machine"
            )
    return BenchRun(tests, str(path))


def _tests(path: Path) -> Iterator[BenchTest]:
    for number, row in enumerate(_rows(path), 1):
        if not isinstance(row, dict):
            raise TableError(f"{path}, row {number}: a row is an object, got {type(row).__name__}")
        said = {k: v for k, v in row.items() if isinstance(k, str) and v not in (None, "")}
        yield checked(BenchTest, said, f"{path}, row {number}", BENCH_FILE)


def _rows(path: Path) -> list[Mapping[str, Any]]:
    text = read_text(path, BENCH_FILE)
    if text.lstrip().startswith("["):
        found: list[Mapping[str, Any]] = parse_json(text, path, BENCH_FILE)
        return found
    try:
        return [_numbers(row) for row in csv.DictReader(text.splitlines())]
    except csv.Error as error:
        raise TableError(f"cannot read {path}: {error}") from error


def _numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of CSV, where all is text, with its numbers as such."""
    found = dict(row)
    for name, field in BenchTest.model_fields.items():
        said = found.get(name)
        if field.annotation in (int, float) and isinstance(said, str):
            with suppress(ValueError):  # the schema says what is wrong
                found[name] = field.annotation(said)
    return found
