"""What a study may be called: its name is also the name of its file, and is typed in a shell."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from hwsearch.errors import StudyError

#: Most bytes of a name: file systems end at 255, and workers keep a file ``.NAME.db.worker-...``.
MOST_BYTES = 230

#: What a database calls itself, and what a name therefore cannot end in.
SUFFIX = ".db"

#: Names that are devices on Windows, whatever follows their first dot.
RESERVED = {"CON", "PRN", "AUX", "NUL"} | {
    f"{port}{n}" for port in ("COM", "LPT") for n in "123456789"
}

ADVICE = "letters, digits, dots, dashes, underscores and spaces between them always do"


def check_study_name(name: str, is_file: bool = True) -> str:
    """The name in Unicode's composed form (NFC), so that it is found however it is typed.

    Args:
        name: the name.
        is_file: whether the study lies in a file of that name, and not in a given storage.

    Raises:
        StudyError: no study can be called so; the message says why.
    """
    name = unicodedata.normalize("NFC", name)
    wrong = _wrong(name) or (_wrong_file(name) if is_file else None)
    if wrong is not None:
        raise StudyError(f"a study cannot be called {name[:80]!r}: {wrong}; {ADVICE}")
    return name


def _wrong(name: str) -> str | None:
    """What is wrong with a name anywhere."""
    if not name.strip():
        return "the name is empty"
    if name != name.strip():
        return "it begins or ends with a space"
    if name.startswith("-"):
        return "it begins with a dash, which commands take for a flag"
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name):
        return "it has a control character or a broken one"
    size = len(name.encode())
    return f"it takes {size} bytes, and {MOST_BYTES} are allowed" if size > MOST_BYTES else None


def _wrong_file(name: str) -> str | None:
    """What is wrong with a name as that of a file."""
    if "/" in name or "\\" in name:
        return "its file is called so, and / and \\ separate folders (or give --storage)"
    if name.startswith("."):
        return "it begins with a dot, so its file would be hidden"
    if name.endswith("."):
        return "it ends in a dot, which Windows drops from names of files"
    stem = name.partition(".")[0].rstrip()
    if stem.upper() in RESERVED:
        return f"Windows keeps the name {stem} for a device"
    if name.lower().endswith(SUFFIX):
        return f"it ends in {SUFFIX}, which means the path of a file (or give --storage)"
    return None


def name_or_default(name: str | None, model: str, device: str) -> str:
    """`name`, or one made of model and device; an empty name is a name, and a wrong one."""
    return default_name(model, device) if name is None else name


def default_name(model: str, device: str) -> str:
    """The name of a study that was given none: that of its model and its device.

    >>> default_name("GSAI-ML/LLaDA-8B-Base", "apple-m2")
    'LLaDA-8B-Base-apple-m2'
    >>> default_name("..a\\\\b", "apple-m2")
    'a_b-apple-m2'
    """
    path = Path(model)
    try:
        folder = path.resolve().name if path.is_dir() else path.name
    except (OSError, ValueError):  # no path at all, but a name may come of it
        folder = path.name
    letters = unicodedata.normalize("NFC", f"{folder}-{device}").replace("\\", "_")
    kept = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in letters)
    short = kept.encode()[: MOST_BYTES - len("-thirds")].decode(errors="ignore")
    name = short.lstrip("-. ").rstrip(". ") or "study"
    return name if _wrong_file(name) is None else f"{name}_".replace(".", "_")
