import json


def test_bench_tells_its_figures_as_json(run, bundle):
    code, out, err = run("bench", bundle, "--rounds", "2", "--limit", "2", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["generations"] == 4 and found["threads"] == 1
    assert found["passes"] == {"refresh": 16, "advance": 0, "step": 16}
    assert found["tokens_per_pass"] == found["tokens"] / 32
    # four times sum up to at least twice their median
    latency = found["latency_ms"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"]
    assert found["tokens_per_second"] <= 1e3 * found["tokens"] / (2 * latency["p50"])
    assert found["peak_bytes"] > 10e6


def test_bench_shows_a_table(run, bundle, tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text('{"question": "tom has 3 apples how many ?"}\n')
    code, out, err = run("bench", bundle, "--questions", path, "--rounds", "1")
    assert (code, err) == (0, "")
    rows = {
        line.split("│")[1].strip(): line.split("│")[2].strip()
        for line in out.splitlines()
        if line.startswith("│")
    }
    assert rows["generations"] == "1"
    assert (rows["refresh passes of a generation"], rows["step passes of a generation"]) == (
        "4.0",
        "4.0",
    )
    assert rows["latency p99"].endswith(" ms") and rows["peak memory"].endswith(" MB")


def test_bad_input_ends_with_2(run, bundle, tmp_path):
    code, out, err = run("bench", tmp_path / "nowhere")
    assert (code, out) == (2, "") and "no such bundle folder" in err
    code, _, err = run("bench", bundle, "--problems", "2", "--questions", tmp_path / "q.jsonl")
    assert code == 2 and "not both" in err
    code, _, err = run("bench", bundle, "--rounds", "0")
    assert code == 2 and "--rounds" in err
