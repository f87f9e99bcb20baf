"""The site: links and their anchors, its table of contents, and commands that pages name in a line."""

from __future__ import annotations

import importlib
import re
import shlex
from functools import cache
from itertools import pairwise

import click
import pytest
import yaml
from markdown_it import MarkdownIt

from hwsearch.cli.main import VERBS, hwsearch
from tests.docs.blocks import PAGES, ROOT

OTHERS = ("studies/README.md", "examples/README.md", "CONTRIBUTING.md", "CHANGELOG.md")
SITE = [*PAGES, *(ROOT / page for page in OTHERS)]


def tokens(text):
    return MarkdownIt("commonmark").enable("table").parse(text)


def slug(heading):
    """The name that GitHub, and the site, give a heading."""
    plain = re.sub(r"\]\([^)]*\)|[`*\[\]]", "", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


@cache
def anchors(page):
    found = tokens(page.read_text(encoding="utf-8"))
    return {slug(after.content) for token, after in pairwise(found) if token.type == "heading_open"}


def links(page):
    for token in tokens(page.read_text(encoding="utf-8")):
        for child in token.children or ():
            target = str(child.attrGet("href") or child.attrGet("src") or "")
            if target and "://" not in target:
                yield target


def dead(page):
    """Links of a page that lead to no file, or to no heading of one."""
    for target in links(page):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            yield target


@pytest.mark.parametrize("page", SITE, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_a_file_and_a_heading_of_it(page):
    assert list(dead(page)) == []


def test_a_dead_link_would_be_noticed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A `b` c\n\n[x](#a-b-c) [y](#b) [z](other.md) [w](https://example.com/#q)\n")
    assert list(dead(page)) == ["#b", "other.md"]
    assert sum(len(list(links(page))) for page in SITE) > 100


def entries(node):
    for one in node.get("entries", ()):
        yield one
        yield from entries(one)


def test_every_page_is_in_the_table_of_contents():
    toc = yaml.safe_load((ROOT / "docs" / "_toc.yml").read_text(encoding="utf-8"))
    listed = {toc["root"]}
    for tree in toc["subtrees"]:
        for entry in entries(tree):
            pattern = entry.get("file") or entry["glob"]
            pages = list(ROOT.glob(f"{pattern}.md"))
            assert pages, pattern
            listed |= {str(page.relative_to(ROOT).with_suffix("")) for page in pages}
    missing = {str(page.relative_to(ROOT).with_suffix("")) for page in SITE} - listed
    assert missing == set()


COMMAND = re.compile(r"`((?:python|node) studies/[^`]+)`")


def commands():
    for page in SITE:
        for command in COMMAND.findall(page.read_text(encoding="utf-8")):
            yield pytest.param(command, id=f"{page.parent.name}/{page.name}: {command[:60]}")


@pytest.mark.parametrize("command", list(commands()))
def test_a_study_that_a_page_names_is_there_and_knows_the_flags(command):
    _, script, *flags = shlex.split(command.replace("\n", " "))
    if script.endswith("…"):  # one of several, which the page names
        return
    assert (ROOT / script).is_file(), f"there is no {script}"
    # a study's scripts share their options
    scripts = [*(ROOT / script).parent.glob("*.py"), *(ROOT / script).parent.glob("*.mjs")]
    text = "".join(path.read_text(encoding="utf-8") for path in scripts)
    assert [f for f in flags if f.startswith("--") and f.strip("-").split("=")[0] not in text] == []


def test_a_newcomer_finds_twenty_questions_with_answers():
    text = (ROOT / "docs" / "questions.md").read_text(encoding="utf-8")
    _, *asked = re.split(r"^## ", text, flags=re.MULTILINE)
    assert len(asked) >= 20
    for one in asked:
        question, answer = one.split("\n", 1)
        assert question.endswith("?") and "](" in answer, question


def test_every_heading_of_the_glossary_is_told_in_its_order():
    terms = [
        line.removeprefix("## ")
        for line in (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("## ")
    ]
    assert terms == sorted(terms, key=str.lower) and len(terms) > 60


def test_pictures_are_what_their_script_draws(monkeypatch):
    folder = ROOT / "docs" / "pictures"
    monkeypatch.syspath_prepend(folder)
    script = importlib.import_module("draw")
    for draw in script.PICTURES:
        drawn = folder / f"{draw.__name__}.svg"
        assert drawn.read_text(encoding="utf-8") == draw().svg(), f"run {folder / 'draw.py'}"
    assert {path.stem for path in folder.glob("*.svg")} == {d.__name__ for d in script.PICTURES}


INLINE = re.compile(r"`(hwsearch [^`]+)`")


def test_commands_within_a_line_name_verbs_and_flags_that_there_are():
    """Their values may be words that stand for something, so they are not parsed."""
    wrong, seen = [], 0
    for page in [page for page in SITE if page.name != "CHANGELOG.md"]:
        for command in INLINE.findall(page.read_text(encoding="utf-8")):
            _, verb, *words = command.split()
            if verb.startswith("-") or not verb.islower():
                continue
            seen += 1
            flags = {word.split("=")[0].rstrip(",.") for word in words if word.startswith("--")}
            if verb not in VERBS:
                wrong.append(f"{page.name}: {command}")
            elif missing := flags - options(verb):
                wrong.append(f"{page.name}: {command}: {missing}")
    assert wrong == [] and seen > 50


@cache
def options(verb):
    command = hwsearch.get_command(click.Context(hwsearch), verb)
    return {name for p in command.params for name in (*p.opts, *p.secondary_opts)} | {"--debug"}
