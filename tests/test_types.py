"""Arrays have the dtypes and axes that signatures name, in every call of the core: jaxtyping and beartype check it."""

import subprocess
import sys

import pytest
from helpers import ROOT

_CHECKED = """
from jaxtyping import install_import_hook

modules = ("augment", "judging", "layers", "losses", "models", "penalties", "projection", "sampling", "step")
with install_import_hook([f"dcgan_jax.{name}" for name in modules], "beartype.beartype"):
    import dcgan_jax
    from dcgan_jax import augment, losses, layers

import jax
import jax.numpy as jnp
from dcgan_jax import *

SHAPE = (8, 8, 3)
key = jax.random.key(0)
images = jax.ShapeDtypeStruct((4, *SHAPE), jnp.uint8)
labels = jax.ShapeDtypeStruct((4,), jnp.int32)

def state_of(classes=None, **arguments):
    nets = {"width": 2, "classes": classes}
    generator, discriminator = Generator(SHAPE, **nets), Discriminator(**nets)
    options = {"generator": generator, "discriminator": discriminator, "classes": classes, **arguments}
    return jax.eval_shape(lambda: init_state(key, **options))
"""
_EVERYTHING = """
plain = state_of()
slopes = Losses(discriminator_loss, generator_loss, sum_penalties(r1_penalty(1.0), r2_penalty(1.0)), penalty_stride=2)
for chosen in (slopes, RELATIVISTIC):
    jax.eval_shape(train_step, plain.replace(losses=chosen), images, key)
jax.eval_shape(train_step, plain.replace(fakes="training", d_steps=2, losses=HINGE), images, jax.random.PRNGKey(0))
each = augment.translation(), augment.brightness(), augment.saturation(), augment.contrast(), augment.cutout()
chosen = augment.compose(*each, augment.horizontal_flip())
jax.eval_shape(train_step, plain.replace(augment=chosen), images, key)
adaptive = plain.replace(augment=augment.adaptive(*each), augment_probability=jax.ShapeDtypeStruct((), jnp.float32))
jax.eval_shape(train_step, adaptive, images, key)
state = state_of(classes=3, ema=0.9)
jax.eval_shape(train_step, state, images, key, labels)
jax.eval_shape(lambda state: sample(state, key, 4, jnp.arange(4) % 3), state)
jax.eval_shape(lambda state: sample(state, key, 4), state)
z = interpolate(*jnp.ones((2, 100)), 5)
jax.eval_shape(generate, plain, z)
jax.eval_shape(lambda state: project(state, jnp.zeros((2, *SHAPE)), key, steps=2, starts=2), plain)
for convolve in (layers.conv2d, layers.upsample_conv2d):
    jax.eval_shape(convolve, jnp.ones((1, 4, 4, 2)), jnp.ones((5, 5, 2, 3)))
"""


_WRONG = """
from jaxtyping import TypeCheckError

for wrong in (
    lambda: losses.discriminator_loss(jnp.ones((2, 1)), jnp.ones(2)),
    lambda: losses.relativistic_loss(jnp.ones((2, 1)), jnp.ones((3, 1))),
    lambda: augment.cutout()(jnp.ones((2, 8, 8, 3), jnp.uint8), key),
    lambda: layers.conv2d(jnp.ones((1, 4, 4, 2)), jnp.ones((5, 3, 2, 3))),
):
    try:
        wrong()
    except TypeCheckError:
        continue
    raise SystemExit("was not seen")
"""


@pytest.mark.parametrize("program", [_EVERYTHING, _WRONG], ids=["right ones pass", "wrong ones are seen"])
def test_core_keeps_its_types(program):
    done = subprocess.run([sys.executable, "-c", _CHECKED + program], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
