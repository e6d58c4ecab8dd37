"""A full run of your own networks, losses and optimizers, with checkpoints, samples, scores and a report.

python examples/own_run.py --steps 2000
dcgan-jax sample runs/own --recipe examples/own_run.py
"""

import argparse

import flax.linen as nn
import jax
import optax

from dcgan_jax import HINGE, GANState, TrainConfig, init_state, train
from dcgan_jax.report import read_source, write_report


class MyGenerator(nn.Module):
    shape: tuple[int, int, int]  # of the images, (H, W, C)

    @nn.compact
    def __call__(self, z: jax.Array, train: bool = False) -> jax.Array:
        h, w, c = self.shape
        x = nn.Dense(h * w * 2)(z).reshape(-1, h // 4, w // 4, 32)  # [B, H / 4, W / 4, 32]
        x = nn.relu(nn.BatchNorm(not train, momentum=0.9)(x))
        x = nn.relu(nn.ConvTranspose(16, (4, 4), (2, 2))(x))
        return nn.sigmoid(nn.ConvTranspose(c, (4, 4), (2, 2))(x))  # [B, H, W, C] in [0, 1]


class MyDiscriminator(nn.Module):
    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        x = nn.leaky_relu(nn.Conv(16, (4, 4), (2, 2))(images), negative_slope=0.2)
        x = nn.leaky_relu(nn.Conv(32, (4, 4), (2, 2))(x), negative_slope=0.2)
        return nn.Dense(1)(x.reshape(x.shape[0], -1))  # logits [B, 1]


def init(key: jax.Array, shape: tuple[int, int, int], classes: int | None) -> GANState:
    networks = {"generator": MyGenerator(shape), "discriminator": MyDiscriminator(), "latent_size": 64}
    adam = optax.adam(2e-4, b1=0.5)
    return init_state(key, generator_tx=adam, discriminator_tx=adam, losses=HINGE, ema=0.99, **networks)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()
    config = TrainConfig(steps=args.steps, batch_size=64, workdir="runs/own", eval_every=500)
    folder = train(config, init=init, resume=args.resume).folder
    write_report([read_source(folder)], folder / "report.html")
