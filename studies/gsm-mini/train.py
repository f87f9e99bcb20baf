"""Train gsm-mini from nothing: data, tokenizer, model, all made here.

    python studies/gsm-mini/train.py --out hwsearch/denoisers/bundled/gsm-mini

The sizes come from `recipe.toml` (`--size cpu` or `--size full`). A checkpoint is written every
few minutes and found again, so a killed run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import math
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor
from vocabulary import END, MASK, PAD, build_tokenizer

from hwsearch.denoisers.geometry import Geometry
from hwsearch.denoisers.transformer import Transformer
from hwsearch.tasks.gsm_mini import LARGEST_NUMBER, problems

HERE = Path(__file__).parent


def batches(tokenizer, recipe: dict, seed: int) -> Iterator[tuple[Tensor, int]]:
    """Endless (tokens [batch, length], prompt length), each batch of one prompt length."""
    end = tokenizer.token_to_id(END)
    gen_length, size = recipe["gen_length"], recipe["batch"]
    waiting: dict[int, list[list[int]]] = {}
    for problem in problems("train", seed):
        prompt = tokenizer.encode(problem.question + "\n").ids
        answer = tokenizer.encode(problem.answer).ids
        row = prompt + answer + [end] * (gen_length - len(answer))
        bucket = waiting.setdefault(len(prompt), [])
        bucket.append(row)
        if len(bucket) == size:
            yield torch.tensor(waiting.pop(len(prompt))), len(prompt)


def mask_answers(answers: Tensor, recipe: dict, mask_id: int, rng: torch.Generator):
    """Masked answers and the loss weight of every position.

    A share of the rows is masked as LLaDA trains (any position, a uniform share t, weight 1 / t);
    the others as the block-wise sampler meets them: earlier blocks written, later ones blank,
    a uniform share of the block masked, loss on the block alone.
    """
    rows, length = answers.shape
    block = recipe["block_length"]
    blockwise = torch.rand(rows, generator=rng) < recipe["blockwise_share"]
    start = torch.randint(length // block, (rows,), generator=rng) * block
    start = torch.where(blockwise, start, 0)[:, None]
    stop = torch.where(blockwise[:, None], start + block, length)
    span = stop - start
    count = (torch.rand(rows, 1, generator=rng) * span).floor() + 1
    position = torch.arange(length)
    active = (position >= start) & (position < stop)
    draw = torch.rand(rows, length, generator=rng).masked_fill(~active, 2.0)
    chosen = draw.argsort(1).argsort(1) < count
    masked = chosen | (position >= stop)
    return answers.masked_fill(masked, mask_id), chosen * (1.0 / count)


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


def build(recipe: dict, tokenizer) -> Transformer:
    """The untrained model: small normal weights, number embeddings that know their value."""
    torch.manual_seed(recipe["seed"])
    geometry = Geometry(
        vocab_size=tokenizer.get_vocab_size(), tie_embeddings=True, **recipe["geometry"]
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
        return self.model.lm_head(self.model.refresh(tokens).hidden[:, prompt:])


def loss_of(network, tokens: Tensor, prompt: int, recipe: dict, mask_id: int, rng) -> Tensor:
    answers = tokens[:, prompt:]
    masked, weight = mask_answers(answers.cpu(), recipe, mask_id, rng)
    inputs = torch.cat((tokens[:, :prompt], masked.to(tokens.device)), dim=1)
    with torch.autocast(tokens.device.type, torch.bfloat16):
        logits = network(inputs, prompt)
    losses = F.cross_entropy(logits.float().flatten(0, 1), answers.flatten(), reduction="none")
    return (losses * weight.to(tokens.device).flatten()).sum() / len(tokens)


def rate(step: int, recipe: dict) -> float:
    """Learning rate: a short warm-up, then a straight line to zero."""
    warm = min(1.0, (step + 1) / recipe["warmup"])
    return recipe["learning_rate"] * warm * (1 - step / recipe["steps"])


def train(recipe: dict, out: Path, device: str) -> None:
    tokenizer = build_tokenizer()
    mask_id = tokenizer.token_to_id(MASK)
    model = build(recipe, tokenizer).to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(), recipe["learning_rate"], betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    checkpoint, done = out / "training.ckpt", 0
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        done = state["step"]
    network = torch.compile(AnswerLogits(model), dynamic=True)
    rng = torch.Generator().manual_seed(recipe["seed"] + done)
    out.mkdir(parents=True, exist_ok=True)
    stream = batches(tokenizer, recipe, recipe["seed"] + done)
    began, running = time.monotonic(), 0.0
    for step, (tokens, prompt) in zip(range(done, recipe["steps"]), stream, strict=False):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, recipe)
        loss = loss_of(network, tokens.to(device), prompt, recipe, mask_id, rng)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 100 == 99:
            print(f"step {step + 1} loss {loss.item():.4f} {time.monotonic() - began:.0f}s", flush=True)
        if step % 400 == 399:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save({**state, "step": step + 1}, checkpoint.with_suffix(".part"))
            checkpoint.with_suffix(".part").rename(checkpoint)
    save(model, tokenizer, recipe, out)
    checkpoint.unlink(missing_ok=True)


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
            "decoding": {
                "gen_length": recipe["gen_length"],
                "block_length": recipe["block_length"],
                "steps": recipe["gen_length"] // 2,
                "refresh_interval": recipe["block_length"] // 2,
            },
        },
    }
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="cpu", help="a table of recipe.toml")
    parser.add_argument("--out", type=Path, required=True, help="folder for the model")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps", type=int, help="fewer steps, to try the script")
    arguments = parser.parse_args()
    recipe = tomllib.loads((HERE / "recipe.toml").read_text())[arguments.size]
    if arguments.steps:
        recipe["steps"] = arguments.steps
    train(recipe, arguments.out, arguments.device)


if __name__ == "__main__":
    main()
