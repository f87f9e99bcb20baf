import pytest

from hwsearch.decoding.kept import KeptPlan
from hwsearch.errors import InputError, MissingShapeError
from hwsearch.latency.devices.folder import Journal
from hwsearch.latency.devices.table import LatencyTable
from hwsearch.latency.operators import Workload, refresh_operators, step_operators
from hwsearch.latency.prediction.predictor import Predictor
from hwsearch.latency.timing.shape_grid import ShapeGrid
from hwsearch.plan import CompressionPlan, Decoding
from hwsearch.testing.device import formula_device, formula_us
from hwsearch.testing.tiny import tiny_geometry

TEXT = "rows=4,32 features=32,256 cached=4,16,64 heads=1,4 head_dim=32 vocab=32,128"
WORK = Workload(9, Decoding(gen_length=8, block_length=4, steps=8, refresh_interval=2))


def grid_table():
    keys = ShapeGrid.parse(TEXT).operators()
    return LatencyTable({key: ((formula_us(key),),) for key in keys}, "grid")


def test_a_grid_prices_a_model_within_it_as_the_formula_does():
    geometry = tiny_geometry(layers=1)
    plan, table = CompressionPlan.uniform(1, "w8a8", "w4", head="w8"), grid_table()
    assert geometry.hidden_size not in (32, 256)
    for operators in (refresh_operators, step_operators):
        for key in operators(geometry, KeptPlan.drawn(plan, (0.5,)), WORK):
            assert table.cost_us(key) == pytest.approx(formula_us(key), rel=1e-6), str(key)


def test_a_model_outside_the_grid_is_refused_by_shape_and_command():
    geometry = tiny_geometry(layers=1, hidden=512, heads=16)
    device = formula_device(geometry, WORK)
    predictor = Predictor(type(device)(device.info, grid_table(), device.folder), geometry, WORK)
    with pytest.raises(
        MissingShapeError, match=r"norm 4 x 512 .*in_features 32\.\.256.*hwsearch profile"
    ):
        predictor.predict(KeptPlan.keeping_all(CompressionPlan.uniform(1)))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TEXT.replace("rows=4,32 ", ""), "rows is missing"),
        (TEXT + " width=3", "width is unknown"),
        (TEXT.replace("rows=4,32", "rows=4,x"), "rows must be whole numbers above 0.*got '4,x'"),
        (TEXT.replace("rows=4,32", "rows=-4"), "rows must be whole numbers above 0"),
    ],
)
def test_a_grid_that_is_none_is_refused(text, said):
    with pytest.raises(InputError, match=said):
        ShapeGrid.parse(text)


FACTS = {"processor": "x", "system": "y", "onnxruntime": "1", "threads": "1"}


def test_a_journal_is_read_back_only_on_the_same_machine(tmp_path):
    journal, table = Journal(tmp_path, "box", FACTS), grid_table()
    assert journal.read() == {}
    journal.keep(table)
    read = Journal(tmp_path, "box", dict(FACTS)).read()
    assert list(read) == sorted(table.samples)
    with pytest.raises(
        InputError, match=r"timed with processor 'x', and this is 'z'.*delete .*unfinished"
    ):
        Journal(tmp_path, "box", FACTS | {"processor": "z"}).read()
    journal.remove()
    assert list(tmp_path.iterdir()) == []
