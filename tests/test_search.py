import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import ROOT

from dcgan_jax import load_dataset

sys.path.insert(0, str(ROOT))  # benchmarks/ is not installed

from benchmarks import search  # noqa: E402
from benchmarks.search_settings import SETTINGS, Setting  # noqa: E402
from benchmarks.search_step import (  # noqa: E402
    _translate,
    create_state,
    losses,
    optimizer,
    search_step,
    with_recomputed_statistics,
)


def test_setting_differs_from_the_article():
    assert SETTINGS["article"].differences() == {}
    assert SETTINGS["no-dropout"].differences() == {"dropout_g": 0, "dropout_d": 0}
    assert [Setting("", batches=((0, 32), (10, 64))).batch_size(step) for step in (0, 9, 10)] == [32, 32, 64]


def test_branch_differs_from_its_step_on():
    """Up to there both learning rates are those of the run it starts from."""
    for setting in SETTINGS.values():
        if setting.branch:
            name, step = setting.branch
            different = setting.differences().keys() ^ SETTINGS[name].differences().keys()
            assert different <= {"fall_from", "branch", "horizon"}
            assert setting.fall_from >= step


def test_rates_fall_in_a_straight_line():
    """With a constant gradient RMSprop's steps go to the rate: 0.1 of the square is new, from step 60 on all of it."""
    tx = optimizer(Setting("", fall_from=100, horizon=200, clip=None), 1e-3, 0)
    params = jnp.zeros(1)
    state, moved = tx.init(params), []
    for _ in range(200):
        updates, state = tx.update(jnp.ones(1), state, params)
        moved.append(-float(updates[0]))
    np.testing.assert_allclose(moved[60:101], 1e-3, rtol=1e-2)
    np.testing.assert_allclose(moved[150], 5e-4, rtol=1e-2)
    assert moved[199] == pytest.approx(1e-5, rel=1e-2)


def test_losses_by_hand():
    real, fake = jnp.array([[2.0], [0.5]]), jnp.array([[-1.0], [3.0]])
    d_loss, g_loss = losses(Setting("", loss="hinge"))
    assert float(d_loss(real, fake)) == pytest.approx((0 + 0 + 0.5 + 4) / 2)
    assert float(g_loss(real, fake)) == pytest.approx(-1)
    d_loss, g_loss = losses(Setting("", loss="relativistic"))
    assert float(d_loss(real, fake)) == pytest.approx((np.log1p(np.exp(-3)) + np.log1p(np.exp(2.5))) / 2)
    assert float(g_loss(real, fake)) == pytest.approx((np.log1p(np.exp(3)) + np.log1p(np.exp(-2.5))) / 2)
    d_loss, _ = losses(Setting("", label=0.9))
    plain, _ = losses(Setting(""))
    assert float(d_loss(real, fake)) == pytest.approx(float(plain(real, fake)) + 0.1 * (2.0 + 0.5) / 4)
    with pytest.raises(ValueError, match="unknown loss"):
        losses(Setting("", loss="other"))


def test_translation_moves_whole_pixels():
    images = jax.random.uniform(jax.random.key(0), (50, 28, 28, 1))
    moved = np.asarray(_translate(images, jax.random.key(1), 2))
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    shifts = {(i, j): padded[:, i : i + 28, j : j + 28] for i in range(5) for j in range(5)}
    found = [next(at for at, each in shifts.items() if np.array_equal(each[n], moved[n])) for n in range(50)]
    assert len(set(found)) > 10


@pytest.mark.slow
def test_step_updates_networks_and_average():
    """Momentum 0.5 moves the statistics five times as far as the library's 0.9; the first average is the weights."""
    dataset = jnp.asarray(load_dataset()[:100])
    key = jax.random.key(0)

    def step(**fields):
        setting = Setting("", dropout_g=0, dropout_d=0, r1=1.0, r2=1.0, translate=2, noise=0.1, **fields)
        before = create_state(setting, key)
        copies = jax.tree.map(jnp.copy, before)
        after, metrics = search_step(before, dataset, key, setting=setting, batch_size=4, penalised=True)
        return copies, after, metrics

    before, slow, metrics = step()
    _, fast, _ = step(momentum=0.5)
    assert all(np.isfinite(float(value)) for value in metrics.values())
    assert float(metrics["penalty"]) > 0
    for network in ("generator", "discriminator"):
        old, new = getattr(before.gan, network).params, getattr(slow.gan, network).params
        assert all((a != b).any() for a, b in zip(*map(jax.tree.leaves, (old, new)), strict=True))
    start, near, far = (jax.tree.leaves(s.gan.generator.batch_stats) for s in (before, slow, fast))
    for a, b, c in zip(start, near, far, strict=True):
        np.testing.assert_allclose(c - a, 5 * (b - a), rtol=1e-3, atol=1e-6)
    # The half-life of the first step is 0.05 of its own 4 images: 2^-20 of what was before is left.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), slow.params, slow.gan.generator.params)


@pytest.mark.slow
def test_recomputed_statistics_have_no_dropout():
    generator = create_state(Setting(""), jax.random.key(0)).gan.generator
    stats = with_recomputed_statistics(generator, jax.random.key(1)).batch_stats
    z = jax.random.uniform(jax.random.key(2), (20_000, 100), jnp.float32, -1, 1)
    dense = z @ generator.params["dense"]["kernel"] + generator.params["dense"]["bias"]
    np.testing.assert_allclose(stats["norm_0"]["var"], dense.var(0), rtol=0.2)  # of 2,000 and of 20,000 draws
    np.testing.assert_allclose(stats["norm_0"]["mean"], dense.mean(0), atol=0.1)


@pytest.mark.slow
def test_interrupted_search_resumes_to_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(search, "_CHECKPOINT_EVERY", 1)
    monkeypatch.setattr(search, "SAMPLES", 10)
    monkeypatch.setitem(SETTINGS, "tiny", Setting("", batches=((0, 2),), dropout_d=0))
    search.train("tiny", 0, 2, tmp_path / "whole-0")
    search.train("tiny", 0, 1, tmp_path / "cut-0")
    search.train("tiny", 0, 2, tmp_path / "cut-0")
    with np.load(tmp_path / "whole-0" / "checkpoint.npz") as a, np.load(tmp_path / "cut-0" / "checkpoint.npz") as b:
        assert a.files == b.files
        assert all(np.array_equal(a[name], b[name]) for name in a.files)
    with np.load(tmp_path / "cut-0" / "2-recomputed.npz") as arrays:
        assert arrays["images"].shape == (10, 28, 28, 1)
