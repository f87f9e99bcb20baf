"""A small U-Net that denoises patches: the nearest thing here to the network that the paper compares with."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from hwsearch.analytical import linear_schedule
from hwsearch.analytical.estimator import Floats
from hwsearch.analytical.points import PointSet


class Block(nn.Module):
    """Two convolutions around a shift by the noise level, beside the input."""

    def __init__(self, inner: int, outer: int, embedded: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.GroupNorm(8, inner), nn.SiLU(), nn.Conv2d(inner, outer, 3, padding=1)
        )
        self.level = nn.Linear(embedded, outer)
        self.second = nn.Sequential(
            nn.GroupNorm(8, outer), nn.SiLU(), nn.Conv2d(outer, outer, 3, padding=1)
        )
        self.beside = nn.Conv2d(inner, outer, 1) if inner != outer else nn.Identity()

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        inside = self.first(x) + self.level(level)[:, :, None, None]
        return self.beside(x) + self.second(inside)


class UNet(nn.Module):
    """Two resolutions, no attention, as the paper's network has none; predicts v (Salimans and Ho 2022)."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(32, 64), nn.SiLU(), nn.Linear(64, 64))
        self.enter = nn.Conv2d(3, width, 3, padding=1)
        self.down = nn.ModuleList([Block(width, width, 64), Block(width, width, 64)])
        self.shrink = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.middle = nn.ModuleList([Block(2 * width, 2 * width, 64) for _ in range(3)])
        self.grow = nn.Upsample(scale_factor=2)
        self.up = nn.ModuleList([Block(3 * width, width, 64), Block(width, width, 64)])
        self.leave = nn.Sequential(
            nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, 3, 3, padding=1)
        )

    def forward(self, x: Tensor, alpha_bar: Tensor) -> Tensor:
        log_snr = torch.log(alpha_bar / (1 - alpha_bar))
        turns = log_snr[:, None] * torch.exp(torch.linspace(-3, 1, 16))
        level = self.embed(torch.cat([turns.sin(), turns.cos()], dim=1))
        x = self.enter(x)
        for block in self.down:
            x = block(x, level)
        inner = self.shrink(x)
        for block in self.middle:
            inner = block(inner, level)
        x = torch.cat([x, self.grow(inner)], dim=1)
        for block in self.up:
            x = block(x, level)
        return self.leave(x)


def trained(data: PointSet, steps: int, batch: int = 64, seed: int = 0) -> UNet:
    """Trained on the same noise levels that samplers pass, with an average over late weights."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    images = torch.from_numpy(np.array(data.rows)).reshape(len(data), *data.image_shape)
    images = images.permute(0, 3, 1, 2).contiguous()
    bars = torch.from_numpy(linear_schedule().alpha_bars).float()
    network = UNet()
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998)
    )
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1.0, step / 100) * 0.5 * (1 + math.cos(math.pi * step / steps))
        clean = images[torch.randint(len(images), (batch,))]
        bar = bars[torch.randint(len(bars), (batch,))]
        noise = torch.randn_like(clean)
        signal, left = (root.sqrt()[:, None, None, None] for root in (bar, 1 - bar))
        loss = (
            (network(signal * clean + left * noise, bar) - (signal * noise - left * clean)) ** 2
        ).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        average.update_parameters(network)
        if step % 500 == 0:
            print(step, loss.item(), flush=True)
    return average.module.eval()


class NetworkEstimator:
    """The network as a clean estimator."""

    def __init__(self, network: UNet, image_shape: tuple[int, int, int]) -> None:
        self.network, self.image_shape = network, image_shape
        self.size = math.prod(image_shape)

    @torch.inference_mode()
    def estimate(self, noisy: Floats, alpha_bar: float) -> Floats:
        x = torch.from_numpy(np.asarray(noisy, dtype=np.float32)).reshape(-1, *self.image_shape)
        x = x.permute(0, 3, 1, 2)
        v = self.network(x, torch.full((len(x),), alpha_bar))
        clean = math.sqrt(alpha_bar) * x - math.sqrt(1 - alpha_bar) * v
        return clean.permute(0, 2, 3, 1).reshape(len(x), -1).numpy().astype(noisy.dtype)
