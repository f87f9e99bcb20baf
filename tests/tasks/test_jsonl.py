"""Lines of JSONL, held to `datasets` where it is installed and to the format's rules elsewhere."""

from __future__ import annotations

import gzip
import json
import random

import pytest

from hwsearch.errors import InputError
from hwsearch.tasks.files.jsonl import read_jsonl
from hwsearch.tasks.gsm8k import gsm8k
from hwsearch.tasks.problem import Problem, read_problems

#: What `str.splitlines` ends a line at, and JSONL does not.
INSIDE = ("\u2028", "\u2029", "\u0085", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\xa0", "\ufeff")

ONE = {"question": "Zoë has 1. How many?", "answer": "It is 1.\n#### 1"}
TWO = {"question": "And 2?", "answer": "#### 2"}


def dumped(record: dict[str, str]) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode()


@pytest.mark.parametrize("mark", INSIDE)
def test_what_ends_a_line_elsewhere_is_data_here(tmp_path, mark):
    record = {"question": "one", "answer": "two#### 1"}
    # a control character stands raw, as careless writers leave it
    line = json.dumps(record).replace("one", f"one{mark}more").encode()
    (tmp_path / "f.jsonl").write_bytes(line + b"\n" + dumped(TWO))
    assert read_problems(tmp_path / "f.jsonl") == [
        Problem(f"one{mark}more", "two#### 1"),
        Problem(**TWO),
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"%s\n%s\n",
        b"%s\n%s",
        b"%s\r\n%s\r\n",
        b"\xef\xbb\xbf%s\n%s\n",
        b"\n\n%s\n\n\n%s\n   \n\t\n",
        b"%s\r\n\r\n%s\r\n  \r\n",
        b"  %s  \n\t%s\n \xc2\xa0\n",
        b"%s\n\xef\xbb\xbf%s\n",  # two files, one behind the other
    ],
)
def test_ways_to_end_and_to_leave_lines(tmp_path, content):
    content %= (dumped(ONE), dumped(TWO))
    path = tmp_path / "f.jsonl"
    for stored in (content, gzip.compress(content)):
        path.write_bytes(stored)
        assert read_problems(path) == [Problem(**ONE), Problem(**TWO)]


def test_random_texts_are_read_as_they_were_written(tmp_path):
    rng = random.Random(1)
    letters = [*INSIDE, *'ab \n\r\t"\\{}', "é", "日", "🙂", "\x00", "\x7f"]
    records = [
        {name: "".join(rng.choices(letters, k=rng.randrange(9))) for name in ONE}
        for _ in range(200)
    ]
    for ascii_only in (True, False):
        lines = (json.dumps(record, ensure_ascii=ascii_only) for record in records)
        path = tmp_path / "f.jsonl"
        path.write_bytes("".join(f"{line}\n" for line in lines).encode())
        assert [record for _, record in read_jsonl(path)] == records


def test_datasets_reads_the_same(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets", reason="the extra lm-eval is not installed")
    path = tmp_path / "f.jsonl"
    records = [{"question": f"is{mark}it", "answer": "#### 1"} for mark in INSIDE]
    lines = "\r\n".join(json.dumps(r, ensure_ascii=False) for r in records)
    path.write_text(lines, "utf-8", newline="")
    theirs = datasets.load_dataset(
        "json", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache")
    )
    ours = [{name: vars(problem)[name] for name in records[0]} for problem in read_problems(path)]
    assert ours == list(theirs)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"f\.jsonl holds no problems"),
        (b"\xef\xbb\xbf", r"f\.jsonl holds no problems"),
        (b" \n\r\n\t\n", r"f\.jsonl holds no problems"),
        (dumped(ONE) + b"\n" + dumped(ONE).decode().encode("latin-1"), r"f\.jsonl:2: .*0xeb"),
        (dumped(ONE).decode().encode("utf-16"), r"f\.jsonl:1: .*0xff"),
        (dumped(ONE) + b"\n{", r"f\.jsonl:2: .*one JSON object"),
        (dumped(ONE) + dumped(TWO), r"f\.jsonl:1: .*Extra data"),
        (dumped(ONE) + b"\n\n[1]", r"f\.jsonl:3: .*not \[1\]"),
        (b"null", r"f\.jsonl:1: .*not null"),
        (b'"text"', r'f\.jsonl:1: .*not "text"'),
        (b"[" * 100_000, r"f\.jsonl:1: .*one JSON object"),
        (b'{"question": "q"}', r'f\.jsonl:1: .*"answer" is missing'),
        (b"{}", r'f\.jsonl:1: .*"question" is missing'),
        (b'{"question": 3, "answer": "a"}', r'"question" is of type int'),
        (b'{"question": "q", "answer": null}', r'"answer" is of type NoneType'),
        (b'{"question": "q", "answer": ["a"]}', r'"answer" is of type list'),
        (
            b'{"question": "q", "answer": "a", "question": "r"}',
            r"f\.jsonl:1: .*'question' comes twice",
        ),
        (b'{"question": "\\ud800", "answer": "a"}', r"f\.jsonl:1: .*half a surrogate"),
        (b"\x1f\x8bnot gzip", r"cannot read .*f\.jsonl"),
        (gzip.compress(dumped(ONE), mtime=0)[:-9], r"cannot read .*f\.jsonl"),
    ],
)
def test_what_cannot_be_read_is_one_line_that_names_the_place(tmp_path, content, message):
    path = tmp_path / "f.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_problems(path)
    assert caught.value.exit_code == 2
    assert len(str(caught.value).splitlines()) == 1


def test_a_folder_or_nothing_in_the_place_of_a_file(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere.jsonl"):
        with pytest.raises(InputError, match=r"cannot read|plain file"):
            read_problems(path)


def test_shots_and_splits_are_read_alike(tmp_path):
    for split in ("train", "test"):
        record = {"question": f"{split}\u2028?", "answer": "#### 1"}
        (tmp_path / f"{split}.jsonl").write_bytes(b"\xef\xbb\xbf" + dumped(record) + b"\n ")
    task = gsm8k(tmp_path, num_shots=1)
    (problem,) = task.problems("test", 5, 0)
    assert task.prompt(0, problem) == (
        "Question: train\u2028?\nAnswer: #### 1\n\nQuestion: test\u2028?\nAnswer:"
    )
