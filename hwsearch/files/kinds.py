"""What a file shall be: what messages call it, how large it may be, and which error it is."""

from __future__ import annotations

from dataclasses import dataclass

from hwsearch.errors import HwsearchError, InputError

MIB, GIB = 1 << 20, 1 << 30


@dataclass(frozen=True)
class FileKind:
    """A kind of file that is read.

    Attributes:
        name: what messages call it, such as ``plan``.
        most_bytes: a larger file is refused before any of it is read.
        error: raised for whatever is wrong with one.
        fix: what to do about one that cannot be read.
    """

    name: str
    most_bytes: int
    error: type[HwsearchError] = InputError
    fix: str = "mend it, or give another"

    def refuse(self, where: object, reason: object) -> HwsearchError:
        """An error of this kind that names the file, in one line."""
        return self.error(f"{where}: {' '.join(str(reason).split())}; {self.fix}")


#: What an operating system says of itself.
SYSTEM_FILE = FileKind("system file", 16 * MIB)
