"""The state of a GAN in training: one pytree with two symmetric halves."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.typing import DTypeLike

from dcgan_jax.augment import Adaptive, Augment
from dcgan_jax.counts import check_counts
from dcgan_jax.ema import EMA, start_average
from dcgan_jax.errors import first_line
from dcgan_jax.losses import CROSS_ENTROPY, Losses
from dcgan_jax.network_init import given_labels, init_variables
from dcgan_jax.optimizer_equality import by_value
from dcgan_jax.optimizers import without_rate
from dcgan_jax.presets import Preset
from dcgan_jax.prng import flax_defaults, pin_key
from dcgan_jax.state_arguments import FAKES as FAKES
from dcgan_jax.state_arguments import check_functions, chosen_parts


class NetworkState(struct.PyTreeNode):
    """One network in training: parameters, statistics and optimizer state, with its module and optimizer.

    Attributes:
      params: the parameters, as ``module.init`` returns them.
      batch_stats: the moving statistics; ``{}`` for a module that has none.
      opt_state: the optimizer's state.
      module: a Linen module called as ``module(x, train=...)``, and with ``labels=`` if there are classes. In training
        mode it may draw from ``dropout`` and any other random stream; in inference mode it draws nothing. Static.
      tx: an Optax transformation. Static.
    """

    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    module: nn.Module = struct.field(pytree_node=False)
    tx: optax.GradientTransformation = struct.field(pytree_node=False)

    def computed_in(self, dtype: DTypeLike) -> "NetworkState":
        """The same network with layers that compute in ``dtype``; parameters and statistics keep their dtypes.

        Raises:
          ValueError: if its module has no field ``dtype``.
        """
        if not any(field.name == "dtype" for field in dataclasses.fields(self.module)):
            name = type(self.module).__name__
            raise ValueError(f"the dtype of {name} cannot be chosen: it is a module without a field of that name")
        return self.replace(module=self.module.clone(dtype=dtype))

    def infer(self, x: jax.Array, labels: jax.Array | None = None) -> jax.Array:
        """The network in inference mode: moving statistics, no dropout."""
        variables = {"params": self.params, "batch_stats": self.batch_stats}
        return self.module.apply(variables, x, train=False, **given_labels(labels))  # pyright: ignore[reportReturnType]

    def train(
        self, params: Any, x: jax.Array, key: jax.Array, labels: jax.Array | None = None
    ) -> tuple[jax.Array, Any]:
        """The network in training mode with these ``params``: its output and the updated ``batch_stats``."""
        key = pin_key(key)
        # Flax derives a stream of any other name from "params".
        streams = {"dropout": key, "params": jax.random.fold_in(key, 1)}
        with flax_defaults():
            output, updates = self.module.apply(
                {"params": params, "batch_stats": self.batch_stats},
                x,
                train=True,
                rngs=streams,
                mutable=["batch_stats"],
                **given_labels(labels),
            )
        return output, updates.get("batch_stats", self.batch_stats)

    def update(self, grads: Any, batch_stats: Any, loss: jax.Array) -> "NetworkState":
        """One optimizer update with the ``grads`` of ``loss``, and the new ``batch_stats``.

        Raises:
          TypeError: if the optimizer fails, such as one that needs more than gradients, parameters and loss, as line
            searches do.
        """
        update = optax.with_extra_args_support(self.tx).update
        taken = inspect.signature(update).parameters.values()
        # Optax calls the loss value.
        extra = {"value": loss} if any(each.name == "value" or each.kind is each.VAR_KEYWORD for each in taken) else {}
        try:
            updates, opt_state = update(grads, self.opt_state, self.params, **extra)
        except (TypeError, ValueError, AttributeError) as error:  # of a caller's own transformation
            again = "keyword-only" in str(error) or "must be provided" in str(error)
            what = "evaluates the loss again, which steps do not" if again else "cannot update these parameters"
            raise TypeError(
                f"the optimizer {what} ({first_line(error)}): use one that takes gradients, parameters and at most the "
                "loss, without a line search"
            ) from error
        params = optax.apply_updates(self.params, updates)
        return self.replace(params=params, batch_stats=batch_stats, opt_state=opt_state)


def uniform_noise(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """The tutorial's noise: uniform on [-1, 1)."""
    return jax.random.uniform(key, shape, jnp.float32, -1.0, 1.0)


class Update(NamedTuple):
    """One network's update in a step, for a caller's own metrics.

    Attributes:
      name: ``discriminator`` or ``generator``.
      before, after: the network before and after the update.
      grads: the gradient of ``loss``, shaped as the parameters.
      loss: a scalar, with the penalty if there is one.
      real_logits: [B, 1], the discriminator's logits of real images before its update; None in the generator's update,
        unless the losses are pairwise.
      fake_logits: [B, 1], its logits of the fakes.
    """

    name: str
    before: NetworkState
    after: NetworkState
    grads: Any
    loss: jax.Array
    real_logits: jax.Array | None
    fake_logits: jax.Array


class GANState(struct.PyTreeNode):
    """Everything that training changes.

    Attributes:
      step: calls of ``train_step`` so far, an int32 scalar.
      generator: the network from noise to images.
      discriminator: the network from images to logits.
      latent_size: dimensions of the noise. Static.
      ema: the moving average of the generator, or None; `averaged` puts it in the generator's place.
      augment_probability: the probability of an adaptive augmentation, a float32 scalar in [0, 1], or None.
      fakes: the generator's mode for the fakes of the discriminator's update: ``inference`` as in the tutorial, or
        ``training`` as in its own update. Static.
      losses: what the two networks minimise. Static.
      noise: a function of a key and a shape (n, latent_size) that draws the generator's input, in training, sampling
        and evaluation. Static.
      metrics: a function of an `Update` that returns a dict of arrays, or None. `train_step` returns them with its own
        metrics, prefixed with ``d_`` and ``g_``. Static.
      classes: the number of classes: both networks are then also given ``labels`` [B], and `train_step` and
        `dcgan_jax.sample` take them; None for images without classes. Static.
      augment: the augmentation of the discriminator's inputs, in both updates and in a penalty: a differentiable
        function ``(images [B, H, W, C], key) -> images`` that keeps shape, dtype and range, such as those of
        `dcgan_jax.augment`, or its `adaptive`; None for no augmentation. Static.
      d_steps: updates of the discriminator per step; `train_step` takes that many batches as one. Static.
    """

    step: jax.Array
    generator: NetworkState
    discriminator: NetworkState
    latent_size: int = struct.field(pytree_node=False)
    ema: EMA | None = None
    augment_probability: jax.Array | None = None
    fakes: str = struct.field(pytree_node=False, default="inference")
    losses: Losses = struct.field(pytree_node=False, default=CROSS_ENTROPY)
    noise: Callable[[jax.Array, tuple[int, ...]], jax.Array] = struct.field(pytree_node=False, default=uniform_noise)
    metrics: Callable[[Update], dict[str, jax.Array]] | None = struct.field(pytree_node=False, default=None)
    classes: int | None = struct.field(pytree_node=False, default=None)
    augment: Augment | Adaptive | None = struct.field(pytree_node=False, default=None)
    d_steps: int = struct.field(pytree_node=False, default=1)


def own_metrics(state: GANState, update: Update) -> dict[str, jax.Array]:
    """The caller's metrics of one update, if there are any, prefixed with the network's letter."""
    own = {} if state.metrics is None else state.metrics(update)
    if not isinstance(own, Mapping):
        raise TypeError(f"metrics must return a dict of arrays, got {type(own).__name__}")
    for name in ("loss", "accuracy", "penalty", "augment"):
        if name in own:
            raise ValueError(f"own metrics must not be named {name}: the step has that")
    return {f"{update.name[0]}_{name}": value for name, value in own.items()}


@jax.transfer_guard("allow")
def init_state(  # noqa: D417  # most arguments are described once, at `GANState`
    key: jax.Array,
    *,
    preset: str | Preset = "tutorial",
    generator: nn.Module | None = None,
    discriminator: nn.Module | None = None,
    generator_tx: optax.GradientTransformation | None = None,
    discriminator_tx: optax.GradientTransformation | None = None,
    latent_size: int = 100,
    ema: float | None = None,
    ema_ramp: float | None = None,
    fakes: str | None = None,
    losses: Losses | None = None,
    noise: Callable[[jax.Array, tuple[int, ...]], jax.Array] = uniform_noise,
    metrics: Callable[[Update], dict[str, jax.Array]] | None = None,
    classes: int | None = None,
    augment: Augment | Adaptive | None = None,
    d_steps: int = 1,
) -> GANState:
    """A new state; the images have the shape of the generator's output.

    Shapes are checked here; `dcgan_jax.check_state` checks values, such as those of a discriminator that ends in a
    sigmoid.

    Args:
      key: a PRNG key.
      preset: the name of a `dcgan_jax.preset`, or a `Preset` of your own, which gives the defaults below.
      generator: a Linen module ``(z [B, latent_size], train) -> images [B, H, W, C] in [0, 1]``. `Generator` with the
        preset's dropout if None.
      discriminator: a Linen module ``(images [B, H, W, C], train) -> logits [B, 1]``, without the sigmoid that
        ends the tutorial's model: the losses apply it. `Discriminator` with the preset's dropout if None.
      generator_tx, discriminator_tx: Optax transformations of gradients, which may take the parameters and the loss;
        the preset's if None.
      latent_size: dimensions of the noise; the tutorial's 100.
      ema, ema_ramp: decay and ramp of a moving average of the generator, see `EMA`; the preset's if None.
      fakes, losses: as in `GANState`; the preset's if None.
      noise, metrics, classes, augment, d_steps: as in `GANState`.

    Raises:
      ValueError: if an argument is out of range, or a network's output has another shape, or a network draws random
        numbers in inference mode, or one of the package's was built for another number of classes.
      TypeError: if a network is not a Linen module that can be hashed, an optimizer not an Optax transformation, or an
        output not floating point.
    """
    check_counts(latent_size=latent_size, classes=1 if classes is None else classes, d_steps=d_steps)
    check_functions(augment=augment, noise=noise, metrics=metrics)
    parts = chosen_parts(
        preset, classes, generator, discriminator, generator_tx, discriminator_tx, ema, ema_ramp, fakes, losses
    )
    g_variables, d_variables = init_variables(pin_key(key), parts.generator, parts.discriminator, latent_size, classes)
    network, average = _network(parts.generator, g_variables, parts.generator_tx), None
    if parts.ema is not None:
        average = start_average(network.params, network.batch_stats, parts.ema, parts.ema_ramp)
    return GANState(
        step=jnp.zeros((), jnp.int32),
        generator=network,
        discriminator=_network(parts.discriminator, d_variables, parts.discriminator_tx),
        ema=average,
        augment_probability=jnp.zeros((), jnp.float32) if isinstance(augment, Adaptive) else None,
        latent_size=latent_size,
        fakes=parts.fakes,
        losses=parts.losses,
        noise=noise,
        metrics=metrics,
        classes=classes,
        augment=augment,
        d_steps=d_steps,
    )


def check_is_state(state: object) -> None:
    """Raises: TypeError if an argument that must be a state is something else."""
    if not isinstance(state, GANState):
        unpack = ": train_step returns (state, metrics)" if isinstance(state, tuple) else ""
        raise TypeError(f"state must be a GANState, as init_state returns, got {type(state).__name__}{unpack}")


def averaged(state: GANState) -> GANState:
    """The state with the moving average of its generator in the generator's place, for sampling and evaluation.

    Raises:
      ValueError: if the state keeps no average.
      TypeError: if it is no state.
    """
    check_is_state(state)
    if state.ema is None:
        raise ValueError("this state keeps no moving average: create it with init_state(key, ema=0.999)")
    now = state.generator

    def cast(mean: jax.Array, leaf: jax.Array) -> jax.Array:
        return mean if mean.dtype == leaf.dtype else mean.astype(leaf.dtype)

    means = (state.ema.params, state.ema.batch_stats)
    params, batch_stats = jax.tree.map(cast, means, (now.params, now.batch_stats))
    return state.replace(generator=now.replace(params=params, batch_stats=batch_stats))


def _network(module: nn.Module, variables: Any, tx: optax.GradientTransformation) -> NetworkState:
    params = variables.get("params", {})
    return NetworkState(
        params=params,
        batch_stats=variables.get("batch_stats", {}),
        opt_state=tx.init(params),
        module=module,
        tx=by_value(without_rate(tx)),
    )
