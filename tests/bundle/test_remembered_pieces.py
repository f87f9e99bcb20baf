"""Pieces of graphs are traced once for all processes, and graphs of found ones are those of fresh ones."""

import pytest

from hwsearch.bundle import TracedGraphs
from hwsearch.bundle.graphs import remembered_pieces, traced_pieces
from hwsearch.bundle.graphs.pieces import EndUse, GraphLayout, LayerUse
from hwsearch.decoding.backend import Sampling
from hwsearch.denoisers.caching.folder import CACHE_VARIABLE
from hwsearch.testing.tiny import tiny_denoiser, tiny_geometry

PIECES = [
    getattr(traced_pieces, name) for name in ("rows_piece", "_start", "_layer", "_end")
]  # each kept in memory, too


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    forget()
    return tmp_path / "cache" / "pieces"


@pytest.fixture
def traced(monkeypatch):
    """What is traced."""
    found, trace = [], traced_pieces.trace

    def listed(module, *given, **named):
        found.append(type(module).__name__)
        return trace(module, *given, **named)

    monkeypatch.setattr(traced_pieces, "trace", listed)
    return found


def forget():
    """Know as much as a process that has just begun."""
    for piece in PIECES:
        piece.cache_clear()


def rows(block=4):
    forget()
    return traced_pieces.rows_piece(block, False).model.SerializeToString(deterministic=True)


def test_another_process_traces_nothing_and_has_the_same_graph(traced, folder):
    denoiser = tiny_denoiser(layers=1, qkv_bias=True, logit_shift=True)
    layout = GraphLayout(4, Sampling(temperature=0.5, tempered=True))

    def made():
        forget()
        graph = TracedGraphs(denoiser.network, layout).refresh(frozenset())
        return graph.whole().SerializeToString(deterministic=True), graph.weights.keys()

    fresh = made()
    assert set(traced) == {"Rows", "Start", "LayerPiece", "End"}
    assert len(traced) == len(list(folder.iterdir()))
    traced.clear()
    assert made() == fresh and traced == []


def test_a_piece_is_another_by_sizes_tracer_and_code(traced, monkeypatch):
    assert rows() == rows() != rows(5)
    assert len(traced) == 2
    monkeypatch.setattr(remembered_pieces, "version", lambda package: "99.0")
    rows()
    monkeypatch.setattr(remembered_pieces, "code_digest", lambda: "of a later version")
    rows()
    assert len(traced) == 4


def test_models_share_pieces_that_know_nothing_of_what_differs(traced):
    own, other = tiny_geometry(), tiny_geometry(grouped=True, qkv_bias=True, logit_shift=True)
    small, large = GraphLayout(4), GraphLayout(8, is_windowed=True)
    for geometry, layout in ((own, small), (other, GraphLayout(4, is_windowed=True))):
        traced_pieces.start_piece(geometry, None, is_placed=False)
        traced_pieces.end_piece(geometry, layout, EndUse(selects=True, shift=None))
    assert traced == ["Start", "End"]
    traced.clear()
    first, again = (traced_pieces.layer_piece(own, LayerUse(), at) for at in (small, large))
    assert first is again and traced == ["LayerPiece"]
    for layout in (small, GraphLayout(5), large):  # what steps run, and what they are told, differs
        traced_pieces.layer_piece(own, LayerUse(has_past=True, hands_out=False), layout)
    assert len(traced) == 4


@pytest.mark.parametrize(
    "damage",
    [lambda kept: b"", lambda kept: kept[:-9], lambda kept: kept[:-1] + bytes([kept[-1] ^ 1])],
)
def test_a_damaged_piece_is_traced_again(traced, folder, damage):
    whole = rows()
    (path,) = folder.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert [rows(), rows()] == [whole, whole]
    assert len(traced) == 2, "what is traced again is kept again"


def test_a_folder_that_may_not_be_written_keeps_nothing_and_stops_nobody(
    traced, tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file"))
    assert rows() == rows()
    assert len(traced) == 2
