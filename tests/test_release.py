"""What a release says of itself is one thing, said in one place: version, Pythons, extras."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

import hwsearch
from hwsearch.cli.errors import explain_error
from hwsearch.cli.main import hwsearch as command

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOW = (ROOT / ".github" / "workflows" / "tests.yml").read_text()
PACKAGES = (ROOT / "release" / "check_packages.py").read_text()

#: What each package of an extra is imported as, where that is not its name.
MODULES = {
    "huggingface-hub": "huggingface_hub",
    "llama-cpp-python": "llama_cpp",
    "optuna-dashboard": "optuna_dashboard",
    "compressed-tensors": "compressed_tensors",
    "pillow": "PIL",
    "psycopg[binary]": "psycopg",
    "scikit-learn": "sklearn",
    "vl-convert-python": "vl_convert",
}


def users_extras():
    return PROJECT["optional-dependencies"].keys() - {"dev", "docs", "runtime", "search"}


def test_the_version_is_that_of_command_metadata_and_changelog():
    version = hwsearch.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert importlib.metadata.version("hwsearch") == version, "make installs it again"
    said = CliRunner().invoke(command, ["--version"]).output
    assert said.strip() == f"hwsearch, version {version}"
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest[1] == version


def test_the_version_is_written_down_once():
    assert "version" in PROJECT["dynamic"]
    names = ["pyproject.toml", "Dockerfile", "Makefile", ".github/workflows/tests.yml"]
    for name in names:
        assert f'"{hwsearch.__version__}"' not in (ROOT / name).read_text(), name


def test_the_pythons_that_are_promised_are_those_that_are_tried():
    named = [each.rpartition(" ")[2] for each in PROJECT["classifiers"] if ":: 3." in each]
    assert PROJECT["requires-python"] == f">={named[0]}"
    (tried,) = re.findall(r"tests:.*?python: \[(.*?)\]", WORKFLOW, re.DOTALL)[:1]
    assert re.findall(r"[\d.]+", tried) == named


def test_every_extra_is_installed_and_used_before_a_release():
    extras = users_extras()
    (used,) = re.findall(r"^USES.*?^}", PACKAGES, re.DOTALL | re.MULTILINE)
    assert set(re.findall(r'^    "([\w-]+)":', used, re.MULTILINE)) == extras
    (matrix,) = re.findall(r"extra: \[(.*?)\]", WORKFLOW)
    assert set(matrix.split(", ")) == extras


@pytest.mark.parametrize("extra", sorted(users_extras()))
def test_a_package_that_is_missing_names_its_extra(extra):
    for needed in PROJECT["optional-dependencies"][extra]:
        if needed.startswith("hwsearch["):
            continue
        package = needed.partition(">=")[0]
        module = MODULES.get(package, package)
        line, code = explain_error(ModuleNotFoundError(f"No module named '{module}'", name=module))
        assert f'"hwsearch[{extra}]"' in line, line
        assert code == 2


def test_the_image_runs_what_is_installed_without_torch_as_no_administrator():
    image = (ROOT / "Dockerfile").read_text()
    steps = image.splitlines()
    (installs,) = [line for line in steps if " pip install " in line]
    assert "-c constraints.txt" in installs and "[" not in installs, "the base package alone"
    assert steps.index("USER 1000") < steps.index('ENTRYPOINT ["hwsearch"]')
    copied = [name for line in steps if line.startswith("COPY") for name in line.split()[1:-1]]
    sources = [name for name in copied if not name.startswith(("--", "/"))]
    assert all((ROOT / name).exists() for name in sources)
    travels = (ROOT / ".dockerignore").read_text().splitlines()
    assert {f"!{name}" for name in sources} <= set(travels)
    assert "*" in travels, "nothing else is sent to the builder"
