"""Every exception hwsearch raises on purpose, on one page.

    HwsearchError                     exit code 2 unless a subclass says otherwise
    ├── InputError                    what the user gave cannot be used
    │   ├── UnknownNameError          a model, device, task, format or study nobody knows
    │   ├── PlanError                 a plan that is malformed or does not fit the model
    │   ├── StudyError                a study file or storage that cannot be used
    │   ├── CheckpointError           a model folder that cannot be loaded
    │   └── TableError                a latency table that is malformed
    │       └── MissingShapeError     ... or holds no row for an operator the plan needs
    ├── InfeasibleTargetError         no plan meets the target (exit code 1)
    └── VerificationError             a bundle is not what it says it is (exit code 1)

What other libraries raise, `hwsearch.cli.errors` puts into such a line.

A message gives the rule, the value that broke it, and the fix. The command line
prints it in one line and leaves with ``exit_code``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class HwsearchError(Exception):
    """Base of every error hwsearch raises on purpose."""

    exit_code = 2


class InputError(HwsearchError):
    """What the user gave cannot be used; the message says why and what would do."""


#: Longest name that an error quotes.
MOST_NAME = 100


class UnknownNameError(InputError):
    """A name that is not in the list it should be in."""

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        known = sorted(known)
        # likenesses of long texts take long to find
        close = difflib.get_close_matches(name[:MOST_NAME], known, n=1)
        guess = f"; did you mean {close[0]!r}?" if close else ""
        shown = name if len(name) <= MOST_NAME else f"{name[:MOST_NAME]}..."
        listing = ", ".join(known) or "none"
        super().__init__(
            f"unknown {kind} {shown!r}{guess} (known: {listing}){hint and '; ' + hint}"
        )
        self.name = name


class PlanError(InputError):
    """A compression plan that is malformed or does not fit the model."""


class StudyError(InputError):
    """A study file, a study or its storage that cannot be used."""


class CheckpointError(InputError):
    """A model folder that cannot be loaded."""


class TableError(InputError):
    """A latency table that is malformed."""


class MissingShapeError(TableError):
    """A latency table without a row that the plan needs."""


class InfeasibleTargetError(HwsearchError):
    """No plan meets the target; the message names the fastest one and what binds."""

    exit_code = 1


class VerificationError(HwsearchError):
    """A bundle that is not what it says it is."""

    exit_code = 1


_SECRETS = (
    (re.compile(r"(://[^:@/?#\s]*):[^@\s]*@"), r"\1:***@"),
    (re.compile(r"(?i)((?:password|passwd|pwd|passfile|sslpassword)\s*=\s*)[^&\s]+"), r"\1***"),
)


def redacted(text: str) -> str:
    """Text with the passwords of URLs left out.

    >>> redacted("postgresql://me:s3cret@host/db?password=s3cret&a=b")
    'postgresql://me:***@host/db?password=***&a=b'
    """
    for pattern, shown in _SECRETS:
        text = pattern.sub(shown, text)
    return text
