"""The code blocks of README and docs, as a Markdown parser sees them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "studies").glob("*/README.md")),
]

LANGUAGES = {"python", "shell", "toml", "json", "text"}

#: A comment before a block, which no reader sees: why it is not run, or which file it is.
NOTE = re.compile(r"<!--\s*(not run|file):\s*(.*?)\s*-->", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One block of code.

    Attributes:
        page: path of the page from the repository's root.
        line: where it begins.
        language: of the info string; "" for blocks that are indented or say none.
        text: what it holds.
        not_run: why it is not run; "" where it is.
        file: the file that the reader saves it as; "" where none is named.
    """

    page: str
    line: int
    language: str
    text: str
    not_run: str = ""
    file: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def is_run(self) -> bool:
        return self.language in {"python", "shell"} and not self.not_run

    def commands(self) -> list[list[str]]:
        """Words of each line of a shell block, as a shell would split them."""
        joined = self.text.replace("\\\n", " ")
        split = (shlex.split(line, comments=True) for line in joined.splitlines())
        return [words for words in split if words]


def blocks_of(text: str, page: str = "page") -> Iterator[Block]:
    """Blocks of a page, in order; each may have a note before it. What tells Sphinx something is none."""
    note: tuple[str, str] | None = None
    for token in MarkdownIt("commonmark").parse(text):
        if token.type == "html_block":
            found = NOTE.search(token.content)
            note = (found[1], found[2]) if found else None
        elif token.type in {"fence", "code_block"} and not token.info.startswith("{"):
            kind, said = note or ("", "")
            yield Block(
                page,
                (token.map or [0])[0] + 1,
                token.info.strip(),
                token.content,
                not_run=said if kind == "not run" else "",
                file=said if kind == "file" else "",
            )
            note = None
        elif token.type == "inline":
            note = None


def all_blocks() -> list[Block]:
    return [
        block
        for page in PAGES
        for block in blocks_of(page.read_text(encoding="utf-8"), str(page.relative_to(ROOT)))
    ]
