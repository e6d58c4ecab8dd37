import jax
import pytest
from conftest import assert_same_bits

from dcgan_jax import init_state, train_step
from dcgan_jax.checkpoint import CheckpointError, latest_step, restore_checkpoint, save_checkpoint


@pytest.fixture
def trained(small_state, small_images, key):
    return train_step(small_state, small_images, key)[0]


def test_everything_comes_back_bit_by_bit(trained, small_state, tmp_path):
    run_key = jax.random.key(7)
    save_checkpoint(tmp_path, trained, run_key)
    assert latest_step(tmp_path) == 1
    state, key = restore_checkpoint(tmp_path, 1, small_state, jax.random.key(0))
    assert_same_bits(state, trained)
    assert (jax.random.key_data(key) == jax.random.key_data(run_key)).all()


def test_the_newest_three_are_kept(trained, tmp_path):
    for step in (1, 5, 6, 20):
        save_checkpoint(tmp_path, trained.replace(step=trained.step * step), jax.random.key(0))
    assert latest_step(tmp_path) == 20
    assert sorted(int(p.name) for p in tmp_path.iterdir()) == [5, 6, 20]


def test_where_there_is_none(tmp_path):
    assert latest_step(tmp_path / "nowhere") is None
    assert latest_step(tmp_path) is None


def test_a_checkpoint_of_another_model_is_refused_in_one_line(trained, tmp_path):
    save_checkpoint(tmp_path, trained, jax.random.key(0))
    with pytest.raises(CheckpointError) as error:
        restore_checkpoint(tmp_path, 1, init_state(jax.random.key(0)), jax.random.key(0))
    assert str(tmp_path / "1") in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_checkpoint_is_named(small_state, tmp_path):
    with pytest.raises(CheckpointError, match="cannot read the checkpoint .*/4"):
        restore_checkpoint(tmp_path, 4, small_state, jax.random.key(0))
