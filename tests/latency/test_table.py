import pytest

from hwsearch.errors import MissingShapeError, TableError
from hwsearch.latency.operators import OpKey
from hwsearch.latency.table import LatencyTable
from hwsearch.latency.table_csv import COLUMNS

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
    assert 10.0 < table.cost_us(attention(25)) < table.cost_us(attention(30)) < 30.0
    for keys in (19, 41):
        with pytest.raises(
            MissingShapeError, match=rf"t\.csv has no row for attention 16 x {keys}"
        ):
            table.cost_us(attention(keys))


def test_a_power_law_is_interpolated_exactly_along_every_size():
    cost = lambda key: key.rows**0.5 * key.in_features * key.out_features**0.8  # noqa: E731
    keys = [
        OpKey("linear", rows, inner, outer)
        for rows in (8, 32, 128)
        for inner in (64, 256)
        for outer in (64, 256)
    ]
    table = LatencyTable({key: ((cost(key),),) for key in keys})
    for wanted in (OpKey("linear", 16, 64, 64), OpKey("linear", 60, 100, 200)):
        assert table.cost_us(wanted) == pytest.approx(cost(wanted))
    for beyond in (OpKey("linear", 7, 64, 64), OpKey("linear", 8, 300, 64)):
        with pytest.raises(MissingShapeError, match=r"it has rows 8\.\.128"):
            table.cost_us(beyond)


def test_attention_is_interpolated_over_heads_of_one_width():
    keys = [OpKey("attention", 16, 32, 64 * heads, heads, kv_heads=heads // 2) for heads in (4, 16)]
    table = LatencyTable({key: ((float(key.heads),),) for key in keys})
    assert table.cost_us(OpKey("attention", 16, 32, 512, 8, kv_heads=4)) == pytest.approx(8.0)
    for other in (OpKey("attention", 16, 32, 512, 8), OpKey("attention", 16, 32, 256, 8)):
        with pytest.raises(MissingShapeError):
            table.cost_us(other)


def test_between_noisy_rows_costs_never_fall():
    noisy = {10: 10.0, 20: 14.0, 30: 13.0, 40: 30.0}
    table = LatencyTable({attention(keys): ((cost,),) for keys, cost in noisy.items()})
    between = [table.cost_us(attention(keys)) for keys in range(11, 40) if keys not in noisy]
    assert between == sorted(between)


def test_spread_is_of_sessions_and_of_the_kind_where_there_is_no_row():
    table = LatencyTable({LINEAR: ((10.0,), (10.0,)), attention(20): ((9.0,), (11.0,))})
    assert table.spread(LINEAR) == 0.0
    assert table.spread(attention(20)) == table.spread(attention(25)) == pytest.approx(0.125, 0.01)


def test_a_missing_shape_names_the_command_that_measures_it():
    with pytest.raises(MissingShapeError, match="hwsearch profile"):
        LatencyTable({attention(20): ((1.0,),)}).cost_us(LINEAR)


def test_formats_are_those_that_linears_were_timed_in():
    table = LatencyTable({LINEAR: ((1.0,),), attention(8): ((1.0,),)})
    assert table.formats() == ["w8a8"]


HEAD = ",".join(COLUMNS)
GOOD = "linear,16,64,128,0,w8a8,0,0,0,5.5"
NEXT = "linear,16,64,128,0,w8a8,0,0,1,5.5"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot read"),
        (HEAD, "no rows"),
        (",".join(reversed(COLUMNS)) + "\n", "columns must be kind,rows"),
        (f"{HEAD.replace('sample_us', 'sample_ms')}\n{GOOD}", "in microseconds; got .*sample_ms"),
        (f"{HEAD}\n{GOOD}\n{NEXT.replace('5.5', '-1')}", "row 3: sample_us .*got .*-1"),
        (f"{HEAD}\n{GOOD}\n{NEXT.replace('5.5', '')}", "row 3: sample_us"),
        (f"{HEAD}\n{GOOD}\n{NEXT.replace('5.5', 'nan')}", "row 3: sample_us .*got .*nan"),
        (f"{HEAD}\n{GOOD}\n{NEXT.replace('5.5', 'inf')}", "row 3: sample_us .*got .*inf"),
        (f"{HEAD}\n{GOOD}\n{NEXT[:12]}", "row 3: out_features|row 3: .*got"),
        (f"{HEAD}\n{GOOD}\n{GOOD}", "row 3: sample must be 1 here.*there twice; got 0"),
        (f"{HEAD}\n{NEXT}\n{GOOD}", "row 2: sample must be 0 here: .*moved.*got 1"),
        (
            f"{HEAD}\n{GOOD}\n{GOOD.replace(',0,0,5.5', ',2,0,5.5')}",
            "row 3: session must be 1 here: .*missing.*got 2",
        ),
        (f"{HEAD}\n{GOOD.replace('5.5', 'fast')}", "row 2: sample_us must be a number"),
        (f"{HEAD}\n{GOOD.replace('w8a8', 'int3')}", "row 2: format must be .*int3"),
        (f"{HEAD}\n{GOOD.replace('linear', 'conv')}", "row 2: kind must be .*conv"),
        (f"{HEAD}\n{GOOD.replace('64', '6.5')}", "row 2: in_features must be a whole"),
        (f"{HEAD}\n{GOOD.replace('w8a8,0', 'w8a8,3')}", "row 2: kv_heads must divide heads"),
    ],
)
def test_a_bad_table_is_refused_by_row(tmp_path, text, said):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(TableError, match=said) as refused:
        LatencyTable.read(path)
    assert str(path) in str(refused.value)
