"""Metrics of images: functions of features [N, D], of logits [N, classes] or of pixels, on the device.

Pure JAX in the precision of the arrays; `dcgan_jax.evaluation.class_scoring` passes float64, because most metrics are
small differences of large sums. Distances between all pairs are computed a few hundred rows at a time.
"""

import jax
import jax.numpy as jnp
from jax import lax

_ROWS = 500  # rows of a distance matrix at a time: 120 MB in float32 against 60,000 images
_BLOCK = 50  # images per block in `nearest_distances`


@jax.jit
def frechet_distance(x: jax.Array, y: jax.Array) -> jax.Array:
    """FID: the squared 2-Wasserstein distance between Gaussians fitted to both sets, 0 if these are equal.

    |m_x - m_y|^2 + tr(C_x + C_y - 2 (C_x C_y)^(1/2)), with means m and unbiased covariances C.

    Args:
      x: features [N, D].
      y: features [M, D].

    References:
      Heusel and others, GANs trained by a two time-scale update rule, arXiv:1706.08500.
    """
    c_x, c_y = _covariance(x), _covariance(y)
    # (C_x C_y)^(1/2) has the trace of (R C_y R)^(1/2) with R = C_x^(1/2), which is symmetric.
    values, vectors = jnp.linalg.eigh(c_x)
    root = (vectors * jnp.sqrt(jnp.maximum(values, 0))) @ vectors.T
    product = root @ c_y @ root
    cross = jnp.sqrt(jnp.maximum(jnp.linalg.eigvalsh((product + product.T) / 2), 0)).sum()
    return jnp.square(x.mean(0) - y.mean(0)).sum() + jnp.trace(c_x) + jnp.trace(c_y) - 2 * cross


@jax.jit
def kernel_distance(x: jax.Array, y: jax.Array) -> jax.Array:
    """KID: the squared maximum mean discrepancy with the kernel (x . y / D + 1)^3.

    This is the unbiased estimate over all pairs: its mean is 0 for equal distributions, and it can be negative. Other
    implementations average over random subsets.

    Args, shapes: as `frechet_distance`.

    References:
      Binkowski and others, Demystifying MMD GANs, arXiv:1801.01401.
    """

    def kernel(a: jax.Array, b: jax.Array) -> jax.Array:
        return (a @ b.T / a.shape[-1] + 1) ** 3

    def total(a: jax.Array, b: jax.Array) -> jax.Array:
        return lax.map(lambda row: kernel(row[None], b).sum(), a, batch_size=_ROWS).sum()

    def others(a: jax.Array) -> jax.Array:
        """The mean over pairs of different rows."""
        same = ((jnp.square(a).sum(-1) / a.shape[-1] + 1) ** 3).sum()
        return (total(a, a) - same) / (len(a) * (len(a) - 1))

    return others(x) + others(y) - 2 * total(x, y) / (len(x) * len(y))


@jax.jit
def neighbour_radii(a: jax.Array) -> jax.Array:
    """Squared distance of each point to its third nearest neighbour: features [N, D], N at least 4 -> [N]."""

    def radius(point: jax.Array) -> jax.Array:
        distances = _squared_distances(point, a)  # the nearest is the point itself
        for _ in range(3):  # ten times as fast on a CPU as lax.top_k
            distances = distances.at[distances.argmin()].set(jnp.inf)
        return distances.min()

    return lax.map(radius, a, batch_size=_ROWS)


@jax.jit
def on_manifold(points: jax.Array, others: jax.Array, radii: jax.Array) -> jax.Array:
    """Whether each point lies within the radius of at least one of the others: [N, D], [M, D], [M] -> bool [N].

    ``radii`` are the `neighbour_radii` of the others, which are squared.
    """
    return lax.map(lambda point: (_squared_distances(point, others) <= radii).any(), points, batch_size=_ROWS)


@jax.jit
def precision_recall(
    real: jax.Array, fake: jax.Array, real_radii: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Precision, the share of fakes on the manifold of real images; recall, the share of real images on that of fakes.

    A point lies on the manifold of a set if it is as near to a point of the set as that point's third neighbour.

    Args:
      real: features [N, D], N at least 4.
      fake: features [M, D], M at least 4.
      real_radii: `neighbour_radii` of ``real``; computed if None.

    Returns:
      Two numbers in [0, 1].

    References:
      Kynkaanniemi and others, Improved precision and recall metric, arXiv:1904.06991; k = 3 is theirs.
    """
    real_radii = neighbour_radii(real) if real_radii is None else real_radii
    precision = on_manifold(fake, real, real_radii).mean(dtype=real.dtype)
    return precision, on_manifold(real, fake, neighbour_radii(fake)).mean(dtype=fake.dtype)


def class_score(logits: jax.Array) -> jax.Array:
    """The Inception score with the given classes: exp of the mean KL divergence of p(y | x) from p(y).

    1 if all predictions are the same, the number of classes if each is certain and all classes are equally frequent.

    Args:
      logits: [N, classes].

    References:
      Salimans and others, Improved techniques for training GANs, arXiv:1606.03498.
    """
    log_p = jax.nn.log_softmax(logits)
    log_mean = jax.nn.logsumexp(log_p, axis=0) - jnp.log(len(logits))
    return jnp.exp((jnp.exp(log_p) * (log_p - log_mean)).sum(-1).mean())


def class_shares(logits: jax.Array) -> jax.Array:
    """The share of images classified as each class: logits [N, classes] -> [classes], with sum 1."""
    return (logits.argmax(-1)[:, None] == jnp.arange(logits.shape[-1])).mean(0, dtype=logits.dtype)


def kl_to_uniform(shares: jax.Array) -> jax.Array:
    """The KL divergence of a distribution [classes] from the uniform one, in nats: 0 to ln(classes)."""
    return jax.scipy.special.xlogy(shares, shares * len(shares)).sum()


def confident_share(logits: jax.Array, threshold: float = 0.95) -> jax.Array:
    """The share of images whose most likely class has a probability of at least ``threshold``."""
    return (jax.nn.softmax(logits).max(-1) >= threshold).mean(dtype=logits.dtype)


@jax.jit
def nearest_distances(images: jax.Array, others: jax.Array) -> jax.Array:
    """Euclidean distance of each image to the nearest of the others: [N, P], [M, P] -> [N]."""
    # In blocks: on a CPU the minimum over a block is fused with the products, an argmin is not.
    blocks = jnp.pad(others, ((0, -len(others) % _BLOCK), (0, 0)), mode="edge").reshape(-1, _BLOCK, others.shape[1])
    norms = jnp.square(blocks).sum(-1)

    def nearest_block(image: jax.Array) -> jax.Array:
        return (norms - 2 * (blocks @ image)).min(-1).argmin()

    # Recomputed directly within the block: the sums above lose the digits of small distances. One image at a time: 500
    # blocks would take 80 MB for MNIST, and 1.2 GB for 64x64x3.
    def nearest(image_and_block: tuple[jax.Array, jax.Array]) -> jax.Array:
        image, block = image_and_block
        return jnp.linalg.norm(image - blocks[block], axis=-1).min()

    return lax.map(nearest, (images, lax.map(nearest_block, images, batch_size=_ROWS)))


@jax.jit
def mean_pairwise_distance(images: jax.Array) -> jax.Array:
    """The mean Euclidean distance over all pairs of different images: [N, P], N at least 2 -> scalar."""
    n = len(images)
    centred = images - images.mean(0)  # keeps the digits of small distances between nearly equal images

    def total(i: jax.Array) -> jax.Array:
        squared = _squared_distances(centred[i], centred).at[i].set(0)
        return jnp.sqrt(jnp.maximum(squared, 0)).sum()

    return lax.map(total, jnp.arange(n), batch_size=_ROWS).sum() / (n * (n - 1))


def _covariance(x: jax.Array) -> jax.Array:
    """Unbiased covariance: [N, D] -> [D, D]."""
    centred = x - x.mean(0)
    return centred.T @ centred / (len(x) - 1)


def _squared_distances(point: jax.Array, others: jax.Array) -> jax.Array:
    """[D], [M, D] -> [M], as |a|^2 - 2 a . b + |b|^2, which becomes a matrix product when mapped over points."""
    return jnp.square(point).sum() - 2 * (others @ point) + jnp.square(others).sum(-1)
