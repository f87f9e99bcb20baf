"""The scripts as they are handed over, and what says that Python runs none of it."""

import json
import re

import pytest

from hwsearch.bundle import write_bundle
from hwsearch.cli.main import hwsearch
from hwsearch.compression import compress
from hwsearch.decoding.kept import KeptShares
from hwsearch.errors import InputError, PlanError
from hwsearch.jobs.verification import verify
from hwsearch.plan import CompressionPlan
from hwsearch.runtime import Runtime, read_bundle
from hwsearch.runtime.providers import WEB
from hwsearch.runtime.web import write_kit_scripts, write_runner
from hwsearch.runtime.web.scripts import _HERE
from tests.runtime.web.node import HERE, run


def test_units_of_the_scripts():
    run("--test", HERE / "units.test.mjs")


def imported(folder):
    """Every file of the folder that a script or a page of it imports, and the packages of npm."""
    files, packages = set(), set()
    for path in [*folder.rglob("*.mjs"), *folder.rglob("*.html")]:
        text = path.read_text(encoding="utf-8")
        for name in re.findall(r"(?:from|import\()\s*'([^']+)'", text):
            if name.startswith("."):
                files.add((path.parent / name).resolve())
            elif not name.startswith("node:"):
                packages.add(name)
    return files, packages


@pytest.mark.parametrize("write", [write_runner, write_kit_scripts])
def test_a_folder_holds_all_that_its_scripts_import(write, tmp_path):
    folder = tmp_path / "web"
    if write is write_kit_scripts:
        folder.mkdir()
    write(folder)
    files, packages = imported(folder)
    assert files and all(path.is_file() for path in files)
    known = json.loads((folder / "package.json").read_text())["dependencies"]
    page = (folder / "index.html").read_text()
    mapped = json.loads(re.search(r'importmap">(.*?)</script>', page, re.DOTALL)[1])["imports"]
    for package in packages:
        assert any(package == name or package.startswith(f"{name}/") for name in known), package
        assert any(
            package == name or (name.endswith("/") and package.startswith(name)) for name in mapped
        ), package


def test_every_script_is_of_the_runner_or_of_a_kit(tmp_path):
    write_runner(tmp_path / "web")
    (tmp_path / "kit").mkdir()
    write_kit_scripts(tmp_path / "kit")
    given = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    scripts = {path.name for path in _HERE.rglob("*") if path.suffix in (".mjs", ".html", ".json")}
    assert scripts - {"kit.html", "head.html"} <= given


def test_both_pages_begin_alike_and_are_whole(tmp_path):
    (tmp_path / "kit").mkdir()
    write_kit_scripts(tmp_path / "kit")
    runner = (write_runner(tmp_path / "web") / "index.html").read_text()
    kit = (tmp_path / "kit" / "index.html").read_text()
    for page, title in ((runner, "ask a bundle"), (kit, "time this device")):
        head, _, body = page.partition(f"<title>hwsearch: {title}</title>")
        assert page.startswith("<!doctype html>") and body.count("<h1>") == 1
        assert head == (_HERE / "head.html").read_text()


def test_a_folder_that_is_there_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError, match="mine exists already"):
        write_runner(tmp_path / "mine")
    assert list((tmp_path / "mine").iterdir()) == []
    write_runner(tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "index.html").is_file()


@pytest.mark.parametrize("words", [("generate.mjs", "b", "?"), ("measure.mjs",)])
def test_without_packages_it_says_what_to_install(words, tmp_path):
    write_runner(tmp_path / "web")
    write_kit_scripts(tmp_path)
    folder = tmp_path if words[0] == "measure.mjs" else tmp_path / "web"
    _, error = run(*words, code=2, cwd=folder)
    assert error.startswith("error: Cannot find package ")
    assert error.endswith("; run npm install in this folder first\n")


def test_the_verb_says_what_to_do_next(tmp_path):
    from click.testing import CliRunner

    done = CliRunner().invoke(hwsearch, ["web", str(tmp_path / "web")])
    assert done.exit_code == 0, done.output
    assert "npm install" in done.output and "generate.mjs BUNDLE" in done.output
    assert (tmp_path / "web" / "generate.mjs").is_file()


def test_python_refuses_such_a_bundle_and_says_what_runs_it(denoiser, tmp_path):
    plan = CompressionPlan.uniform(2)
    out = tmp_path / "web"
    bundle = write_bundle(compress(denoiser, plan), KeptShares((1.0, 0.5)), out, provider=WEB)
    assert read_bundle(out).manifest.runtime == "onnxruntime-web"
    why = r"onnxruntime-web does not run in Python: Node and browsers do; `hwsearch web FOLDER`"
    with pytest.raises(InputError, match=why):
        Runtime(bundle)
    with pytest.raises(InputError, match=why):
        verify(out)
    with pytest.raises(
        InputError, match="was exported for onnxruntime-web, not for onnxruntime-cpu"
    ):
        Runtime(bundle, provider="onnxruntime-cpu")


def test_formats_that_it_does_not_load_are_refused_at_the_export(denoiser, tmp_path):
    plan = CompressionPlan.uniform(2, "fp16", "fp32")
    compressed = compress(denoiser, CompressionPlan.uniform(2))
    object.__setattr__(compressed, "plan", plan)
    with pytest.raises(PlanError, match="onnxruntime-web does not load fp16"):
        write_bundle(compressed, KeptShares((1.0, 1.0)), tmp_path / "web", provider=WEB)
