"""What went wrong, in one line and an exit code, whichever library said it.

    hwsearch's own errors     their own line, code 2 (1 where the answer is no)
    bad input, environment    a line that says what to do, code 2
    defects of hwsearch       a line that says so and how to report it, code 70
    an interrupt              code 130; a reader of our output that has gone, code 141

Libraries are known by the names of their modules, so that none is imported to find out what it raised.
"""

from __future__ import annotations

import errno
import re
import traceback
from pathlib import Path

from hwsearch._version import __version__
from hwsearch.errors import HwsearchError, redacted

#: Exit codes: bad input or environment, a defect (``EX_SOFTWARE``), an interrupt, a closed pipe.
BAD_INPUT, DEFECT, INTERRUPTED, CLOSED = 2, 70, 130, 141

REPORT = "https://github.com/hwsearch/hwsearch/issues"

#: Longest line of a library that is quoted.
MOST = 400

#: How libraries say that memory ran out, whatever they raise.
_MEMORY = re.compile(
    r"out of memory|not enough memory|n't allocate memory|cannot allocate memory|unable to allocate"
    r"|failed to allocate memory|bad_alloc|bad allocation|CUBLAS_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)

#: How torch, and what lies below it, say that an accelerator cannot be used.
_ACCELERATOR = re.compile(
    r"CUDA error|No CUDA GPUs|NVIDIA driver|not compiled with CUDA|no kernel image"
)

_MEMORY_FIX = "free some, or take a smaller model, fewer problems or shorter prompts"

#: What an operating system says, and what to do about it.
_SYSTEM = {
    errno.ENOSPC: "make room on that disk and run the same command again",
    errno.EDQUOT: "make room on that disk and run the same command again",
    errno.EACCES: "change its permissions, or give another path",
    errno.EPERM: "change its permissions, or give another path",
    errno.EROFS: "give a path that can be written to",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "a part of that path is a file; give another path",
    errno.EISDIR: "give the path of a file",
    errno.EEXIST: "give another path, or remove it",
    errno.ENOTEMPTY: "give another path, or empty it",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "close other programs, since the system has no more open files to give",
    errno.ENOMEM: _MEMORY_FIX,
    errno.EIO: "check that disk",
}

#: Optional packages, and the extra that installs them.
_EXTRAS = {
    "matplotlib": "report",
    "vl_convert": "report",
    "transformers": "hub",
    "huggingface_hub": "hub",
    "gguf": "gguf",
    "compressed_tensors": "compressed-tensors",
    "llama_cpp": "llama-cpp",
    "lm_eval": "lm-eval",
    "psycopg": "postgresql",
    "optuna_dashboard": "dashboard",
    "sklearn": "analytical",
    "PIL": "analytical",
}

#: Modules whose errors are about what was given to them, what that is called, and what to do.
_LIBRARIES = (
    ("safetensors", "a safetensors file cannot be read", "fetch or convert the model again"),
    ("jinja2", "a template fails", "mend the chat template of the model"),
    ("onnxruntime", "onnxruntime refuses", "check the bundle: hwsearch verify BUNDLE, or export it again"),
    ("onnx", "an ONNX file is not valid", "check the bundle: hwsearch verify BUNDLE, or export it again"),
    ("google.protobuf", "an ONNX file cannot be read", "export the bundle again"),
    ("huggingface_hub", "the Hugging Face hub", "check name, network and login, or give a folder"),
    ("httpx", "the network", "check it, or give a folder that holds the model"),
    ("httpx2", "the network", "check it, or give a folder that holds the model"),
    ("httpcore", "the network", "check it, or give a folder that holds the model"),
    ("requests", "the network", "check it, or give a folder that holds the model"),
    ("urllib3", "the network", "check it, or give a folder that holds the model"),
    ("pandas.errors", "a table cannot be read", "check that file"),
    ("zipfile", "an archive cannot be read", "fetch it again"),
    ("tarfile", "an archive cannot be read", "fetch it again"),
    ("zlib", "an archive cannot be read", "fetch it again"),
    ("_lzma", "an archive cannot be read", "fetch it again"),
    ("_csv", "a table cannot be read", "check that file"),
    ("tomllib", "a file is not TOML", "mend that file"),
    ("xml", "a file is not XML", "mend that file"),
    ("subprocess", "a program that was called failed", "run it by hand to see why"),
)  # fmt: skip

#: Modules of what a study is kept by.
_STORAGES = ("sqlite3", "sqlalchemy", "psycopg", "alembic", "pymysql", "MySQLdb")

Said = tuple[str, int]


def explain_error(error: BaseException) -> Said:
    """The line that a user sees, without line breaks or passwords, and the exit code."""
    line, code = _found(error)
    return _one_line(line), code


def _found(error: BaseException) -> Said:
    if isinstance(error, HwsearchError):
        return str(error), error.exit_code
    for explain in (_memory, _storage, _validation, _reading, _library, _system, _missing, _plain):
        line = explain(error)
        if line is not None:
            return line, BAD_INPUT
    return _defect(error), DEFECT


def _memory(error: BaseException) -> str | None:
    name, said = type(error).__name__, _said(error)
    by_words = isinstance(error, RuntimeError) or _modules(error, "onnxruntime", "torch")
    if (
        isinstance(error, MemoryError)
        or name == "OutOfMemoryError"
        or (by_words and _MEMORY.search(said))
    ):
        return f"not enough memory ({_quoted(error)}); {_MEMORY_FIX}"
    if isinstance(error, RuntimeError) and _ACCELERATOR.search(said):
        return f"the accelerator cannot be used ({_quoted(error)}); try --torch-device cpu"
    if isinstance(error, RuntimeError) and "can't start new thread" in said:
        return "the system starts no more threads; close other programs, or set OMP_NUM_THREADS=1"
    return None


def _storage(error: BaseException) -> str | None:
    if not _modules(error, *_STORAGES) and type(error).__name__ != "StorageInternalError":
        return None
    try:
        from hwsearch.study.storage.databases import explain_storage
    except ImportError:  # the base package has no studies
        return f"a database cannot be used: {_quoted(error)}"
    return f"the study's storage {explain_storage(error)}"


def _validation(error: BaseException) -> str | None:
    if _modules(error, "pydantic_core", "pydantic") and type(error).__name__ == "ValidationError":
        from pydantic import ValidationError

        from hwsearch.schema import explain

        said = explain(error) if isinstance(error, ValidationError) else _quoted(error)
        title = getattr(error, "title", "a value")
        return f"{title} is not valid: {said}"
    return None


def _reading(error: BaseException) -> str | None:
    if isinstance(error, UnicodeEncodeError):
        return f"a text cannot be shown or written here: {_quoted(error)}; set PYTHONUTF8=1"
    if isinstance(error, UnicodeError):
        return f"a text is not UTF-8: {_quoted(error)}; save that file as UTF-8"
    if isinstance(error, EOFError):
        return f"a file ends too early: {_quoted(error)}; fetch or make it again"
    if type(error).__name__ == "JSONDecodeError":
        return f"a file is not JSON: {_quoted(error)}; mend or replace that file"
    return None


def _library(error: BaseException) -> str | None:
    for module, what, fix in _LIBRARIES:
        if _modules(error, module):
            return f"{what}: {_quoted(error)}; {fix}"
    return None


def _system(error: BaseException) -> str | None:
    if not isinstance(error, OSError):
        return None
    if error.errno is None and isinstance(error, ConnectionError | TimeoutError):
        return f"the network: {_quoted(error)}; check it, or give a folder that holds the model"
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    where = f"{' and '.join(names)}: " if names else ""
    fix = _SYSTEM.get(error.errno or 0)
    said = error.strerror or _quoted(error)
    return f"{where}{said}" + (f"; {fix}" if fix else "; check the path and the network")


def _missing(error: BaseException) -> str | None:
    """A package that is not installed, unless it is one of hwsearch's own modules."""
    if not isinstance(error, ImportError) or (error.name or "").startswith("hwsearch"):
        return None
    package = (error.name or "").partition(".")[0]
    extra = _EXTRAS.get(package, "search")
    return f'{_quoted(error)}: install it with: pip install "hwsearch[{extra}]"'


def _plain(error: BaseException) -> str | None:
    """Tokenizers, as other libraries written in Rust, raise `Exception` itself."""
    if type(error) is Exception:
        return f"a library refuses what it was given: {_quoted(error)}; check the model's tokenizer.json"
    if type(error).__name__ == "PanicException":
        return f"a library gave up: {_quoted(error)}; check the files of the model"
    return None


def _defect(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "hwsearch" in Path(frame.filename).parts] or frames
    where = f", {Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""
    return (
        f"this is a defect of hwsearch {__version__}: {type(error).__name__}: {_quoted(error)}{where}; "
        f"please report it at {REPORT} with what the same command prints with --debug"
    )


def _modules(error: BaseException, *modules: str) -> bool:
    """Whether an error's class, or one it is made of, is of one of some modules."""
    homes = [cls.__module__ for cls in type(error).__mro__]
    return any(home == name or home.startswith(f"{name}.") for home in homes for name in modules)


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # an error that cannot even be told
        return ""


def _quoted(error: BaseException) -> str:
    """What a library said, cut to a length that can be read."""
    said = " ".join(_said(error).split()).rstrip(".;") or type(error).__name__
    return said if len(said) <= MOST else f"{said[:MOST]}..."


def _one_line(text: str) -> str:
    """A text without line breaks, control characters or passwords."""
    line = " ".join(part.strip() for part in text.splitlines() if part.strip())
    return redacted("".join(letter if letter.isprintable() else "?" for letter in line))
