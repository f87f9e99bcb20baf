import json
import shutil

import pytest

from hwsearch.errors import InputError, VerificationError
from hwsearch.runtime import read_bundle, record_figures
from hwsearch.runtime.bundle import BUNDLE_FILE, FILES, REFERENCE_FILE, Manifest, write_manifest


@pytest.fixture
def folder(bundle, tmp_path):
    return shutil.copytree(bundle.path, tmp_path / "copy")


def change_byte(path, index):
    content = bytearray(path.read_bytes())
    content[index] ^= 1
    path.write_bytes(bytes(content))


def test_a_bundle_holds_its_plan_sizes_and_torchs_generations(bundle):
    manifest = bundle.manifest
    assert set(manifest.sha256) == {*FILES, REFERENCE_FILE}
    assert (manifest.layers, manifest.kv_heads, manifest.head_dim) == (2, 1, 32)
    assert manifest.kept_shares == (1.0, 0.5)
    assert manifest.figures.size_bytes == bundle.size_bytes > 100_000
    assert set(manifest.versions) == {"hwsearch", "onnxruntime", "torch", "onnx"}


@pytest.mark.parametrize("name", [*FILES, REFERENCE_FILE])
@pytest.mark.parametrize("index", [0, -1])
def test_a_changed_byte_names_its_file(folder, name, index):
    change_byte(folder / name, index)
    with pytest.raises(VerificationError, match=name):
        read_bundle(folder)


def test_a_changed_byte_anywhere_in_the_manifest_is_noticed(folder):
    path = folder / BUNDLE_FILE
    intact = path.read_bytes()
    # the first 100 bytes hold the seal itself
    for index in (*range(100), *range(100, len(intact), 23), len(intact) - 1):
        change_byte(path, index)
        with pytest.raises(VerificationError, match=BUNDLE_FILE):
            read_bundle(folder)
        path.write_bytes(intact)
    read_bundle(folder)


@pytest.mark.parametrize("name", [*FILES, REFERENCE_FILE])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(VerificationError, match=f"{name}: missing"):
        read_bundle(folder)


def test_what_is_no_bundle_says_so(tmp_path):
    with pytest.raises(InputError, match="no such bundle folder"):
        read_bundle(tmp_path / "nowhere")
    with pytest.raises(InputError, match=f"holds no {BUNDLE_FILE}"):
        read_bundle(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("layers", 0, "layers: "),
        ("schema_version", 2, "schema_version: "),
        ("kept_shares", [1.0], "kept_shares: must name one share for each of the 2"),
        ("colour", "red", "colour: no such key"),
    ],
)
def test_a_sealed_manifest_that_breaks_the_schema_names_the_key(folder, key, value, message):
    data = json.loads((folder / BUNDLE_FILE).read_text()) | {key: value}
    # sealed like a real one, as a later version of the writer would
    write_manifest(folder, _Loose(data))
    with pytest.raises(InputError, match=message):
        read_bundle(folder)


class _Loose:
    """Any data, written as if it were a manifest."""

    def __init__(self, data):
        self.data = data

    def model_copy(self, update):
        return _Loose({**self.data, **update})

    def model_dump_json(self, indent):
        return json.dumps(self.data, indent=indent)


def test_figures_are_added_and_the_rest_stays(folder, bundle):
    record_figures(folder, measured_ms=12.5, accuracy_interval=(0.8, 0.9), passes=3)
    manifest = record_figures(folder, predicted_ms=12.0).manifest
    assert (manifest.figures.measured_ms, manifest.figures.predicted_ms) == (12.5, 12.0)
    assert manifest.figures.accuracy_interval == (0.8, 0.9)
    assert manifest.figures.passes == 3
    unchanged = set(Manifest.model_fields) - {"figures", "seal"}
    for key in unchanged:
        assert getattr(manifest, key) == getattr(bundle.manifest, key)
    with pytest.raises(InputError, match="measured_ms"):
        record_figures(folder, measured_ms="fast")
