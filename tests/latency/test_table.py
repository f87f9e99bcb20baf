import pytest

from hwsearch.errors import MissingShapeError, TableError
from hwsearch.latency.operators import OpKey
from hwsearch.latency.table import COLUMNS, LatencyTable

LINEAR = OpKey("linear", 16, 64, 128, format="w8a8")


def attention(keys):
    return OpKey("attention", 16, keys, 64, 2)


def test_p50_is_the_median_of_session_medians():
    table = LatencyTable({LINEAR: ((1.0, 2.0, 90.0), (4.0, 4.0, 5.0), (3.0,))})
    assert table.p50_us[LINEAR] == 3.0
    assert table.percentile_us(LINEAR, 100) == 90.0


def test_round_trip(tmp_path):
    table = LatencyTable({LINEAR: ((1.5, 2.5), (3.0,)), attention(32): ((7.25,),)})
    path = tmp_path / "t.csv"
    table.write(path)
    assert dict(LatencyTable.read(path).samples) == dict(table.samples)


def test_attention_is_interpolated_between_keys_and_never_beyond():
    table = LatencyTable({attention(20): ((10.0,),), attention(40): ((30.0,),)}, "t.csv")
    assert table.cost_us(attention(30)) == pytest.approx(20.0)
    for keys in (19, 41):
        with pytest.raises(
            MissingShapeError, match=rf"t\.csv has no row for attention 16 x {keys}"
        ):
            table.cost_us(attention(keys))


def test_a_missing_shape_names_the_command_that_measures_it():
    with pytest.raises(MissingShapeError, match="hwsearch profile"):
        LatencyTable({attention(20): ((1.0,),)}).cost_us(LINEAR)


def test_formats_are_those_that_linears_were_timed_in():
    table = LatencyTable({LINEAR: ((1.0,),), attention(8): ((1.0,),)})
    assert table.formats() == ["w8a8"]


GOOD = "linear,16,64,128,0,w8a8,0,5.5"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot read"),
        (",".join(COLUMNS), "no rows"),
        (",".join(reversed(COLUMNS)) + "\n", "columns must be kind,rows"),
        (
            f"{','.join(COLUMNS)}\n{GOOD}\n{GOOD.replace('5.5', '-1')}",
            "row 3: sample_us .*got .*-1",
        ),
        (f"{','.join(COLUMNS)}\n{GOOD}\n{GOOD.replace('5.5', '')}", "row 3: sample_us"),
        (
            f"{','.join(COLUMNS)}\n{GOOD.replace('5.5', 'fast')}",
            "row 2: sample_us must be a number",
        ),
        (f"{','.join(COLUMNS)}\n{GOOD.replace('w8a8', 'int3')}", "row 2: format must be .*int3"),
        (f"{','.join(COLUMNS)}\n{GOOD.replace('linear', 'conv')}", "row 2: kind must be .*conv"),
        (f"{','.join(COLUMNS)}\n{GOOD.replace('64', '6.5')}", "row 2: in_features must be a whole"),
    ],
)
def test_a_bad_table_is_refused_by_row(tmp_path, text, said):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(TableError, match=said):
        LatencyTable.read(path)
