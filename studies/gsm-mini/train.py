"""Train gsm-mini from nothing: data, tokenizer, model, all made here.

    python studies/gsm-mini/train.py --out hwsearch/denoisers/bundled/gsm-mini
    python studies/gsm-mini/train.py --causal --out hwsearch/denoisers/bundled/gsm-mini-ar

The second is the autoregressive twin: same sizes, problems, stages and initial weights, but a causal
mask and the next token as target, so all of an answer is trained on and nothing is masked.
The sizes come from `recipe.toml` (`--size cpu` or `--size full`). A checkpoint is written every
few minutes and found again, so a killed run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import time
import tomllib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor
from vocabulary import END, MASK, PAD, build_tokenizer

from hwsearch.denoisers.geometry import Geometry
from hwsearch.denoisers.transformer import Transformer
from hwsearch.tasks.gsm_mini.generator import LARGEST_NUMBER, problems

HERE = Path(__file__).parent

#: Tokens of ``<<48/2=``, the part of a drill that is given.
GIVEN = 5


class Ids(NamedTuple):
    """Tokens that masking needs to know."""

    mask: int
    equals: int


def parts(tokenizer, gen_length: int, size: int, seed: int) -> Iterator[tuple[Tensor, int]]:
    """Endless (tokens [size, length], prompt length), each part of one prompt length: no padding.

    A step sums several parts, since problems of one length come from few templates and would pull
    the weights to and fro.
    """
    end = tokenizer.token_to_id(END)
    waiting: dict[int, list[list[int]]] = {}
    for problem in problems("train", seed):
        prompt = tokenizer.encode(problem.question + "\n").ids
        answer = tokenizer.encode(problem.answer).ids
        row = prompt + answer + [end] * (gen_length - len(answer))
        bucket = waiting.setdefault(len(prompt), [])
        bucket.append(row)
        if len(bucket) == size:
            yield torch.tensor(waiting.pop(len(prompt))), len(prompt)


def drills(tokenizer, size: int, seed: int) -> Iterator[Tensor]:
    """Endless calculations of training problems on their own, ``<<48/2=24>>24``, [size, 8].

    A state with both operands written and the result still masked is rare along a trajectory, so
    structure is learned long before arithmetic; a drill is such a state at a tenth of the cost.
    """
    notes = (
        tokenizer.encode(note).ids
        for problem in problems("train", seed)
        for note in re.findall(r"<<.*?>>\d+", problem.answer)
    )
    while True:
        yield torch.tensor(list(islice(notes, size)))


def mask_answers(answers: Tensor, recipe: dict, result_share: float, ids: Ids, rng):
    """Masked answers and the loss weight of every position.

    A share of the rows is masked as LLaDA trains (any position, a uniform share t, weight 1 / t);
    others as the block-wise sampler meets them: earlier blocks written, later ones blank, a
    uniform share of the block masked, loss on the block alone; and in `result_share` of the rows
    all is blank from the result of one calculation on, with the loss on that result.
    """
    rows, length = answers.shape
    block = recipe["block_length"]
    kind = torch.rand(rows, generator=rng)
    by_result = (kind < result_share)[:, None]
    by_block = kind < result_share + (1 - result_share) * recipe["blockwise_share"]
    start = torch.randint(length // block, (rows,), generator=rng) * block
    start = torch.where(by_block, start, 0)[:, None]
    stop = torch.where(by_block[:, None], start + block, length)
    results = (answers == ids.equals).roll(1, dims=1)
    result = torch.rand(rows, length, generator=rng).masked_fill(~results, 2.0).argmin(1)[:, None]
    count = (torch.rand(rows, 1, generator=rng) * (stop - start)).floor() + 1
    position = torch.arange(length)
    active = (position >= start) & (position < stop)
    draw = torch.rand(rows, length, generator=rng).masked_fill(~active, 2.0)
    chosen = draw.argsort(1).argsort(1) < count
    chosen = torch.where(by_result, position == result, chosen)
    count = torch.where(by_result, 1, count)
    masked = chosen | (position >= torch.where(by_result, result, stop))
    return answers.masked_fill(masked, ids.mask), chosen * (1.0 / count)


def number_features(tokenizer, hidden: int, scale: float) -> tuple[Tensor, Tensor]:
    """Ids of the number tokens and a Fourier embedding of each number's value.

    Neighbouring numbers start out alike and sums become rotations, which is what small
    transformers end up learning by themselves, only late.
    """
    ids = torch.tensor([tokenizer.token_to_id(str(n)) for n in range(LARGEST_NUMBER + 1)])
    periods = torch.tensor([2, 3, 4, 5, 7, 8, 9, 10, 11, 16, 20, 25, 50, 100, 200, 400.0])
    angle = 2 * math.pi * torch.arange(LARGEST_NUMBER + 1)[:, None] / periods
    waves = torch.cat((angle.cos(), angle.sin()), dim=1)
    projection = torch.linalg.qr(torch.randn(hidden, waves.shape[1]))[0].T
    return ids, waves @ projection * scale


def build(recipe: dict, tokenizer, causal: bool) -> Transformer:
    """The untrained model: small normal weights, number embeddings that know their value."""
    torch.manual_seed(recipe["seed"])
    geometry = Geometry(
        vocab_size=tokenizer.get_vocab_size(),
        tie_embeddings=True,
        causal=causal,
        logit_shift=causal,
        **recipe["geometry"],
    )
    model = Transformer(geometry)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            into_residual = name.endswith(("o_proj.weight", "down_proj.weight"))
            shrink = (2 * geometry.num_layers) ** -0.5 if into_residual else 1.0
            torch.nn.init.normal_(parameter, std=0.02 * shrink)
    ids, features = number_features(tokenizer, geometry.hidden_size, recipe["fourier_scale"])
    model.model.embed_tokens.weight.data[ids] += features
    return model


class AnswerLogits(torch.nn.Module):
    """Logits of the answer's positions alone: the prompt's would be thrown away."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, prompt: int) -> Tensor:
        hidden = self.model.refresh(tokens).hidden
        if self.model.geometry.logit_shift:
            return self.model.lm_head(hidden[:, prompt - 1 : -1])
        return self.model.lm_head(hidden[:, prompt:])


def loss_of(network, tokens: Tensor, prompt: int, masked: Tensor, weight: Tensor) -> Tensor:
    """Weighted cross entropy of the answers, given the prompts and the masked answers."""
    inputs = torch.cat((tokens[:, :prompt], masked), dim=1)
    with torch.autocast(tokens.device.type, torch.bfloat16):
        logits = network(inputs, prompt)
    targets = tokens[:, prompt:].flatten()
    losses = F.cross_entropy(logits.float().flatten(0, 1), targets, reduction="none")
    return (losses * weight.flatten()).sum() / len(tokens)


def drill_loss(network, tokens: Tensor, inputs: Tensor) -> Tensor:
    """Loss of the result and its copy, given ``<<48/2=``."""
    with torch.autocast(tokens.device.type, torch.bfloat16):
        logits = network(inputs, GIVEN)
    return F.cross_entropy(logits.float().flatten(0, 1), tokens[:, GIVEN:].flatten())


def stage_of(step: int, recipe: dict) -> tuple[dict, float]:
    """The stage of a step, and the learning rate."""
    first = 0
    for stage in recipe["stages"]:
        if step < first + stage["steps"]:
            start, stop = stage["rates"]
            line = start + (stop - start) * (step - first) / stage["steps"]
            return stage, line * min(1.0, (step + 1) / recipe["warmup"])
        first += stage["steps"]
    raise ValueError(f"step {step} is after the last stage")


class Trainer:
    """A model in training: one `step` after another, with a checkpoint now and then.

    Args:
        recipe: a table of `recipe.toml`.
        out: folder of the checkpoint, and of the model in the end.
        device: where to train.
        causal: whether to train the autoregressive twin.
    """

    def __init__(self, recipe: dict, out: Path, device: str, causal: bool) -> None:
        self.recipe, self.out, self.device, self.causal = recipe, out, device, causal
        self.checkpoint = out / "training.ckpt"
        self.tokenizer = build_tokenizer()
        self.ids = Ids(self.tokenizer.token_to_id(MASK), self.tokenizer.token_to_id("="))
        self.model = build(recipe, self.tokenizer, causal).to(device)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), 1e-3, betas=(0.9, 0.98), weight_decay=0.01, fused=True
        )
        self.network = torch.compile(AnswerLogits(self.model), dynamic=True)
        self.done = 0
        out.mkdir(parents=True, exist_ok=True)
        if self.checkpoint.exists():
            self.load()

    def load(self) -> None:
        """Go on from the checkpoint."""
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.done = state["step"]

    def store(self) -> None:
        """Write the checkpoint, whole or not at all."""
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        part = self.checkpoint.with_suffix(".part")
        torch.save({**state, "step": self.done}, part)
        part.rename(self.checkpoint)

    def run(self) -> None:
        """Train to the end of the last stage, then write the model."""
        first = 0
        for stage in self.recipe["stages"]:
            self.run_stage(stage, first + stage["steps"])
            first += stage["steps"]
        save(self.model, self.tokenizer, self.recipe, self.out)
        self.checkpoint.unlink(missing_ok=True)

    def run_stage(self, stage: dict, last: int) -> None:
        """Train to step `last` on fresh problems."""
        seed = self.recipe["seed"] + self.done
        rng = torch.Generator().manual_seed(seed)
        size = stage["rows"] // stage["parts"]
        stream = parts(self.tokenizer, self.recipe["gen_length"], size, seed)
        notes = drills(self.tokenizer, stage["drills"], seed) if stage["drills"] else None
        began, means = time.monotonic(), [0.0, 0.0]
        while self.done < last:
            losses = self.step(list(islice(stream, stage["parts"])), notes and next(notes), rng)
            means = [mean + loss / 50 for mean, loss in zip(means, losses, strict=True)]
            if self.done % 50 == 0:
                seconds = time.monotonic() - began
                print(f"{self.done} {means[0]:.4f} {means[1]:.4f} {seconds:.0f}s", flush=True)
                means = [0.0, 0.0]
            if self.done % 200 == 0:
                self.store()

    def step(
        self, given: list[tuple[Tensor, int]], notes: Tensor | None, rng
    ) -> tuple[float, float]:
        """One update; losses of the problems and of the drills."""
        stage, rate = stage_of(self.done, self.recipe)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        total = 0.0
        for tokens, prompt in given:
            masked, weight = self.masked(tokens[:, prompt:], stage["result_share"], rng)
            moved = (part.to(self.device) for part in (masked, weight))
            loss = loss_of(self.network, tokens.to(self.device), prompt, *moved)
            (loss / len(given)).backward()
            total += loss.item() / len(given)
        drilled = 0.0
        if notes is not None:
            inputs = notes.clone()
            if not self.causal:
                inputs[:, GIVEN:] = self.ids.mask
            loss = drill_loss(self.network, notes.to(self.device), inputs.to(self.device))
            loss.backward()
            drilled = loss.item()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.done += 1
        return total, drilled

    def masked(self, answers: Tensor, result_share: float, rng) -> tuple[Tensor, Tensor]:
        """What the network is shown of the answers, and the loss weight of every position."""
        if self.causal:
            return answers, torch.full(answers.shape, 1.0 / answers.shape[1])
        return mask_answers(answers, self.recipe, result_share, self.ids, rng)


def decoding(recipe: dict, causal: bool) -> dict:
    """How the model writes: by blocks, or one token after another."""
    block = 1 if causal else recipe["block_length"]
    length = recipe["gen_length"]
    return {
        "gen_length": length,
        "block_length": block,
        "steps": length,
        "refresh_interval": block,
    }


def save(model: Transformer, tokenizer, recipe: dict, out: Path) -> None:
    """The trained model as a Hugging Face folder, weights in float16."""
    g = model.geometry
    weights = {
        name: tensor.to(torch.float16).contiguous().cpu()
        for name, tensor in model.state_dict().items()
        if name != "lm_head.weight"
    }
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(str(out / "tokenizer.json"))
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": g.vocab_size,
        "hidden_size": g.hidden_size,
        "intermediate_size": g.intermediate_size,
        "num_hidden_layers": g.num_layers,
        "num_attention_heads": g.num_heads,
        "num_key_value_heads": g.num_kv_heads,
        "head_dim": g.head_dim,
        "rope_parameters": {"rope_type": "default", "rope_theta": g.rope_theta},
        "rms_norm_eps": g.rms_norm_eps,
        "hidden_act": "silu",
        "attention_bias": False,
        "tie_word_embeddings": True,
        "max_position_embeddings": 512,
        "dtype": "float16",
        "mask_token_id": tokenizer.token_to_id(MASK),
        "eos_token_id": tokenizer.token_to_id(END),
        "pad_token_id": tokenizer.token_to_id(PAD),
        "hwsearch": {
            "prompt_template": "{question}\n",
            "causal": g.causal,
            "decoding": decoding(recipe, g.causal),
        },
    }
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="cpu", help="a table of recipe.toml")
    parser.add_argument("--out", type=Path, required=True, help="folder for the model")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--causal", action="store_true", help="train the autoregressive twin")
    parser.add_argument("--steps", type=int, help="steps of each stage, to try the script")
    arguments = parser.parse_args()
    recipe = tomllib.loads((HERE / "recipe.toml").read_text())[arguments.size]
    if arguments.steps:
        for stage in recipe["stages"]:
            stage["steps"] = arguments.steps
    Trainer(recipe, arguments.out, arguments.device, arguments.causal).run()


if __name__ == "__main__":
    main()
