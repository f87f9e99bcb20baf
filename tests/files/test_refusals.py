"""What libraries raise of a file becomes one line of hwsearch's own, with its cause."""

import pytest

from hwsearch.errors import CheckpointError
from hwsearch.files import FileKind, refused_by

KIND = FileKind("tokenizer", 1 << 20, CheckpointError, "fetch it again")


class PanicException(BaseException):
    """As libraries written in Rust raise it."""


@pytest.mark.parametrize("raised", [RuntimeError("a\nb"), Exception("a b"), PanicException("a b")])
def test_a_library_is_quoted(raised):
    said = r"^file: tokenizers .*a b; fetch it again$"
    with (
        pytest.raises(CheckpointError, match=said) as found,
        refused_by("tokenizers", "file", KIND),
    ):
        raise raised
    assert found.value.__cause__ is raised


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), SystemExit(), CheckpointError("own")])
def test_what_is_no_fault_of_the_file_goes_on(raised):
    with pytest.raises(type(raised)) as found, refused_by("tokenizers", "file", KIND):
        raise raised
    assert found.value is raised
