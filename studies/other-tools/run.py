"""One same job by other quantisers: gsm-mini's refresh graph in 8 and 4 bits, for onnxruntime's CPU.

    python studies/other-tools/run.py prepare FOLDER              # our bundles, and what graphs are asked
    TOOL_PYTHON studies/other-tools/quantise.py METHOD FOLDER     # in an environment of the tool's own
    python studies/other-tools/run.py measure FOLDER              # bytes and KL, side by side

`prepare` exports gsm-mini uncompressed, in `w8a8` and in `w4`, to nearest. The others get the float refresh
graph and write one of their own, each with its defaults for that format. `measure` runs all graphs on the
same frozen passes (masked answers of test problems) and compares predictions with the float graph's. Rows
go to results.csv.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from scipy import stats

import hwsearch as hw
from hwsearch.tasks.gsm_mini import generator

PROBLEMS = 128
GRAPH = "refresh-logits.onnx"
OURS = {"float": "fp32", "hwsearch-w8a8": "w8a8", "hwsearch-w4": "w4"}


def prepare(folder: Path) -> None:
    """Export ours, with their logits in the open, and write what all graphs are asked."""
    denoiser = hw.load_denoiser("gsm-mini")
    for name, fmt in OURS.items():
        plan = hw.CompressionPlan.uniform(denoiser.num_layers, attention=fmt, mlp=fmt, head=fmt)
        hw.export(denoiser, plan, folder / name)
        graph = onnx.load(folder / name / "refresh.onnx", load_external_data=False)
        graph.graph.output.append(
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, None, None])
        )
        onnx.save(graph, folder / name / GRAPH)
    rng, asked = np.random.default_rng(0), []
    problems = generator.problems("test", 0)
    decoding = denoiser.decoding
    for number in range(PROBLEMS):
        problem = next(problems)
        answer = denoiser.tokenizer.encode(problem.answer).ids[: decoding.gen_length]
        answer += [denoiser.end_token_id] * (decoding.gen_length - len(answer))
        start = decoding.block_length * (number % 2)  # of the block that is being written
        block = slice(start, start + decoding.block_length)
        hidden = rng.random(decoding.block_length) < rng.uniform(0.2, 0.9)
        shown = np.array(answer)
        shown[block] = np.where(hidden, denoiser.mask_token_id, shown[block])
        shown[block.stop :] = denoiser.mask_token_id
        prompt = denoiser.prompt(problem.question)
        asked.append(
            {
                "tokens": [*prompt, *shown.tolist()],
                "start": len(prompt) + start,
                "masks": np.flatnonzero(hidden).tolist(),
            }
        )
    (folder / "asked.json").write_text(json.dumps(asked), encoding="utf-8")


def session(graph: Path) -> onnxruntime.InferenceSession:
    """A plain session on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(graph, options, ["CPUExecutionProvider"])


def graphs(folder: Path) -> dict[str, Path]:
    """Every graph there is, by its method; the float one first."""
    found = {name: folder / name / GRAPH for name in OURS}
    return found | {path.parent.name: path for path in sorted(folder.glob(f"other-*/{GRAPH}"))}


def size(graph: Path) -> int:
    """Bytes of a graph and of the weights beside it."""
    beside = graph.parent / "weights.bin"
    return graph.stat().st_size + (beside.stat().st_size if beside.is_file() else 0)


def inputs(one: dict) -> dict[str, np.ndarray]:
    """What a graph is fed for one sequence."""
    return {
        "tokens": np.array([one["tokens"]], dtype=np.int64),
        "start": np.array(one["start"], dtype=np.int64),
    }


def predictions(opened: onnxruntime.InferenceSession, asked: list[dict]) -> list[np.ndarray]:
    """Log-probabilities at the masked positions of each sequence."""
    found = []
    for one in asked:
        (values,) = opened.run(["logits"], inputs(one))
        picked = values[0, one["masks"]].astype(np.float64)
        picked -= picked.max(axis=-1, keepdims=True)
        found.append(picked - np.log(np.exp(picked).sum(axis=-1, keepdims=True)))
    return found


def measure(folder: Path) -> None:
    """KL against the float graph, and bytes."""
    asked = json.loads((folder / "asked.json").read_text(encoding="utf-8"))
    opened = {}
    for name, path in graphs(folder).items():
        try:
            opened[name] = session(path)
        except Exception as error:  # of onnxruntime's own kinds
            print(f"{name}: onnxruntime does not load it: {str(error)[:200]}")
    right = predictions(opened["float"], asked)
    rows = []
    for name, one in opened.items():
        try:
            told = predictions(one, asked)
        except Exception as error:  # of onnxruntime's own kinds
            print(f"{name}: onnxruntime does not run it: {str(error)[:200]}")
            continue
        kl = [
            float((np.exp(p) * (p - q)).sum(axis=-1).mean())
            for p, q in zip(right, told, strict=True)
            if len(p)
        ]
        half = stats.t.ppf(0.975, len(kl) - 1) * np.std(kl, ddof=1) / np.sqrt(len(kl))
        rows.append(
            {
                "method": name,
                "bytes": size(graphs(folder)[name]),
                "kl_nats": f"{np.mean(kl):.3g}",
                "kl_half_interval": f"{half:.2g}",
            }
        )
        print(rows[-1])
    with (Path(__file__).parent / "results.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    """Run a stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=("prepare", "measure"))
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    {"prepare": prepare, "measure": measure}[options.stage](options.folder)


if __name__ == "__main__":
    main()
