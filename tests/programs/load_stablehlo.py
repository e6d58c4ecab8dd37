"""Run exported networks where neither this package nor Flax can be imported: load_stablehlo.py FOLDER."""

import sys
from importlib.abc import MetaPathFinder
from pathlib import Path


class Missing(MetaPathFinder):
    """Makes the packages unimportable, as where JAX alone is installed."""

    def find_spec(self, name, *_):
        if name.split(".")[0] in ("dcgan_jax", "flax", "optax", "orbax"):
            raise ModuleNotFoundError(name)


sys.meta_path.insert(0, Missing())

import numpy as np  # noqa: E402
from jax import export  # noqa: E402

folder = Path(sys.argv[1])


def load(network):
    return export.deserialize(bytearray((folder / f"{network}.stablehlo").read_bytes()))


generator, discriminator = load("generator"), load("discriminator")
assert generator.platforms == ("cpu", "cuda", "tpu")
z = np.load(folder / "z.npy")
images = generator.call(z)
assert generator.call(z[:1]).shape == (1, 28, 28, 1)
np.savez(folder / "out.npz", images=images, logits=discriminator.call(images))
assert not {"dcgan_jax", "flax"} & set(sys.modules)
