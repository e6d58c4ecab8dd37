"""What the walkthrough says of the networks holds; its code is run by `test_notebook`."""

import jax
import jax.numpy as jnp
import numpy as np
from helpers import quick_jit

from dcgan_jax import Discriminator


def test_corners_of_the_maps_see_what_the_page_says():
    """The image's pixels that the corner of a map depends on: 18 x 18 in the third layer, all in the fourth."""
    module = Discriminator(plain=True)
    variables = module.init(jax.random.key(0), jnp.zeros((1, 28, 28, 1)))

    def corner(images, layer):
        _, seen = module.apply(variables, images, capture_intermediates=lambda m, _: m.name == layer, mutable=True)
        return seen["intermediates"][layer]["__call__"][0][0, 0, 0].sum()

    image = jax.random.uniform(jax.random.key(1), (1, 28, 28, 1))
    for layer, sees in (("conv_3", 18), ("conv_4", 28)):
        slopes = quick_jit(jax.grad(corner), static_argnums=1)(image, layer)[0, :, :, 0]
        expected = np.zeros((28, 28), bool)
        expected[:sees, :sees] = True
        np.testing.assert_array_equal(slopes != 0, expected)
