"""The recipe of PyTorch's DCGAN example, on the tutorial's networks.

    python -m benchmarks.peers.pytorch_dcgan FOLDER --steps 1000 --batch-size 64 --draw-at 500 1000

From the example: Adam with learning rate 2e-4 and beta1 0.5 for both networks, normal noise, kernels from N(0, 0.02),
scales of batch normalisation from N(1, 0.02), one pass of the discriminator over the real images and one over the
fakes, which are drawn in training mode and are those of the generator's update too. From the tutorial: the layers with
their dropout, and images in [0, 1]. Files, and resuming, are those of `benchmarks.peers.keras_published`.
"""

import functools
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.common import write_arrays
from benchmarks.peers.program import SAMPLES, SAVE_EVERY, kept_file, program_parser, rows_up_to, step_of
from benchmarks.peers.pytorch import discriminator_network, generator_network
from dcgan_jax import load_dataset
from dcgan_jax.files import replace_file


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


def main() -> None:
    parser = program_parser("Train the tutorial's networks by the recipe of PyTorch's example.")
    parser.add_argument("--images", type=Path, help="an array of others, uint8 [N, S, S, C] (default: MNIST's)")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    data, n = load_dataset() if args.images is None else np.load(args.images), args.batch_size

    torch.manual_seed(args.seed)
    _, size, _, channels = data.shape
    generator, discriminator = (
        network(size, channels).apply(_initialise) for network in (generator_network, discriminator_network)
    )
    if args.draw_from is not None:
        with np.load(args.draw_from) as kept:
            generator.load_state_dict({name: torch.from_numpy(value) for name, value in kept.items()})
        np.save(args.folder / f"{step_of(args.draw_from)}.npy", _draw(generator, args.seed))
        return
    networks = {"generator": generator, "discriminator": discriminator}
    optimizers = {
        name: torch.optim.Adam(each.parameters(), lr=2e-4, betas=(0.5, 0.999)) for name, each in networks.items()
    }
    parts = {**networks, **{f"{name}_optimizer": each for name, each in optimizers.items()}}
    state, rows = args.folder / "state.pt", args.folder / "metrics.jsonl"
    done, log = 0, []
    if state.exists():
        saved = torch.load(state, weights_only=True)
        done = saved.pop("step")
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        log = rows_up_to(rows, done)

    cross_entropy = nn.BCEWithLogitsLoss()
    ones, zeros = torch.ones(n, 1), torch.zeros(n, 1)
    for step in range(done + 1, args.steps + 1):
        # A function of the step, so that an interrupted run resumes to the same batches.
        random = np.random.default_rng([args.seed, step])
        torch.manual_seed(int(random.integers(2**31)))
        real = torch.from_numpy(data[random.integers(0, len(data), n)]).permute(0, 3, 1, 2).float() / 255

        fake = generator(torch.randn(n, 100))
        optimizers["discriminator"].zero_grad()
        on_real, on_fake = discriminator(real), discriminator(fake.detach())
        d_loss = cross_entropy(on_real, ones) + cross_entropy(on_fake, zeros)
        d_loss.backward()
        optimizers["discriminator"].step()

        discriminator.requires_grad_(False)
        optimizers["generator"].zero_grad()
        logits = discriminator(fake)
        g_loss = cross_entropy(logits, ones)
        g_loss.backward()
        optimizers["generator"].step()
        discriminator.requires_grad_(True)

        accuracy = ((on_real > 0).float().mean() + (on_fake <= 0).float().mean()) / 2
        values = {
            "d_loss": d_loss / 2,
            "d_accuracy": accuracy,
            "g_loss": g_loss,
            "g_accuracy": (logits > 0).float().mean(),
        }
        log.append(json.dumps({"step": step, **{key: value.item() for key, value in values.items()}}))
        if step in args.draw_at:
            np.save(args.folder / f"{step}.npy", _draw(generator, args.seed))
        if args.keep_every and step % args.keep_every == 0:
            write_arrays(kept_file(args.folder, step), {k: v.numpy() for k, v in generator.state_dict().items()})
        if step % SAVE_EVERY == 0 or step == args.steps:
            replace_file(rows, lambda partial: partial.write_text("\n".join(log) + "\n"))
            saved = {"step": step, **{name: part.state_dict() for name, part in parts.items()}}
            replace_file(state, functools.partial(torch.save, saved))
            print(log[-1], flush=True)


def _draw(generator: nn.Module, seed: int) -> np.ndarray:
    """10,000 images in inference mode: uint8 [10000, S, S, C]."""
    noise = torch.randn(SAMPLES, 100, generator=torch.Generator().manual_seed(seed))
    generator.eval()
    with torch.no_grad():
        images = torch.cat([generator(part) for part in noise.split(250)])  # [10000, C, S, S]
    generator.train()
    return np.rint(images.permute(0, 2, 3, 1).numpy() * 255).astype(np.uint8)


if __name__ == "__main__":
    main()
