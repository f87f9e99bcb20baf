import pytest
from pydantic import ValidationError

from hwsearch.errors import MissingShapeError, TableError
from hwsearch.latency.devices.device import DeviceInfo, Line, load_device
from hwsearch.latency.devices.folder import write_device
from hwsearch.latency.devices.table import LatencyTable
from hwsearch.latency.devices.table_csv import COLUMNS
from hwsearch.latency.operators import OpKey

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
        (f"{HEAD}\n{GOOD.replace('16', '0')}", "row 2: rows must be a whole number from 1"),
        (f"{HEAD}\n{GOOD}\n{NEXT}", "row 3: the last row must end its line: .*cut within it; got"),
        (
            f"{HEAD}\n{GOOD}\n{GOOD.replace('linear,16', 'linear,8')}\n",
            "row 3: operators must stand together, in the order .*got 'linear 8 x 64 x 128 w8a8'",
        ),
        (
            f"{HEAD}\n{GOOD}\n{GOOD.replace('linear,16', 'linear,17')}\n{NEXT}\n",
            "row 4: operators must stand together",
        ),
    ],
)
def test_a_bad_table_is_refused_by_row(tmp_path, text, said):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(TableError, match=said) as refused:
        LatencyTable.read(path)
    assert str(path) in str(refused.value)


def device(tmp_path):
    """A measured device on disk."""
    table = LatencyTable({LINEAR: ((1.5, 2.5), (3.0, 3.5)), LARGER: ((7.25, 7.5), (7.0, 8.0))})
    info = DeviceInfo(
        name="box",
        provenance="measured",
        description="a box",
        runtime="onnxruntime-cpu",
        environment={"processor": "a box"},
    )
    return write_device(info, table, tmp_path)


LARGER = OpKey("linear", 32, 64, 128, format="w8a8")


def edited(path, change):
    before = path.read_text()
    path.write_text(change(before))
    assert path.read_text() != before


def in_milliseconds(text):
    head, *rows = text.splitlines()
    cells = [row.split(",") for row in rows]
    return "\n".join([head, *(",".join([*c[:-1], f"{float(c[-1]) / 1e3}"]) for c in cells)]) + "\n"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (in_milliseconds, "must add up to 40.250 us, .*another unit, or were changed"),
        (lambda text: text.replace("7.25", "7.35"), "must add up to 40.250 us, .*got 40.350"),
        (lambda text: "\n".join(text.splitlines()[:-2]) + "\n", "must have 8 samples.*got 6"),
        (lambda text: text[:-2], "row 9: the last row must end its line"),
    ],
)
def test_a_table_that_is_not_what_its_device_says_is_refused(tmp_path, change, said):
    folder = device(tmp_path)
    assert load_device(folder).info.total_us == 40.25
    edited(folder / "onnxruntime-cpu.csv", change)
    with pytest.raises(TableError, match=said):
        load_device(folder)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('provenance = "measured"\n', "", "device.toml: provenance: missing"),
        ('"measured"', '"guessed"', "provenance: .*got 'guessed'"),
        ('processor = "a box"', 'processor = " "', "must say what it was: environment.processor$"),
        ('[environment]\nprocessor = "a box"\n', "", "must say what it was: environment.processor"),
        ('"measured"', '"published"', "needs sources: who published its numbers"),
        ('"measured"', '"modelled"', r"a modelled device has a \[roofline\]"),
        ("threads = 1", "threads = 0", "threads: .*got 0"),
        ("[env", '[power]\nwatts = 3\nscope = "all"\nsource = ""\n[env', "power.source: .*got ''"),
        ("[env", '[power]\nwatts = nan\nscope = "a"\nsource = "b"\n[env', "power.watts: .*got nan"),
    ],
)
def test_a_device_that_does_not_say_where_it_comes_from_is_refused(tmp_path, old, new, said):
    folder = device(tmp_path)
    edited(folder / "device.toml", lambda text: text.replace(old, new))
    with pytest.raises(TableError, match=said) as refused:
        load_device(folder)
    assert str(folder) in str(refused.value)


def test_a_folder_without_device_toml_is_refused_by_path_and_by_name(tmp_path, monkeypatch):
    folder = device(tmp_path / "latency_tables")
    (folder / "device.toml").unlink()
    monkeypatch.chdir(tmp_path)
    for name in (folder, "box"):
        with pytest.raises(TableError, match=r"box has no device.toml, so nobody knows what was"):
            load_device(name)


def test_a_line_that_is_no_number_is_refused(tmp_path):
    for wrong in ({"intercept_ms": float("nan")}, {"slope": float("inf")}, {"mape": float("nan")}):
        good = {"intercept_ms": 0.0, "slope": 1.0, "mape": 0.0, "plans": 3}
        with pytest.raises(ValidationError):
            Line(**{**good, **wrong})
