"""Arrays from outside: no pickle, and no more memory than the file fills."""

import io
import zipfile

import numpy as np
import pytest

from hwsearch.errors import InputError
from hwsearch.files import FileKind
from hwsearch.files.arrays import map_npy, read_npz

KIND = FileKind("archive", 1 << 20)


def npy(shape, dtype="<f4", content=b""):
    header = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    header = header.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + content


def archive(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members:
            file.writestr(name, content)


def test_what_numpy_wrote_is_read(tmp_path):
    arrays = {
        "a": np.arange(6, dtype=np.int32).reshape(2, 3),
        "b": np.asfortranarray(np.ones((3, 2), np.float32)),
        "text": np.array("said"),
        "empty": np.zeros((0, 4)),
    }
    np.savez_compressed(tmp_path / "it.npz", **arrays)
    found = read_npz(tmp_path / "it.npz", KIND)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


@pytest.mark.parametrize(
    "content",
    [
        npy((10**18,)),
        npy((10**9, 10**9, 10**9)),
        npy((-1,)),
        npy((4,), content=b"\0" * 15),
        npy((4,), content=b"\0" * 17),
        npy((1,), "|O", b"cos\nsystem\n"),
        npy(("a",)),
        npy(3),
        b"\x93NUMPY\x07\x00",
        b"",
        b"\x93NUMPY\x01\x00\x10\x00((((((((((((((((",
    ],
)
def test_arrays_that_are_not_what_they_say(tmp_path, content):
    archive(tmp_path / "it.npz", [("a.npy", content)])
    with pytest.raises(InputError, match="not an archive of arrays"):
        read_npz(tmp_path / "it.npz", KIND)
    (tmp_path / "it.npy").write_bytes(content)
    with pytest.raises(InputError, match="not an array"):
        map_npy(tmp_path / "it.npy", KIND)


def test_archives_that_are_more_than_they_look(tmp_path):
    archive(tmp_path / "bomb.npz", [("a.npy", npy((1 << 20,), content=bytes(4 << 20)))])
    assert (tmp_path / "bomb.npz").stat().st_size < 1 << 16
    with pytest.raises(InputError, match="unpacked it is larger"):
        read_npz(tmp_path / "bomb.npz", KIND)
    one = npy((1,), content=bytes(4))
    with pytest.warns(UserWarning, match="Duplicate"):
        archive(tmp_path / "twice.npz", [("a.npy", one), ("a.npy", one)])
    with pytest.raises(InputError, match="twice"):
        read_npz(tmp_path / "twice.npz", KIND)
    archive(tmp_path / "many.npz", [(f"{number}.npy", one) for number in range(300)])
    with pytest.raises(InputError, match="256"):
        read_npz(tmp_path / "many.npz", KIND)


def test_every_cut_of_an_archive_is_refused(tmp_path):
    packed = io.BytesIO()
    np.savez(packed, a=np.arange(4))
    for end in range(0, len(packed.getvalue()), 7):
        (tmp_path / "it.npz").write_bytes(packed.getvalue()[:end])
        with pytest.raises(InputError, match="not an archive"):
            read_npz(tmp_path / "it.npz", KIND)


def test_an_array_is_mapped(tmp_path):
    points = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.save(tmp_path / "it.npy", points)
    found = map_npy(tmp_path / "it.npy", KIND)
    assert isinstance(found, np.memmap)
    np.testing.assert_array_equal(found, points)
    np.save(tmp_path / "it.npy", np.asfortranarray(points))
    np.testing.assert_array_equal(map_npy(tmp_path / "it.npy", KIND), points)
