"""Ten steps on one device and on eight, in float64: how far they differ, and what the program of eight devices does.

    python eight_devices_float64.py tutorial|narrow

The narrow GAN is the tutorial's with about a seventh of its features: a CPU computes its layers in the same ways.
No number of features is that of the images, 8 real ones or 16 with the fakes, by which their shapes are found.
In float32 RMSprop's first updates make steps of 3e-4 from gradients that are rounding alone.

Prints JSON: the relative gap of each loss, the relative gap of each array of parameters and statistics, the collectives
as pairs of shapes and kind, and the share of one device's work that each of the eight does.
"""

import json
import re
import sys

import flax.linen as nn
import jax
import numpy as np

from dcgan_jax import init_state, load_dataset, train_step
from dcgan_jax.layers import dropout
from dcgan_jax.models import Conv
from dcgan_jax.training.distributed import batch_sharding, data_mesh, replicate

BATCH = 8


class NarrowGenerator(nn.Module):
    @nn.compact
    def __call__(self, z, train=False):
        def normalise(name, x):
            norm = nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-3, name=name)
            return nn.relu(norm(x))

        x = normalise("norm_0", nn.Dense(7 * 7 * 40, name="dense")(z)).reshape(-1, 7, 7, 40)
        if train:
            x = dropout(x, 0.4, self.make_rng("dropout"))
        x = normalise("norm_1", Conv(20, upsample=True, name="conv_1")(x))
        x = normalise("norm_2", Conv(10, upsample=True, name="conv_2")(x))
        x = normalise("norm_3", Conv(10, name="conv_3")(x))
        return nn.sigmoid(Conv(1, name="conv_4")(x))


class NarrowDiscriminator(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        for i, (features, stride) in enumerate([(10, 2), (20, 2), (40, 2), (72, 1)], start=1):
            x = nn.leaky_relu(Conv(features, stride, name=f"conv_{i}")(x), negative_slope=0.2)
            if train:
                x = dropout(x, 0.4, self.make_rng("dropout"))
        return nn.Dense(1, name="dense")(x.reshape(x.shape[0], -1))


def float64(leaf):
    return leaf.astype("float64") if leaf.dtype == "float32" else leaf


def main(gan):
    modules = {"generator": NarrowGenerator(), "discriminator": NarrowDiscriminator()} if gan == "narrow" else {}
    jax.config.update("jax_enable_x64", True)
    mesh, data = data_mesh(), load_dataset()
    one = jax.tree.map(float64, init_state(jax.random.key(0), **modules))
    many, sharding = replicate(one, mesh), batch_sharding(mesh)
    batches = [(data[i * BATCH : (i + 1) * BATCH], jax.random.key(i)) for i in range(10)]
    images, key = batches[0]
    alone = train_step.lower(one, images, key).compile()
    shared = train_step.lower(many, jax.device_put(images, sharding), key).compile()
    loss_gaps = []
    for images, key in batches:
        one, metrics = alone(one, images, key)
        many, others = shared(many, jax.device_put(images, sharding), key)
        loss_gaps += [abs(float(metrics[name] / others[name]) - 1) for name in ("d_loss", "g_loss")]
    gaps = {}
    for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(many), strict=True):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if "params" in name or "batch_stats" in name:
            gaps[name] = float(abs(np.asarray(x) - np.asarray(y)).max() / abs(np.asarray(x)).max())
    kinds = r"(?:all|collective|ragged)-[a-z-]+?|reduce-scatter"
    collectives = re.findall(rf"= (.*?) ({kinds})(?:-start)?\(", shared.as_text())
    work = shared.cost_analysis()["flops"] / alone.cost_analysis()["flops"]
    print(json.dumps([loss_gaps, gaps, collectives, work]))


if __name__ == "__main__":
    main(sys.argv[1])
