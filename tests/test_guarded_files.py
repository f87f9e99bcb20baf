"""Files from outside are opened in `hwsearch/files` alone."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1] / "hwsearch"

#: What opens or parses a file by itself.
BARE = {
    "open", "read_text", "read_bytes", "json.load", "json.loads", "tomllib.load", "tomllib.loads", "np.load",
    "np.memmap", "np.fromfile", "np.loadtxt", "pd.read_csv", "pd.read_json", "pickle.load", "pickle.loads",
    "model_validate_json",
}  # fmt: skip

METHODS = {"read_text", "read_bytes", "model_validate_json"}

#: Modules that do, each with its reason.
ALLOWED = {
    "latency/kit/script.py": "runs on a device that has no hwsearch",
    "bundle/weights/file.py": "writes a bundle's weights, and reads back what it wrote",
    "bundle/gguf/export.py": "parses what tokenizers gave it",
    "bundle/gguf/tokenizer.py": "parses what tokenizers gave it",
    "bundle/compressed_tensors/config.py": "parses what tokenizers gave it",
    "cli/main.py": "opens the null device for output",
    "jobs/baselines.py": "appends rows to a file of its own",
    "report/baselines.py": "writes a CSV",
    "report/study/page.py": "reads its own templates",
    "runtime/web/scripts.py": "reads its own pages",
    "study/records/record.py": "values of Optuna's storage, which it guards itself",
    "study/run.py": "a text from the cache of results",
    "study/storage/sqlite.py": "looks at the first bytes of a database",
    "testing/runtime.py": "opens sessions of onnxruntime",
}  # fmt: skip


def bare_calls(tree):
    """Names of `BARE` that a module calls; a method of a provider or an archive called `open` is no file."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        said = ast.unparse(node.func)
        last = said.rpartition(".")[2]
        # without a dot these two are of the guarded room
        if said in BARE - {"read_text", "read_bytes"} or (last in METHODS and "." in said):
            yield said
        elif last == "open" and node.args and isinstance(node.args[0], ast.Constant):
            yield said  # of a path: its first argument is a mode


def test_no_other_room_opens_files():
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        calls = sorted(set(bare_calls(ast.parse(path.read_text(encoding="utf-8")))))
        if calls and not name.startswith("files/"):
            found[name] = calls
    assert {name: calls for name, calls in found.items() if name not in ALLOWED} == {}


def test_a_bare_call_would_be_noticed():
    code = "path.open('rb')\nopen(path)\npath.read_text()\njson.load(file)\nprovider.open(graph, 1)"
    assert sorted(bare_calls(ast.parse(code))) == [
        "json.load",
        "open",
        "path.open",
        "path.read_text",
    ]


def test_nothing_is_unpickled_and_no_code_of_models_runs():
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            options = {key.arg: ast.unparse(key.value) for key in node.keywords}
            assert options.get("trust_remote_code", "False") == "False", path
            assert options.get("allow_pickle", "False") == "False", path
            if ast.unparse(node.func) == "torch.load":
                assert options.get("weights_only") == "True", path
