"""A run's initial state, PRNG keys and layer tables, from its config."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax.linen.summary import tabulate

from dcgan_jax.augment import named_augmentation
from dcgan_jax.losses import Losses, named_losses
from dcgan_jax.models import Discriminator, Generator
from dcgan_jax.penalties import r1_penalty
from dcgan_jax.presets import preset
from dcgan_jax.prng import seed_key, split_key
from dcgan_jax.sampling import image_shape
from dcgan_jax.state import GANState, init_state
from dcgan_jax.training.compile_options import quick_options
from dcgan_jax.training.config import TrainConfig
from dcgan_jax.training.recipe import Init, as_recipe
from dcgan_jax.training.record import RunRecord

_WIDTH, _LATENT_SIZE = 64, 100  # the tutorial's


def create_state(
    config: TrainConfig, record: RunRecord | None = None, *, init: Init | None = None
) -> tuple[GANState, dict[str, jax.Array]]:
    """The run's initial state, and its PRNG keys by name.

    ``run`` is for the steps; ``grid``, ``reals`` and ``fakes`` for grids of images; ``evaluation`` for its noise.

    Args:
      config: the run's config.
      record: the run's record; if None, the images have the config's size and no classes.
      init: builds the state; if None, the config determines it.

    Raises:
      RecipeError: if ``init`` fails, or does not return a state for these images.
    """
    keys = run_keys(config)
    if init is not None:
        state = as_recipe(init)(keys.pop("init"), *_images_of(config, record))
        # Steps donate the state: no two of its arrays may share memory, as the parameters and an optimizer's may.
        return jax.tree.map(lambda leaf: leaf.copy(), state), keys
    # One program, rather than a small one for each array of zeros.
    build = jax.jit(initializer(config, record), compiler_options=quick_options())
    return build(keys.pop("init")), keys


def run_keys(config: TrainConfig) -> dict[str, jax.Array]:
    """The keys of `create_state`, and ``init`` for the initial state."""
    names = ("init", "run", "grid", "reals", "fakes", "evaluation")
    return dict(zip(names, split_key(seed_key(config.seed), len(names)), strict=True))


def _images_of(config: TrainConfig, record: RunRecord | None) -> tuple[tuple[int, int, int], int | None]:
    """The shape (H, W, C) of the run's images, and the number of their classes or None."""
    if record is None:
        return config.image_shape(), None
    return record.image_shape, len(record.classes) if record.classes else None


def initializer(config: TrainConfig, record: RunRecord | None = None) -> Callable[[jax.Array], GANState]:
    """The run's `init_state` as a function of a key: the preset, with the overrides of the config."""
    chosen = preset(config.preset, config.generator_learning_rate, config.discriminator_learning_rate)
    shape, classes = _images_of(config, record)
    options = {
        "dropout_rate": chosen.dropout_rate if config.dropout is None else config.dropout,
        "dtype": jnp.dtype(config.dtype),
        "classes": classes,
        "width": config.width or _WIDTH,
    }
    return functools.partial(
        init_state,
        preset=chosen,
        generator=Generator(shape, **options),
        discriminator=Discriminator(**options),
        latent_size=config.latent_size or _LATENT_SIZE,
        losses=_losses(config, chosen.losses),
        augment=None if (names := config.augmentation()) is None else named_augmentation(names),
        d_steps=config.d_steps,
        ema=config.ema,
        fakes=config.fakes,
        classes=classes,
    )


def _losses(config: TrainConfig, losses: Losses) -> Losses:
    """A preset's losses with the overrides of the config; a loss without its own penalty keeps the preset's."""
    if config.loss is not None:
        named = named_losses(config.loss)
        kept = () if named.penalty else ("penalty", "penalty_every", "penalty_stride")
        losses = named._replace(**{name: getattr(losses, name) for name in kept})
    if config.r1 == 0:
        return losses._replace(penalty=None, penalty_every=1, penalty_stride=1)
    return losses if config.r1 is None else losses._replace(penalty=r1_penalty(config.r1))


def model_summary(state: GANState) -> str:
    """Tables of both networks' layers: shapes and parameter counts."""
    tables = []
    for network, shape in ((state.generator, (state.latent_size,)), (state.discriminator, image_shape(state))):
        table = tabulate(network.module, jax.random.key(0), console_kwargs={"width": 120, "force_terminal": False})
        labels = {} if state.classes is None else {"labels": jnp.zeros(1, jnp.int32)}
        tables.append(table(jnp.zeros((1, *shape), jnp.float32), train=False, **labels))
    return "".join(tables)
