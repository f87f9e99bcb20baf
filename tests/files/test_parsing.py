"""JSON and TOML from outside: nothing is lost silently, nothing overflows."""

from typing import Annotated

import pytest
from pydantic import Field

from hwsearch.errors import StudyError
from hwsearch.files import FileKind, checked, parse_json, read_json, read_schema, read_toml
from hwsearch.schema import Frozen

KIND = FileKind("study", 1 << 20, StudyError, "mend it")


class Schema(Frozen):
    count: Annotated[int, Field(ge=1, le=9)]
    share: float = 0.5
    is_on: bool = False
    names: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1, "a": 2}', "'a' comes twice"),
        ("1e999", "no finite number"),
        ("NaN", "NaN is no number"),
        ("-Infinity", "no number"),
        ("[" * 65 + "]" * 65, "deep"),
        ("[" * 200_000, "deep"),
        ('{"a":' * 200_000, "deep"),
        ('"\\ud800"', "surrogate"),
        ("9" * 5000, "digits"),
        ("{", "line 1"),
        ("", "line 1"),
    ],
)
def test_json_that_is_refused(text, said):
    with pytest.raises(StudyError, match=said) as found:
        parse_json(text, "file", KIND)
    assert str(found.value).startswith("file: ") and len(str(found.value)) < 500


def test_json_that_is_read():
    assert parse_json('{"a": [1, 2.5, "\\ud83d\\ude00"]}', "", KIND) == {"a": [1, 2.5, "😀"]}
    assert parse_json("[" * 64 + "]" * 64, "", KIND)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = " + "[" * 500 + "]" * 500, "deep"),
        ("a = " + "[" * 100_000, "deep"),
        (".".join("a" * 200) + " = 1", "deep"),
        ("a = 1\na = 2", "overwrite"),
    ],
)
def test_toml_that_is_refused(tmp_path, text, said):
    (tmp_path / "it.toml").write_text(text)
    with pytest.raises(StudyError, match=said):
        read_toml(tmp_path / "it.toml", KIND)


def test_toml_that_is_read(tmp_path):
    (tmp_path / "it.toml").write_text("a = [1, 2.5]\n[b]\nc = 'd'\n")
    assert read_toml(tmp_path / "it.toml", KIND) == {"a": [1, 2.5], "b": {"c": "d"}}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('{"count": true}', "count"),
        ('{"count": "3"}', "count"),
        ('{"count": 3.0}', "count"),
        ('{"count": 10}', "count"),
        ('{"count": 1, "share": true}', "share"),
        ('{"count": 1, "share": "0.5"}', "share"),
        ('{"count": 1, "is_on": 1}', "is_on"),
        ('{"count": 1, "is_on": "yes"}', "is_on"),
        ('{"count": 1, "names": "ab"}', "names"),
        ('{"count": 1, "extra": 0}', "extra"),
    ],
)
def test_a_value_of_another_type_is_refused_by_key(tmp_path, text, key):
    (tmp_path / "it.json").write_text(text)
    with pytest.raises(StudyError, match=key):
        read_schema(tmp_path / "it.json", KIND, Schema)


def test_a_schema_is_read(tmp_path):
    (tmp_path / "it.json").write_text('{"count": 1, "share": 1, "names": ["a"]}')
    assert read_schema(tmp_path / "it.json", KIND, Schema) == Schema(
        count=1, share=1.0, names=("a",)
    )
    assert read_json(tmp_path / "it.json", KIND)["names"] == ["a"]


def test_numbers_have_bounds_where_none_are_named():
    with pytest.raises(StudyError, match="share"):
        checked(Schema, {"count": 1, "share": 1e300}, "it", KIND)
    with pytest.raises(StudyError, match="share"):
        checked(Schema, {"count": 1, "share": float("nan")}, "it", KIND)


def test_numbers_that_are_keys_are_text_in_json():
    class Keyed(Frozen):
        shares: dict[float, float]

    assert checked(Keyed, {"shares": {"0.5": 1.0}}, "it", KIND).shares == {0.5: 1.0}
    with pytest.raises(StudyError, match="shares"):
        checked(Keyed, {"shares": {"0.5": True}}, "it", KIND)
