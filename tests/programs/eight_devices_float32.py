"""Ten steps on one device and on eight, in float32, by optimizers that do and do not magnify rounding.

Prints JSON: for each optimizer the relative gap of the losses by step, and that of each network's parameters, as one
vector, after ten steps.
"""

import json

import jax
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from dcgan_jax import init_state, load_dataset, preset, train_step
from dcgan_jax.training.distributed import batch_sharding, data_mesh, replicate

BATCH = 16


def main():
    mesh, data, gaps = data_mesh(), load_dataset(), {}
    for name in ("descent", "keras3", "tutorial"):
        pair = (optax.sgd(0.1), optax.sgd(0.1)) if name == "descent" else preset(name)
        one = init_state(jax.random.key(0), discriminator_tx=pair[0], generator_tx=pair[1])
        many, sharding = replicate(one, mesh), batch_sharding(mesh)
        losses = []
        for i in range(10):
            images, key = data[i * BATCH : (i + 1) * BATCH], jax.random.key(i)
            one, metrics = train_step(one, images, key)
            many, others = train_step(many, jax.device_put(images, sharding), key)
            losses.append(max(abs(float(metrics[k] / others[k]) - 1) for k in ("d_loss", "g_loss")))
        params = []
        for network in ("generator", "discriminator"):
            x, y = (ravel_pytree(jax.device_get(getattr(state, network).params))[0] for state in (one, many))
            params.append(float(np.linalg.norm(x - y) / np.linalg.norm(x)))
        gaps[name] = {"losses": losses, "params": params}
    print(json.dumps(gaps))


if __name__ == "__main__":
    main()
