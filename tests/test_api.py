import importlib
import inspect
import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import hwsearch
from hwsearch import errors

ROOT = Path(__file__).parents[1]


def test_every_exported_name_exists_and_nothing_else_is_public():
    for name in hwsearch.__all__:
        assert getattr(hwsearch, name) is not None
    assert set(hwsearch._HOMES) | {"__version__"} == set(hwsearch.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = hwsearch.nonsense


def test_package_all_lists_are_exact():
    for info in pkgutil.walk_packages(hwsearch.__path__, "hwsearch."):
        module = importlib.import_module(info.name)
        for name in getattr(module, "__all__", ()):
            assert hasattr(module, name), f"{info.name}.__all__ names {name}"


PACKAGES = [
    "hwsearch",
    *(info.name for info in pkgutil.walk_packages(hwsearch.__path__, "hwsearch.") if info.ispkg),
]


def test_no_public_name_is_also_a_module():
    """Importing a submodule sets it on its package, over a name that is loaded when it is used.

    Sub-packages load their names when they are imported, so a function stays over a module of its
    name; that it does is tested below, with all modules imported.
    """
    modules = {info.name for info in pkgutil.iter_modules(hwsearch.__path__)}
    assert modules & {*hwsearch.__all__, *hwsearch._HOMES} == set()


#: Ways to come by a public function, each in an interpreter that has not imported hwsearch yet.
WAYS = [
    "import hwsearch.study.run, hwsearch as hw; found = hw.search",
    "import hwsearch.study, hwsearch.bundle, hwsearch as hw; found = hw.search",
    "import hwsearch as hw; hw.Study; import hwsearch.study.records.study; found = hw.search",
    "from hwsearch import search as found",
    "from hwsearch.study import search as found",
    "from hwsearch import *; found = search",
    "import hwsearch.bundle.exporter, hwsearch as hw; found = hw.export",
    "from hwsearch import export; import hwsearch.bundle; found = export",
    "from hwsearch.jobs import verification; from hwsearch import verify as found",
]

#: hwsearch is forgotten before each way; torch and its like stay, for the sake of time.
FRESH = """
import importlib, inspect, json, pkgutil, sys

def forget():
    for name in [name for name in sys.modules if name.split(".")[0] == "hwsearch"]:
        del sys.modules[name]

ways = {}
for way in WAYS:
    forget()
    space = {}
    exec(way, space)
    ways[way] = inspect.isfunction(space["found"])
forget()
import hwsearch
listed, space = dir(hwsearch), {}
exec("from hwsearch import *", space)
missing = sorted(set(hwsearch.__all__) - set(space) | set(hwsearch.__all__) - set(listed))

for info in pkgutil.walk_packages(hwsearch.__path__, "hwsearch."):
    importlib.import_module(info.name)
kinds = {}
for package in PACKAGES:
    home = importlib.import_module(package)
    for name in getattr(home, "__all__", []):
        thing = getattr(home, name)
        kind = "module" if inspect.ismodule(thing) else "callable" if callable(thing) else "value"
        kinds[package + "." + name] = kind
"""

#: Every public name of the package, used as README uses it; the model that is searched is tiny.
CALLS = """
import hwsearch as hw
from hwsearch.latency.operators import Workload
from hwsearch.testing.device import formula_device
from hwsearch.testing.tiny import tiny_denoiser

used = {}
class Noted:
    def __getattr__(self, name):
        used[name] = getattr(hw, name)
        return used[name]
api = Noted()

loaded = api.load_denoiser("gsm-mini")
device = api.load_device("cpu")
assert api.SearchSpace.of(loaded, device).num_layers == 6
tiny = tiny_denoiser()
decoding = api.Decoding(gen_length=8, block_length=4, steps=8, refresh_interval=2)
assert decoding == tiny.decoding
device = formula_device(tiny.geometry, Workload(6, decoding))
first = api.SearchSpace.of(tiny, device).decodings[:1]
space = api.SearchSpace.of(tiny, device, thresholds=(1.0, 0.5), decodings=first)
questions = ["tom has 3 apples ?", "tom has 4 apples and buys 5 more ?"]
options = {"prompt_length": 6, "questions": questions, "trials": 3, "name": "half"}
study = api.search(tiny, space, device, target_ratio=0.9, **options)
again = api.load_study("half")
assert isinstance(study, api.Study) and len(again.front()) >= 1
plan = again.best_plan
assert plan == study.best_plan and isinstance(plan, api.CompressionPlan)
assert isinstance(plan.layers[0], api.LayerPlan)
assert isinstance(plan.layers[0].mlp, api.WeightFormat)
bundle = api.export(tiny, plan, "out/", references=2)
checks = api.verify(bundle.path)
assert checks and all(hasattr(check, "passed") for check in checks)
assert api.write_report(study, "report.html").path.is_file()
assert isinstance(api.Runtime(bundle).generate("tom has 3 apples ?"), str)
api.__version__.split(".")
print(json.dumps({"ways": ways, "missing": missing, "kinds": kinds, "used": sorted(used)}))
"""


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """What one fresh interpreter finds: imports in any order, then all modules, then calls."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", f"WAYS, PACKAGES = {WAYS!r}, {PACKAGES!r}{FRESH}{CALLS}"],
        cwd=tmp_path_factory.mktemp("fresh"),
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_functions_are_functions_however_they_are_imported(fresh):
    assert fresh["ways"] == dict.fromkeys(WAYS, True)


def test_dir_and_star_offer_every_public_name(fresh):
    assert fresh["missing"] == []


def test_public_names_are_what_they_were_once_every_submodule_is_imported(fresh):
    kinds = fresh["kinds"]
    assert "module" not in kinds.values() and len(kinds) > 60
    functions = ["search", "export", "verify", "load_denoiser", "load_device", "load_study"]
    assert {kinds[f"hwsearch.{name}"] for name in functions} == {"callable"}


def test_every_public_name_is_used_as_readme_does_after_all_modules_were_imported(fresh):
    assert set(fresh["used"]) == set(hwsearch.__all__)


def test_the_error_tree_in_the_docstring_is_whole():
    named = [
        cls
        for _, cls in inspect.getmembers(errors, inspect.isclass)
        if issubclass(cls, errors.HwsearchError)
    ]
    assert len(named) > 5
    for cls in named:
        assert cls.__name__ in errors.__doc__


def test_unknown_names_say_what_is_near():
    error = errors.UnknownNameError("model", "gsm-mni", ["gsm-mini", "other"])
    assert "did you mean 'gsm-mini'" in str(error)


@pytest.mark.parametrize(
    "code",
    [
        "import hwsearch",
        "import hwsearch.runtime",
        "import hwsearch.cli.main, hwsearch.cli.bundles.generate",
        "from hwsearch.cli.main import hwsearch; hwsearch(['--help'], standalone_mode=False)",
    ],
)
def test_light_imports_stay_light(code):
    heavy = "torch", "transformers", "optuna", "onnx", "pandas", "scipy"
    check = f"{code}; import sys; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
