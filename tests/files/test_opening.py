"""What is no plain file, too large, or not UTF-8 is refused in one line, and at once."""

import io
import os
import socket
from pathlib import Path

import pytest

from hwsearch.errors import PlanError
from hwsearch.files import FileKind, check_inside, check_plain, open_plain, read_bytes, read_text
from hwsearch.files.opening import check_unlinked, read_limited

KIND = FileKind("plan", 64, PlanError, "give a plan")


def pipe(folder):
    os.mkfifo(folder / "it")


def itself(folder):
    (folder / "it").symlink_to(folder / "it")


def dangling(folder):
    (folder / "it").symlink_to(folder / "nowhere")


def device(folder):
    (folder / "it").symlink_to("/dev/zero")


def folder(folder):
    (folder / "it").mkdir()


def bound(folder):
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(folder / "it"))
    server.close()


def large(folder):
    (folder / "it").write_bytes(b"x" * 65)


def missing(folder):
    pass


@pytest.mark.parametrize("make", [pipe, itself, dangling, device, folder, bound, large, missing])
@pytest.mark.parametrize("read", [read_bytes, read_text, check_plain])
def test_what_is_no_file_of_its_kind_is_refused(tmp_path, make, read):
    make(tmp_path)
    with pytest.raises(PlanError, match="plan") as found:
        read(tmp_path / "it", KIND)
    assert "\n" not in str(found.value)
    assert "give a plan" in str(found.value)


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "\ud800", "a/b/c"])
def test_names_that_no_file_has_are_refused(tmp_path, name):
    with pytest.raises(PlanError, match="cannot read plan"):
        read_bytes(tmp_path / name, KIND)


def test_a_link_to_a_file_is_read(tmp_path):
    (tmp_path / "file").write_text("text")
    (tmp_path / "it").symlink_to(tmp_path / "file")
    assert read_text(tmp_path / "it", KIND) == "text"
    with open_plain(tmp_path / "it", KIND) as file:
        assert file.read(2) == b"te"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a".encode("utf-16"), "UTF-16"),
        ("a".encode("utf-32"), "UTF-32"),
        (b"\x1f\x8b\x08\0", "gzip"),
        (b"PK\x03\x04", "ZIP"),
        (b"one\ntw\xe9", "byte 0xe9 in line 2"),
    ],
)
def test_other_encodings_are_named(tmp_path, content, said):
    (tmp_path / "it").write_bytes(content)
    with pytest.raises(PlanError, match=said):
        read_text(tmp_path / "it", KIND)


def test_a_byte_order_mark_is_left_out(tmp_path):
    (tmp_path / "it").write_bytes(b"\xef\xbb\xbftext")
    assert read_text(tmp_path / "it", KIND) == "text"


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "", ".", "a\\b", "C:x", "a\0b"])
def test_a_file_that_another_names_lies_in_its_folder(tmp_path, name):
    with pytest.raises(PlanError, match="inside it"):
        check_inside(tmp_path, name, KIND)


def test_a_file_below_a_folder_is_inside(tmp_path):
    assert check_inside(tmp_path, "a/b.bin", KIND) == tmp_path / "a" / "b.bin"


def test_links_are_refused_at_any_step(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_text("x")
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    check_unlinked(tmp_path / "real" / "file", tmp_path, KIND)
    with pytest.raises(PlanError, match="linked"):
        check_unlinked(tmp_path / "linked" / "file", tmp_path, KIND)


class Asked(io.BytesIO):
    """Notes how much was asked for at once."""

    most = 0

    def read(self, size=-1):
        self.most = max(self.most, size)
        return super().read(size)


@pytest.mark.parametrize("length", [0, 1, 99, 70_000, 500_000])
def test_memory_is_asked_for_by_what_a_file_holds(length):
    content = bytes(range(250)) * (length // 250) + b"x" * (length % 250)
    for expected in (0, length, 2 * length):
        file = Asked(content)
        assert read_limited(file, 1 << 40, expected) == content
        assert file.most <= 2 * max(length, expected) + (1 << 16)
    assert len(read_limited(Asked(content), 64)) == min(length, 65)


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="needs a file that says it is empty"
)
def test_a_file_that_says_it_is_empty_is_read():
    assert Path("/proc/self/status").stat().st_size == 0
    assert b"VmHWM" in read_bytes("/proc/self/status", FileKind("system file", 1 << 20))
