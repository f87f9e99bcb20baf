"""The house stays one that a newcomer finds a way in: sizes, parameters, homes of names, directions."""

from __future__ import annotations

import ast
import graphlib
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "hwsearch").rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in FILES
}

#: Functions that take more than eight parameters, each with its reason.
MANY_PARAMETERS: dict[str, str] = {
    "hwsearch/denoisers/own.py:own_denoiser": "each says what a module cannot tell of itself",
    "hwsearch/study/samplers/additive/sampler.py:__init__": "an Optuna sampler, built as those are",
}

#: Public names that two modules define, each with its reason.
TWO_HOMES: dict[str, str] = {}


def functions():
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                yield path.relative_to(ROOT).as_posix(), node


def parameters(node):
    found = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return [one.arg for one in found if one.arg not in ("self", "cls")]


def is_command(node):
    """Options of a verb are its parameters: click hands each over by name."""
    return any("click.command" in ast.unparse(decorator) for decorator in node.decorator_list)


def test_files_are_short_and_rooms_small():
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert sorted(lines.values())[len(lines) // 2] <= 150
    assert [f"{path}: {count}" for path, count in lines.items() if count > 400] == []
    rooms = Counter(path.parent for path in FILES if path.name != "__init__.py")
    assert [f"{room}: {count}" for room, count in rooms.items() if count > 12] == []


def test_functions_are_short():
    long = []
    for path, node in functions():
        doc = node.body[0] if ast.get_docstring(node) else None
        docstring = doc.end_lineno - doc.lineno + 1 if doc else 0
        if node.end_lineno - node.lineno + 1 - docstring > 60:
            long.append(f"{path}:{node.lineno} {node.name}")
    assert long == []


def test_functions_take_few_parameters():
    many = {
        f"{path}:{node.name}"
        for path, node in functions()
        if len(parameters(node)) > 8 and not is_command(node)
    }
    assert many == MANY_PARAMETERS.keys()


def test_a_public_name_has_one_home():
    homes = defaultdict(set)
    for path, tree in TREES.items():
        if "cli" in path.parts:  # every verb is a `command`
            continue
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].add(path.relative_to(ROOT).as_posix())
    assert {name for name, where in homes.items() if len(where) > 1} == TWO_HOMES.keys()


def imports(module, tree):
    """Modules that a module imports, in functions too; not for type checking alone."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body.clear()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in MODULES:
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            found |= inner or {node.module}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & MODULES.keys()
    return found - {module}


def test_imports_know_no_cycle():
    graph = {
        name: imports(name, ast.parse(path.read_text(encoding="utf-8")))
        for name, path in MODULES.items()
    }
    assert sum(map(len, graph.values())) > 500
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, and names the cycle


#: A value after the point, of something that may be a little below nothing.
SIGNED = re.compile(r"\{[^{}]*(?:loss|\bkl\b|difference|nats)[^{}:]*:[+,]?\.\d+[f%]\}")


def test_no_loss_is_shown_as_minus_nothing():
    shown = [
        f"{path.relative_to(ROOT)}: {found}"
        for room in ("hwsearch", "studies", "examples")
        for path in sorted((ROOT / room).rglob("*.py"))
        for found in SIGNED.findall(path.read_text(encoding="utf-8"))
    ]
    assert shown == [], "write :z.5f, which shows -4e-10 as 0.00000"
    assert SIGNED.search('f"{row.loss:.5f}"') and SIGNED.search("{100 * x['difference']:+.1f}")
    assert not SIGNED.search('f"{row.loss:z.5f}"')


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_files_that_pages_name_are_there(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    named = re.findall(r"`((?:[\w.-]+/)+[\w.-]*|[\w]+\.py)`", text)
    assert len(named) > 10
    known = {path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py")}
    missing = []
    for pattern in named:
        name = re.split("ROOM|NAME", pattern)[0]  # the folder of what is yet to be written
        places = (ROOT / name, ROOT / "hwsearch" / name)
        beside = any(path.endswith(f"/{name}") for path in known)
        if not beside and not any(place.exists() for place in places):
            missing.append(pattern)
    assert missing == []


def test_a_cycle_a_double_and_a_crowd_would_be_noticed():
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter({"a": {"b"}, "b": {"a"}}).prepare()
    node = ast.parse("def f(self, a, b, *, c): ...").body[0]
    assert parameters(node) == ["a", "b", "c"]
    assert imports("m", ast.parse("def f():\n    from hwsearch.errors import InputError")) == {
        "hwsearch.errors"
    }
