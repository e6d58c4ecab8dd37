"""Batches of real images: which are drawn, with their labels, on the devices and from elsewhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from helpers import assert_same_bits

from dcgan_jax.training.batch_source import DeviceImages, draw_rows, mirror_some
from dcgan_jax.training.device_loop import run_steps

NUMBERED = jnp.arange(50, dtype=jnp.uint8)[:, None, None, None]  # images whose one pixel is their row


@pytest.mark.parametrize("jit", [False, True])
def test_batch_has_the_labels_of_its_images(jit, key):
    """With replacement, from all rows; another key draws others."""
    batch = jax.jit(DeviceImages.batch, static_argnums=2) if jit else DeviceImages.batch
    source = DeviceImages(NUMBERED, jnp.arange(50, dtype=jnp.int32) * 3)
    images, labels = batch(source, key, 400)
    assert (images.shape, images.dtype, labels.dtype) == ((400, 1, 1, 1), jnp.uint8, jnp.int32)
    assert (labels == images[:, 0, 0, 0].astype(jnp.int32) * 3).all()
    assert set(np.unique(images)) == set(range(50))  # all but one key in 70
    again, _ = batch(source, key, 400)
    other, _ = batch(source, jax.random.fold_in(key, 1), 400)
    assert (again == images).all()
    assert (other != images).any()


def test_source_without_labels_draws_the_same_images(key):
    images, labels = DeviceImages(NUMBERED).batch(key, 20)
    assert labels is None
    assert (images == DeviceImages(NUMBERED, jnp.zeros(50, jnp.int32)).batch(key, 20)[0]).all()


def test_mirrored_images_are_some(key):
    """Each image is as it was or mirrored, about half of each; the same key chooses the same."""
    images = jnp.asarray(np.random.default_rng(0).integers(0, 256, (400, 4, 6, 1), np.uint8))
    mirrored = mirror_some(images, key)
    turned = np.asarray((mirrored == images[:, :, ::-1]).all((1, 2, 3)))
    kept = np.asarray((mirrored == images).all((1, 2, 3)))
    assert (turned ^ kept).all()
    assert 150 < turned.sum() < 250  # five standard deviations
    assert (mirrored == mirror_some(images, key)).all()


def test_mirror_changes_the_real_images_alone(small_state, small_images, key):
    """A data set of images that are their own mirror images gives the same bits with it."""
    symmetric = jnp.concatenate([small_images[:, :, :4], small_images[:, :, 3::-1]], axis=2)
    copies = [jax.tree.map(jnp.copy, small_state) for _ in range(4)]
    options = {"batch_size": 4, "capacity": 1}
    plain, mirrored = (
        run_steps(copies[i], DeviceImages(symmetric, mirror=bool(i)), key, 1, **options)[0] for i in (0, 1)
    )
    assert_same_bits(plain, mirrored)
    plain, mirrored = (
        run_steps(copies[i], DeviceImages(small_images, mirror=i == 3), key, 1, **options)[0] for i in (2, 3)
    )
    assert jax.tree.leaves(plain.discriminator)[1].tolist() != jax.tree.leaves(mirrored.discriminator)[1].tolist()


class MappedImages(struct.PyTreeNode):
    """A source as a caller may write one: a memory-mapped file on the host, of which only batches are read."""

    path: str = struct.field(pytree_node=False)

    def batch(self, key, batch_size, call=0):
        images = np.load(self.path, mmap_mode="r")
        shape = jax.ShapeDtypeStruct((batch_size, *images.shape[1:]), images.dtype)
        rows = draw_rows(key, len(images), batch_size)
        return jax.pure_callback(lambda rows: images[np.asarray(rows)], shape, rows), None


@pytest.mark.parametrize("capacity", [1, 3])
def test_source_on_the_host_gives_the_same_bits(capacity, small_state, small_images, key, tmp_path):
    """The step takes any source; the images of a file are not in its arguments."""
    np.save(tmp_path / "images.npy", small_images)
    mapped = MappedImages(str(tmp_path / "images.npy"))
    assert jax.tree.leaves(mapped) == []
    states = [
        run_steps(jax.tree.map(jnp.copy, small_state), source, key, capacity, batch_size=4, capacity=capacity)[0]
        for source in (mapped, DeviceImages(small_images))
    ]
    assert_same_bits(*states)
