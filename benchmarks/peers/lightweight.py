"""The package lightweight-gan 1.2.1 on a folder of pictures, for so many minutes, on CPUs.

    pip install lightweight-gan==1.2.1 torch torchvision         # in a virtual environment of its own
    pip install --no-deps torchvision==0.15.2; pip install requests   # beside a torch for CPUs alone, see below
    python -m benchmarks.peers.lightweight PICTURES FOLDER --size 32 --minutes 30 --draw 2000

The settings are the defaults of its command, but for the size: batches of 10, four of which are added up in a step,
Adam, translation and cutout with a probability that it chooses by the number of pictures. Its clock runs from the start
of this program. The index's torchvision is built for CUDA: beside a torch without it, 0.28 fails when it is imported,
and 0.15 does not, of which only the transforms are needed. ``FOLDER/images.npy`` holds what the generator draws then,
uint8 [N, size, size, 3], and ``FOLDER/done.json`` the steps and seconds. It is the generator as it is: the package's
average begins after 20,000 steps. Nothing of this project is imported, so that none of it has to be installed there.
"""

import time

_BEGAN = time.perf_counter()

import argparse  # noqa: E402
import json  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402


class _OnCpu:
    """``torch`` as the package sees it: every device is the CPU."""

    def __getattr__(self, name: str):
        return getattr(torch, name)

    @staticmethod
    def device(_: str) -> torch.device:
        return torch.device("cpu")


def import_on_cpu():
    """The package's module; it asks for a GPU when it is imported, and moves all tensors there."""
    available, torch.cuda.is_available = torch.cuda.is_available, lambda: True
    try:
        from lightweight_gan import lightweight_gan as module
    finally:
        torch.cuda.is_available = available
    torch.Tensor.cuda = torch.nn.Module.cuda = lambda self, *_, **__: self
    module.torch = _OnCpu()
    return module


def main() -> None:
    parser = argparse.ArgumentParser(description="Train lightweight-gan on a folder of pictures.")
    parser.add_argument("pictures", type=Path)
    parser.add_argument("folder", type=Path, help="directory for what it draws and saves")
    parser.add_argument("--size", type=int, default=32, help="of the images, a power of two (default: 32)")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--steps", type=int, default=1_000_000, help="at most")
    parser.add_argument("--cores", type=int, default=2, help="(default: 2)")
    parser.add_argument("--draw", type=int, default=2000, help="images to draw at the end (default: 2000)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(args.cores)
    torch.manual_seed(args.seed)
    module = import_on_cpu()
    module.NUM_CORES = args.cores  # the processes that read pictures
    trainer = module.Trainer(
        name="run",
        base_dir=str(args.folder),
        image_size=args.size,
        batch_size=10,
        gradient_accumulate_every=4,
        attn_res_layers=[32],
        disc_output_size=1,
        aug_types=["cutout", "translation"],
        use_aim=False,
    )
    trainer.set_data_src(str(args.pictures))
    end = _BEGAN + 60 * args.minutes
    while trainer.steps < args.steps and (time.perf_counter() < end or trainer.steps == 0):
        try:
            trainer.train()
        except module.NanException:  # it has gone back to what it saved last, as its command does
            continue
        if trainer.steps % 50 == 0:
            trainer.print_log()
    seconds = time.perf_counter() - _BEGAN
    np.save(args.folder / "images.npy", _draw(trainer, args.draw, args.seed))
    done = {"steps": trainer.steps, "seconds": seconds, "torch": torch.__version__}
    (args.folder / "done.json").write_text(json.dumps(done) + "\n")


@torch.no_grad()
def _draw(trainer, count: int, seed: int) -> np.ndarray:
    """Images in inference mode: uint8 [N, size, size, 3]."""
    noise = torch.randn(count, trainer.latent_dim, generator=torch.Generator().manual_seed(seed))
    trainer.GAN.eval()
    images = torch.cat([trainer.GAN.G(part).clamp(0, 1) for part in noise.split(100)])  # [N, 3, size, size]
    return np.rint(images.permute(0, 2, 3, 1).numpy() * 255).astype(np.uint8)


if __name__ == "__main__":
    main()
