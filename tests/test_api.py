import importlib
import inspect
import pkgutil
import subprocess
import sys

import pytest

import hwsearch
from hwsearch import errors


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
        "import hwsearch.cli.main, hwsearch.cli.generate",
        "from hwsearch.cli.main import hwsearch; hwsearch(['--help'], standalone_mode=False)",
    ],
)
def test_light_imports_stay_light(code):
    heavy = "torch", "transformers", "optuna", "onnx", "pandas", "scipy"
    check = f"{code}; import sys; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
