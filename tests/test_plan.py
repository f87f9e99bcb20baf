import json

import pytest

from hwsearch.errors import PlanError
from hwsearch.plan import CompressionPlan, Decoding, LayerPlan


def test_round_trip_is_equal_and_hashes_alike():
    plan = CompressionPlan.uniform(
        3,
        "w8a8",
        "w4",
        0.5,
        head="w8",
        decoding={"gen_length": 8, "block_length": 4, "steps": 4, "refresh_interval": 2},
    )
    again = CompressionPlan.from_json(plan.to_json())
    assert again == plan
    assert hash(again) == hash(plan)
    assert len({plan, again, CompressionPlan.uniform(3)}) == 2


def test_plans_are_immutable():
    with pytest.raises(ValueError, match="frozen"):
        CompressionPlan.uniform(1).head = "w4"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"layers": [{"attention": "int3"}]}, "layers.0.attention: .*'w4'.* got 'int3'"),
        ({"layers": [{"sink_threshold": 1.5}]}, "layers.0.sink_threshold: .*got 1.5"),
        ({"layers": [{"sink_threshold": -0.1}]}, "layers.0.sink_threshold: .*got -0.1"),
        ({"layers": []}, "layers: .*at least 1"),
        ({"layers": [{"mpl": "w4"}]}, "layers.0.mpl: no such key"),
        ({"schema_version": 2}, "schema_version"),
    ],
)
def test_a_bad_plan_is_refused_by_key(change, said):
    data = {"layers": [{}]} | change
    with pytest.raises(PlanError, match=said):
        CompressionPlan.from_json(json.dumps(data))


def test_missing_layers_are_named():
    with pytest.raises(PlanError, match="layers: missing"):
        CompressionPlan.from_json("{}")


def test_a_file_that_is_no_plan_is_named(tmp_path):
    path = tmp_path / "plan.json"
    path.write_text("{")
    with pytest.raises(PlanError, match=r"plan\.json"):
        CompressionPlan.read(path)
    with pytest.raises(PlanError, match="cannot read"):
        CompressionPlan.read(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ((10, 4, 4), "multiple of block_length"),
        ((8, 4, 3), "multiple of the 2 blocks"),
        ((8, 4, 16), "at most gen_length"),
    ],
)
def test_decoding_lengths_must_divide(sizes, said):
    gen, block, steps = sizes
    with pytest.raises(ValueError, match=said):
        Decoding(gen_length=gen, block_length=block, steps=steps, refresh_interval=1)


def test_decoding_counts_refreshes():
    decoding = Decoding(gen_length=48, block_length=16, steps=24, refresh_interval=3)
    assert (decoding.num_blocks, decoding.steps_per_block) == (3, 8)
    assert decoding.refreshes == 3 * 3


PRUNED = {"kept_heads": 1, "kept_channels": 64, "sparsity": 0.5}


def test_what_a_plan_does_not_use_is_not_written_and_old_plans_load():
    plain = CompressionPlan.uniform(1)
    written = json.loads(plain.to_json())
    assert set(written) == {"schema_version", "layers", "head", "decoding"}
    assert set(written["layers"][0]) == {"sink_threshold", "attention", "mlp"}
    assert CompressionPlan.from_json(plain.to_json()) == plain
    pruned = CompressionPlan.uniform(
        2, **PRUNED, cache={"rule": "recent", "late_scale": 0.5}, pruning={"method": "sparsegpt"}
    )
    again = CompressionPlan.from_json(pruned.to_json())
    assert again == pruned and hash(again) == hash(pruned)
    assert again.layers[1].model_dump() == {**written["layers"][0], **PRUNED}
    assert pruned.layers[0].prunes and not plain.layers[0].prunes


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        ({"kept_heads": 0}, "kept_heads: .*greater than or equal to 1, got 0"),
        ({"kept_channels": -3}, "kept_channels: .*got -3"),
        ({"sparsity": 1.0}, "sparsity: .*at least 0 and below 1, got 1.0"),
        ({"sparsity": "5:4"}, "sparsity: .*1 <= N <= M.*got '5:4'"),
        ({"sparsity": "half"}, "sparsity: a pattern is"),
    ],
)
def test_bad_pruning_is_refused_by_key(layer, said):
    with pytest.raises(PlanError, match=said):
        CompressionPlan.validate({"layers": [layer]})


@pytest.mark.parametrize(
    ("cache", "said"),
    [
        ({"rule": "oldest"}, "cache.rule: .*'recent'.*got 'oldest'"),
        ({"early_scale": 0.0}, "cache.early_scale"),
        ({"boundary": 1.5}, "cache.boundary: .*got 1.5"),
    ],
)
def test_a_bad_cache_policy_is_refused_by_key(cache, said):
    with pytest.raises(PlanError, match=said):
        CompressionPlan.validate({"layers": [{}], "cache": cache})


def test_a_decoding_is_changed_by_its_fields():
    makers = Decoding(gen_length=8, block_length=4, steps=4, refresh_interval=4, rule="random")
    fast = makers.changed({"commit": {"policy": "factor"}, "window": {"advance": True}})
    assert (fast.steps, fast.gen_length, fast.commit.factor) == (8, 8, 1.0)
    assert makers.changed({}) == makers
    assert fast.scheduled().commit is None and not fast.scheduled().window.advance
    with pytest.raises(PlanError, match="decoding: steps 2 is of a schedule"):
        makers.changed({"commit": {"policy": "factor"}, "steps": 2})
    with pytest.raises(PlanError, match="decoding: stop: no such key"):
        makers.changed({"stop": True})


@pytest.mark.parametrize(
    ("text", "said"), [("{", "not JSON"), ("[1]", "is an object"), (None, "cannot read decoding")]
)
def test_a_file_of_changes_that_is_none_is_named(text, said, tmp_path):
    path = tmp_path / "fast.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(PlanError, match=said) as error:
        Decoding.read_changes(path)
    assert "fast.json" in str(error.value)


def test_decodings_of_old_files_are_written_as_they_were():
    text = '{"gen_length":8,"block_length":4,"steps":4,"refresh_interval":2}'
    assert Decoding.model_validate_json(text).model_dump_json() == text


@pytest.mark.parametrize(
    "said",
    [
        {"attention": "w8", "mlp": "w4"},
        {"qkv": "w8", "out": "w8", "mlp": "w4"},
        {"attention": "w8", "gate_up": "w4", "down": "w4"},
        {"attention": "w8", "mlp": "w4", "down": "w4"},
    ],
    ids=str,
)
def test_formats_that_are_alike_are_written_in_the_short_form(said):
    plan = CompressionPlan.validate({"layers": [said | {"kept_heads": 1}]})
    (layer,) = plan.layers
    assert layer.model_dump_json() == (
        '{"sink_threshold":1.0,"attention":"w8","mlp":"w4","kept_heads":1}'
    )
    assert (layer.attention, layer.mlp) == (layer.out, layer.down) == ("w8", "w4")
    assert plan == CompressionPlan.uniform(1, "w8", "w4", kept_heads=1)


def test_formats_that_differ_are_written_by_their_own_names():
    layers = [
        {"attention": "w8", "mlp": "w8a8", "down": "w8"},
        {"qkv": "w8a8", "out": "fp32", "gate_up": "w8", "down": "w4", "sparsity": 0.5},
    ]
    plan = CompressionPlan.validate({"layers": layers})
    written = json.loads(plan.to_json())["layers"]
    first = {"attention": "w8", "gate_up": "w8a8", "down": "w8"}
    assert written == [{"sink_threshold": 1.0, **one} for one in (first, layers[1])]
    assert list(written[0]) == ["sink_threshold", *first]
    again = CompressionPlan.from_json(plan.to_json())
    assert again == plan and hash(again) == hash(plan)
    assert plan.layers[0].mlp is None and plan.layers[1].attention is None
    assert plan.layers[0] == CompressionPlan.uniform(1, "w8", "w8a8", down="w8").layers[0]


def test_a_copy_may_be_changed_by_short_forms():
    layer = LayerPlan(attention="w8", mlp="w4")
    assert layer.model_copy(update={"mlp": "w8"}) == LayerPlan(attention="w8", mlp="w8")
    assert layer.model_copy(update={"mlp": "w8", "down": "w4"}).formats == {
        "attention": "w8", "gate_up": "w8", "down": "w4"
    }  # fmt: skip
    assert layer.model_copy() == layer


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        ({"mlp": "w8", "gate_up": "w4", "down": "w4"}, "mlp sets gate_up and down.*leave it out"),
        ({"down": "int3"}, "layers.0.down: .*got 'int3'"),
        ({"up": "w4"}, "layers.0.up: no such key"),
    ],
)
def test_formats_that_cannot_be_are_refused_by_key(layer, said):
    with pytest.raises(PlanError, match=said):
        CompressionPlan.validate({"layers": [layer]})
