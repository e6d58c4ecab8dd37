"""The same GAN as one writes it in PyTorch: eager, with channels last in memory, or with both networks compiled.

Each in float32, or under `torch.autocast` in bfloat16.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

torch.set_flush_denormal(True)  # otherwise its CPU steps become two to three times slower in the course of training


def generator_network(size: int = 28, channels: int = 1) -> nn.Sequential:
    """The tutorial's, for images of ``size`` pixels a side, a multiple of 4."""

    def block(features: int, to: int) -> list[nn.Module]:
        return [nn.ConvTranspose2d(features, to, 5, padding=2), nn.BatchNorm2d(to, eps=1e-3), nn.ReLU()]

    side = size // 4
    return nn.Sequential(
        *(nn.Linear(100, 256 * side**2), nn.BatchNorm1d(256 * side**2, eps=1e-3), nn.ReLU()),
        *(nn.Unflatten(1, (256, side, side)), nn.Dropout(0.4)),
        *(nn.Upsample(scale_factor=2), *block(256, 128)),
        *(nn.Upsample(scale_factor=2), *block(128, 64)),
        *(*block(64, 32), nn.ConvTranspose2d(32, channels, 5, padding=2), nn.Sigmoid()),
    )


def discriminator_network(size: int = 28, channels: int = 1) -> nn.Sequential:
    layers: list[nn.Module] = []
    for features, to, stride in [(channels, 64, 2), (64, 128, 2), (128, 256, 2), (256, 512, 1)]:
        layers += [nn.Conv2d(features, to, 5, stride, padding=2), nn.LeakyReLU(0.2), nn.Dropout(0.4)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512 * math.ceil(size / 8) ** 2, 1))


def prepare(images: np.ndarray, variant: str = "eager", dtype: str = "float32") -> tuple[Callable[..., None], str]:
    """A function that does one whole step, or as many as it is given, and waits for the last; and the device's name.

    Args:
      images: uint8 [B, 28, 28, 1].
      variant: "eager", "channels-last" or "compiled" (by `torch.compile`).
      dtype: "float32", strictly; "tf32", which a GPU may then multiply; or "bfloat16" for autocast of both networks.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cuda":  # a CPU might take other types than TF32 for these
        torch.set_float32_matmul_precision("highest" if dtype == "float32" else "high")
        torch.backends.cudnn.allow_tf32 = dtype != "float32"  # convolutions; true by default
    torch.manual_seed(0)
    layout = torch.channels_last if variant == "channels-last" else torch.contiguous_format
    generator = generator_network().to(device, memory_format=layout)
    discriminator = discriminator_network().to(device, memory_format=layout)
    optimizers = [
        torch.optim.RMSprop(network.parameters(), lr=1e-4, alpha=0.9, eps=1e-7)
        for network in (generator, discriminator)
    ]
    schedules = [torch.optim.lr_scheduler.LambdaLR(each, lambda t: 1 / (1 + 3e-8 * t)) for each in optimizers]
    cross_entropy = nn.BCEWithLogitsLoss()
    n = len(images)
    real = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 255  # [B, 1, 28, 28]
    real = real.contiguous(memory_format=layout)
    labels = torch.cat([torch.ones(n, 1), torch.zeros(n, 1)]).to(device)

    run_generator, run_discriminator = generator, discriminator
    if variant == "compiled":
        run_generator, run_discriminator = torch.compile(generator), torch.compile(discriminator)

    def noise() -> torch.Tensor:
        return torch.rand(n, 100, device=device) * 2 - 1

    def autocast() -> torch.autocast:
        return torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16")

    def update() -> tuple[torch.Tensor, ...]:
        generator.eval()
        with torch.no_grad(), autocast():
            fake = run_generator(noise()).float()
        optimizers[1].zero_grad()
        with autocast():
            logits = run_discriminator(torch.cat([real, fake])).float()
        d_loss = cross_entropy(logits, labels)
        d_loss.backward()
        optimizers[1].step()
        schedules[1].step()
        d_accuracy = ((logits > 0) == (labels > 0.5)).float().mean()

        generator.train()
        discriminator.requires_grad_(False)
        optimizers[0].zero_grad()
        with autocast():
            logits = run_discriminator(run_generator(noise())).float()
        g_loss = cross_entropy(logits, torch.ones(n, 1, device=device))
        g_loss.backward()
        optimizers[0].step()
        schedules[0].step()
        discriminator.requires_grad_(True)
        g_accuracy = (logits > 0).float().mean()
        return d_loss, d_accuracy, g_loss, g_accuracy

    def step(steps: int = 1) -> None:
        for _ in range(steps - 1):
            update()
        for value in update():
            value.item()  # waits for the device

    return step, torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
