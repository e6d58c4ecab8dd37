"""Each metric against SciPy's or scikit-learn's functions, or against its definition in NumPy, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.special
import scipy.stats
from sklearn.metrics import pairwise_distances
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.neighbors import NearestNeighbors

from dcgan_jax.evaluation import metrics

TOLERANCE = 1e-4  # relative; both sides compute in float64


@pytest.fixture(params=["near", "far", "skewed"])
def features(request):
    """Two sets of features at least 0, as a rectifier leaves them: 1,300 and 700 of 20 dimensions."""
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(20, 20))
    x = np.maximum(rng.normal(size=(1300, 20)) @ mix, 0)
    y = np.maximum(rng.normal(size=(700, 20)) @ mix, 0)
    if request.param == "far":
        y = y + 3
    if request.param == "skewed":
        y = y * np.linspace(0, 2, 20)  # one dimension is 0 throughout: a singular covariance
    return x, y


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.filterwarnings("ignore:Matrix is singular")  # "skewed" is, and its root is accurate all the same
def test_frechet_distance_agrees_with_scipy(features):
    """SciPy's square root of the product of both covariances, which is not symmetric."""
    x, y = features
    c_x, c_y = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(c_x @ c_y).real  # rounding makes zero eigenvalues negative
    expected = np.square(x.mean(axis=0) - y.mean(axis=0)).sum() + np.trace(c_x + c_y - 2 * root)
    np.testing.assert_allclose(metrics.frechet_distance(x, y), expected, rtol=TOLERANCE)


def test_frechet_distance_in_one_dimension():
    """The formula of Gaussians with means 1 and 8 and variances 2 and 18."""
    x, y = np.array([[0.0], [2.0]]), np.array([[5.0], [11.0]])
    expected = (8 - 1) ** 2 + (np.sqrt(18) - np.sqrt(2)) ** 2
    np.testing.assert_allclose(metrics.frechet_distance(x, y), expected, rtol=1e-12)


def test_kernel_distance_agrees_with_scikit_learn(features):
    """Its polynomial kernel, for sets of the same size."""
    x, y = features
    n = len(y)
    x = x[:n]
    of_x, of_y, of_both = (polynomial_kernel(a, b, degree=3, coef0=1) for a, b in ((x, x), (y, y), (x, y)))
    others = ~np.eye(n, dtype=bool)  # unbiased: pairs of different rows
    expected = of_x[others].mean() + of_y[others].mean() - 2 * of_both.mean()
    np.testing.assert_allclose(metrics.kernel_distance(x, y), expected, rtol=TOLERANCE)


def test_kernel_distance_of_unequal_sizes(features):
    """Its definition in NumPy."""
    x, y = features

    def kernel(a, b):
        return (a @ b.T / 20 + 1) ** 3

    def others(a):
        return (kernel(a, a).sum() - np.trace(kernel(a, a))) / (len(a) * (len(a) - 1))

    expected = others(x) + others(y) - 2 * kernel(x, y).mean()
    np.testing.assert_allclose(metrics.kernel_distance(x, y), expected, rtol=TOLERANCE)


def test_precision_recall_agree_with_scikit_learn(features):
    def inside(points, others):
        # A point of the set is its own nearest: the third neighbour is the fourth.
        radii = NearestNeighbors(n_neighbors=4, algorithm="brute").fit(others).kneighbors(others)[0][:, -1]
        return (pairwise_distances(points, others) <= radii).any(axis=1).mean()

    real, fake = features
    precision, recall = metrics.precision_recall(real, fake)
    assert metrics.precision_recall(real, fake, metrics.neighbour_radii(real)) == (precision, recall)
    np.testing.assert_allclose([precision, recall], [inside(fake, real), inside(real, fake)], rtol=TOLERANCE)


def test_set_against_itself(features):
    """No distance, and full precision and recall."""
    x, _ = features
    scale = np.trace(np.cov(x, rowvar=False))
    assert abs(metrics.frechet_distance(x, x)) < 1e-10 * scale
    assert metrics.kernel_distance(x, x) < 0  # unbiased: pairs of equal rows count in one term of three
    assert metrics.precision_recall(x, x) == (1, 1)


def test_class_score_agrees_with_scipy():
    """SciPy's softmax and KL divergence."""
    logits = np.random.default_rng(0).normal(scale=4, size=(900, 10))
    p = scipy.special.softmax(logits, axis=1)
    expected = np.exp(scipy.stats.entropy(p, p.mean(axis=0, keepdims=True), axis=1).mean())
    np.testing.assert_allclose(metrics.class_score(jnp.asarray(logits)), expected, rtol=TOLERANCE)


def test_class_score_is_1_to_number_of_classes():
    certain = 1000 * jnp.eye(10)
    np.testing.assert_allclose(metrics.class_score(certain), 10, rtol=1e-12)
    np.testing.assert_allclose(metrics.class_score(certain[:1].repeat(10, axis=0)), 1, rtol=1e-12)
    np.testing.assert_allclose(metrics.class_score(jnp.zeros((10, 10))), 1, rtol=1e-12)


def test_class_shares_and_their_divergence():
    logits = jnp.log(jnp.array([[0.97, 0.02, 0.01], [0.2, 0.5, 0.3], [0.96, 0.04, 0.0], [0.94, 0.03, 0.03]]))
    shares = metrics.class_shares(logits)
    assert shares.tolist() == [0.75, 0.25, 0]
    expected = 0.75 * np.log(0.75 * 3) + 0.25 * np.log(0.25 * 3)
    np.testing.assert_allclose(metrics.kl_to_uniform(shares), expected, rtol=1e-12)
    np.testing.assert_allclose(expected, scipy.stats.entropy(shares, [1 / 3] * 3), rtol=1e-12)
    assert metrics.kl_to_uniform(jnp.full(10, 0.1)) == pytest.approx(0, abs=1e-15)
    assert metrics.confident_share(logits) == 0.5


def test_nearest_distances_match_scikit_learn():
    rng = np.random.default_rng(0)
    images, others = rng.random((700, 784)), rng.random((1300, 784))
    images[5] = others[7] + 1e-3 / 28  # 1e-3 away: |a|^2 - 2 ab + |b|^2 alone would lose it in float32
    theirs = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(others).kneighbors(images)[0][:, 0]
    np.testing.assert_allclose(metrics.nearest_distances(images, others), theirs, rtol=TOLERANCE)
    single = metrics.nearest_distances(jnp.float32(images), jnp.float32(others))
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, theirs, rtol=TOLERANCE)
