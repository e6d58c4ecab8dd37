"""The moving average of a network, from which images are sampled."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from dcgan_jax.dtypes import at_least_float32


class EMA(struct.PyTreeNode):
    """An exponential moving average of a network's parameters and moving statistics.

    After t updates with x_1 ... x_t it is sum_i decay^(t - i) x_i / sum_i decay^(t - i): an average that starts at
    zero, with the bias correction of Adam (Kingma and Ba, arXiv:1412.6980). Before the first update it is the initial
    network. With a ramp, its half-life is at most that share of the t updates, so that an early average covers only
    recent networks.

    Attributes:
      count: updates so far, an int32 scalar.
      params: the averaged parameters, at least float32.
      batch_stats: the averaged statistics, at least float32; leaves that are not floating point are the newest.
      decay: in [0, 1). Static.
      ramp: above 0, 0.05 in StyleGAN3 (Karras et al., arXiv:2106.12423), or None. Static.
    """

    count: jax.Array
    params: Any
    batch_stats: Any
    decay: float = struct.field(pytree_node=False)
    ramp: float | None = struct.field(pytree_node=False, default=None)

    def update(self, params: Any, batch_stats: Any) -> "EMA":
        """The average with the network's ``params`` and ``batch_stats`` as the newest term."""
        count = self.count + 1
        new = (params, batch_stats)
        wide = [at_least_float32(leaf.dtype) for leaf in jax.tree.leaves(new)]
        shares = {dtype: self._share(count.astype(dtype)) for dtype in dict.fromkeys(wide)}

        def mix(mean: jax.Array, new: jax.Array) -> jax.Array:
            if not jnp.issubdtype(new.dtype, jnp.floating):
                return new
            wide = at_least_float32(new.dtype)
            return mean + shares[wide] * (new.astype(wide) - mean)

        params, batch_stats = jax.tree.map(mix, (self.params, self.batch_stats), new)
        return self.replace(count=count, params=params, batch_stats=batch_stats)

    def _share(self, count: jax.Array) -> jax.Array | float:
        """The weight of the newest term, (1 - decay) / (1 - decay^count); expm1 is precise while decay^count is near 1.

        With a ramp it is at least 1 - 2^(-1 / half-life).
        """
        if not self.decay:
            return 1.0
        share = (1 - self.decay) / -jnp.expm1(count * math.log(self.decay))
        return share if self.ramp is None else jnp.maximum(share, -jnp.expm1(-math.log(2) / (self.ramp * count)))


def start_average(params: Any, batch_stats: Any, decay: float, ramp: float | None) -> EMA:
    """An average before any update: the initial network.

    Its arrays are copies, because a buffer must not be donated twice with the state, and at least float32: in
    bfloat16 a thousandth of a change is less than the last digit of what it is added to.
    """

    def copy(leaf: jax.Array) -> jax.Array:
        is_floating = jnp.issubdtype(leaf.dtype, jnp.floating)
        return jnp.array(leaf, at_least_float32(leaf.dtype) if is_floating else leaf.dtype)

    params, batch_stats = jax.tree.map(copy, (params, batch_stats))
    count = jax.device_put(np.zeros((), np.int32))  # not with jnp: a caller's transfer guard may forbid that
    return EMA(count, params, batch_stats, decay, ramp)
