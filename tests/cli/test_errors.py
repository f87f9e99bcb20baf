"""Whatever a library raises, a user sees one line."""

import errno
import json
import os
import pickle
import sqlite3
import subprocess
import sys
import zipfile
from pathlib import Path

import click
import pytest

from hwsearch.cli import main as cli
from hwsearch.cli.errors import explain_error
from hwsearch.cli.models import ls
from hwsearch.errors import InfeasibleTargetError, InputError


def raised(act):
    try:
        act()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def onnxruntime_error(name):
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return getattr(state, name)(f"[ONNXRuntimeError] : {name} : it broke\nat a place")


def hub_error(name):
    from huggingface_hub import errors

    return getattr(errors, name)("cannot reach the hub")


def bad_session():
    import onnxruntime

    onnxruntime.InferenceSession(b"no model")


def bad_safetensors():
    from safetensors.torch import load

    load(b"x" * 99)


def bad_tokenizer():
    from tokenizers import Tokenizer

    Tokenizer.from_str('{"model": 1}')


def bad_onnx():
    import onnx

    onnx.checker.check_model(onnx.ModelProto())


def bad_protobuf():
    import onnx

    onnx.ModelProto().ParseFromString(b"\xff\xff\xff")


def bad_template():
    import jinja2

    jinja2.Template("{% for %}")


def undefined_template():
    import jinja2

    jinja2.Template("{{ a.b.c }}", undefined=jinja2.StrictUndefined).render()


def bad_value():
    from hwsearch.plan import Decoding

    Decoding(gen_length=-1)


def bad_sql():
    import sqlalchemy

    with sqlalchemy.create_engine("sqlite://").connect() as connection:
        connection.exec_driver_sql("SELECT * FROM missing")


def storage_internal():
    import optuna

    try:
        raise sqlite3.OperationalError("database is locked")
    except sqlite3.OperationalError as error:
        raise optuna.exceptions.StorageInternalError(
            "An exception is raised during the commit"
        ) from error


def torch_oom():
    import torch

    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")


KINDS = {
    "permission": (lambda: PermissionError(errno.EACCES, "Permission denied", "/x/y"), "/x/y: Permission"),
    "disk full": (lambda: OSError(errno.ENOSPC, "No space left on device", "out"), "make room"),
    "folder": (lambda: IsADirectoryError(errno.EISDIR, "Is a directory", "out"), "path of a file"),
    "no folder": (lambda: raised(lambda: Path("/nowhere/at/all").read_text()), "check the path"),
    "file as folder": (lambda: raised(lambda: Path("/etc/hosts/x").read_text()), "path is a file"),
    "too many files": (lambda: OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
    "read-only": (lambda: OSError(errno.EROFS, "Read-only file system", "a"), "can be written"),
    "long name": (lambda: raised(lambda: Path("x" * 999).read_text()), "shorter name"),
    "memory": (MemoryError, "not enough memory"),
    "numpy memory": (lambda: raised(lambda: __import__("numpy").zeros(1 << 55)), "not enough memory"),
    "torch memory": (
        lambda: RuntimeError("[enforce fail at alloc_cpu.cpp:118] data. DefaultCPUAllocator: can't "
                             "allocate memory: you tried to allocate 4096 bytes"), "not enough memory"),
    "torch CUDA memory": (torch_oom, "not enough memory"),
    "CUDA": (lambda: RuntimeError("CUDA error: no kernel image is available"), "torch-device cpu"),
    "onnxruntime memory": (
        lambda: onnxruntime_error("RuntimeException").__class__("Failed to allocate memory"),
        "not enough memory"),
    "threads": (lambda: RuntimeError("can't start new thread"), "OMP_NUM_THREADS"),
    "onnxruntime Fail": (lambda: onnxruntime_error("Fail"), "onnxruntime refuses"),
    "onnxruntime NoSuchFile": (lambda: onnxruntime_error("NoSuchFile"), "hwsearch verify"),
    "onnxruntime InvalidProtobuf": (lambda: raised(bad_session), "onnxruntime refuses"),
    "onnxruntime InvalidGraph": (lambda: onnxruntime_error("InvalidGraph"), "onnxruntime refuses"),
    "onnx": (lambda: raised(bad_onnx), "ONNX file"),
    "protobuf": (lambda: raised(bad_protobuf), "ONNX file"),
    "safetensors": (lambda: raised(bad_safetensors), "a safetensors file cannot be read"),
    "tokenizers": (lambda: raised(bad_tokenizer), "tokenizer.json"),
    "jinja2": (lambda: raised(bad_template), "chat template"),
    "jinja2 undefined": (lambda: raised(undefined_template), "chat template"),
    "pydantic": (lambda: raised(bad_value), "Decoding is not valid: gen_length"),
    "sqlite": (lambda: sqlite3.OperationalError("unable to open database file"), "storage"),
    "sqlalchemy": (lambda: raised(bad_sql), "no such table"),
    "optuna storage": (lambda: raised(storage_internal), "is locked by another program"),
    "JSON": (lambda: raised(lambda: json.loads("{")), "not JSON"),
    "UTF-8": (lambda: raised(b"\xff".decode), "save that file as UTF-8"),
    "surrogate": (lambda: raised("\udcff".encode), "PYTHONUTF8"),
    "hub offline": (lambda: hub_error("OfflineModeIsEnabled"), "the Hugging Face hub"),
    "hub name": (lambda: hub_error("HFValidationError"), "the Hugging Face hub"),
    "hub not here": (lambda: hub_error("LocalEntryNotFoundError"), "the Hugging Face hub"),
    "network": (lambda: ConnectionResetError("peer went"), "the network"),
    "timeout": (lambda: TimeoutError("timed out"), "the network"),
    "zip": (lambda: zipfile.BadZipFile("File is not a zip file"), "an archive"),
    "program": (lambda: subprocess.CalledProcessError(1, ["x"]), "a program that was called failed"),
    "package": (lambda: raised(lambda: __import__("matplotlib_nowhere")), 'pip install "hwsearch[search]"'),
    "extra": (lambda: ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib"), "[report]"),
}  # fmt: skip

DEFECTS = {
    "key": lambda: KeyError("nobody asked for this"),
    "type": lambda: TypeError("'NoneType' object is not subscriptable"),
    "value": lambda: ValueError("too many values\nto unpack"),
    "assertion": lambda: AssertionError("never"),
    "index": IndexError,
    "recursion": lambda: RecursionError("maximum recursion depth exceeded"),
    "own import": lambda: ImportError("cannot import name 'x'", name="hwsearch.plan"),
    "pickle": lambda: pickle.PicklingError("no"),
}


@pytest.fixture
def failing(monkeypatch, run):
    """The verb `ls`, which raises what it is told to."""

    def call(error, *before):
        def fail():
            raise error

        monkeypatch.setitem(ls._LISTINGS, "models", fail)
        return run(*before, "ls", "models")

    return call


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_error_is_one_line_with_code_2(failing, kind):
    make, said = KINDS[kind]
    code, out, err = failing(make())
    assert (code, out) == (2, "")
    assert said in err
    assert err.startswith("error: ") and len(err.splitlines()) == 1
    assert "Traceback" not in err


@pytest.mark.parametrize("kind", DEFECTS)
def test_what_nobody_expects_is_called_a_defect(failing, kind):
    error = DEFECTS[kind]()
    code, out, err = failing(error)
    assert (code, out) == (70, "")
    assert f"this is a defect of hwsearch .*: {type(error).__name__}".split(".*")[0] in err
    assert type(error).__name__ in err and "report it at https://" in err and "--debug" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("before", [True, False])
def test_debug_shows_the_traceback_wherever_it_stands(failing, monkeypatch, before, run):
    error = InputError("the rule")
    if before:
        code, _, err = failing(error, "--debug")
    else:
        failing(error)
        code, _, err = run("ls", "models", "--debug")
    assert code == 2
    assert "Traceback" in err and err.splitlines()[-1] == "error: the rule"


def test_hwsearchs_own_errors_keep_their_codes(failing):
    assert failing(InfeasibleTargetError("no plan\nmeets it"))[::2] == (
        1,
        "error: no plan meets it\n",
    )
    code, _, err = failing(InputError("storage postgresql://u:s3cret@h/x"))
    assert (code, err) == (2, "error: storage postgresql://u:***@h/x\n")


def test_an_interrupt_is_130(failing):
    code, _, err = failing(KeyboardInterrupt())
    assert (code, err.strip()) == (130, "interrupted")
    assert failing(click.Abort())[0] == 130


def test_a_reader_that_has_gone_is_no_error(failing):
    code, _, err = failing(BrokenPipeError(errno.EPIPE, "Broken pipe"))
    assert (code, err) == (141, "")


@pytest.mark.parametrize("form", ["", "--json"])
def test_a_real_pipe_that_closes_is_quiet(form):
    code = "import sys; from hwsearch.cli.main import main; main()"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", code, *filter(None, ("ls", "tasks", form))],
        check=False,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_long_lines_of_libraries_are_cut_and_controls_shown_as_such():
    line, _ = explain_error(OSError("a\x1b[31m" + "b" * 9999))
    assert len(line) < 600 and "\x1b" not in line


def test_debug_after_a_double_dash_is_an_argument():
    assert cli.without_everywhere(["front", "--", "--debug"]) == (["front", "--", "--debug"], set())
