"""The formulas once more, from their written form alone: plain loops over whole attention maps."""

from __future__ import annotations

import numpy as np


def maps(network, tokens, valid=None):
    """Attention probabilities ``[layers, batch, heads, queries, keys]`` of a Llama-form network."""
    g = network.geometry
    weights = {name: w.double().numpy() for name, w in network.state_dict().items()}
    x = weights["model.embed_tokens.weight"][tokens]
    found = []
    for layer in range(g.num_layers):
        w = {
            k.split(f"layers.{layer}.")[1]: v for k, v in weights.items() if f"layers.{layer}." in k
        }
        normed = norm(x, w["input_layernorm.weight"], g.rms_norm_eps)
        q = rope(heads(normed @ w["self_attn.q_proj.weight"].T, g.num_heads), g)
        k = rope(heads(normed @ w["self_attn.k_proj.weight"].T, g.num_kv_heads), g)
        v = heads(normed @ w["self_attn.v_proj.weight"].T, g.num_kv_heads)
        probability = np.stack(
            [
                np.stack(
                    [
                        softmax_map(
                            q[b, h], k[b, h // (g.num_heads // g.num_kv_heads)], g, b, valid
                        )
                        for h in range(g.num_heads)
                    ]
                )
                for b in range(len(tokens))
            ]
        )
        found.append(probability)
        groups = g.num_heads // g.num_kv_heads
        mixed = probability @ np.repeat(v, groups, axis=1)
        joined = mixed.transpose(0, 2, 1, 3).reshape(*x.shape[:2], -1)
        x = x + joined @ w["self_attn.o_proj.weight"].T
        normed = norm(x, w["post_attention_layernorm.weight"], g.rms_norm_eps)
        gate = normed @ w["mlp.gate_proj.weight"].T
        inner = gate / (1 + np.exp(-gate)) * (normed @ w["mlp.up_proj.weight"].T)
        x = x + inner @ w["mlp.down_proj.weight"].T
    return np.stack(found)


def softmax_map(q, k, g, sample, valid):
    """One head's map; a query that is there sees only keys that are there."""
    length = len(q)
    scores = q @ k.T / np.sqrt(g.head_dim)
    for i in range(length):
        for j in range(length):
            if g.causal and j > i:
                scores[i, j] = -np.inf
            if valid is not None and valid[sample, i] and not valid[sample, j]:
                scores[i, j] = -np.inf
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return scores / scores.sum(axis=1, keepdims=True)


def norm(x, weight, eps):
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + eps) * weight


def heads(x, count):
    return x.reshape(*x.shape[:2], count, -1).transpose(0, 2, 1, 3)


def rope(x, g):
    half = g.head_dim // 2
    angle = np.arange(x.shape[2])[:, None] * g.rope_theta ** -(np.arange(half) * 2 / g.head_dim)
    first, second = x[..., :half], x[..., half:]
    cos, sin = np.cos(angle), np.sin(angle)
    return np.concatenate((first * cos - second * sin, second * cos + first * sin), axis=-1)


def head_mass(probability, valid=None):
    """Mass ``[layers, batch, heads, keys]``: what queries that are there give to each key."""
    if valid is not None:
        probability = probability * valid[None, :, None, :, None]
    return probability.sum(axis=3)


def top(mass, k):
    """The set of the k heaviest positions."""
    return set(sorted(range(len(mass)), key=lambda i: (-mass[i], i))[:k])


def centroid(mass, k):
    sinks = top(mass, k)
    return sum(i * mass[i] for i in sinks) / sum(mass[i] for i in sinks)


def soft(mass, k=2.0, alpha=5.0):
    mean = sum(mass) / len(mass)
    std = (sum((m - mean) ** 2 for m in mass) / len(mass)) ** 0.5
    return np.array([1 / (1 + np.exp(-alpha * (m - (mean + k * std)))) for m in mass])
