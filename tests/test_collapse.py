import json

import numpy as np
import pytest

from dcgan_jax import load_labels
from dcgan_jax.training.checkpoint import checkpoint_steps
from dcgan_jax.training.collapse import Watchdog, spread

HEALTHY = {"d_accuracy": 0.7, "d_loss": 0.6}
WON = {"d_accuracy": 1.0, "d_loss": 0.05}
CERTAIN = {"d_accuracy": 0.99, "d_loss": 0.001}


@pytest.fixture
def reals(mnist):
    return mnist[:16] / 255


@pytest.fixture
def dog(reals):
    return Watchdog(0, reals, digits=True)


def told(dog, losses, steps):
    """The steps at which something was told, and what."""
    return {n: line for n in steps if (line := dog.see_losses(n, losses))}


def test_spread_is_the_mean_distance_of_two_different_images():
    images = np.zeros((3, 2, 2, 1))
    images[1, 0, 0], images[2] = 1, 2
    assert spread(images) == pytest.approx((1 + 4 + np.sqrt(13)) / 3)


@pytest.mark.parametrize("losses", [WON, CERTAIN])
def test_a_discriminator_that_has_won_for_long_is_told_once(dog, losses):
    assert told(dog, HEALTHY, range(1, 401)) == {}
    lines = told(dog, losses, range(401, 1500))
    ((step, line),) = lines.items()
    assert 690 <= step <= 720  # almost all of the last 300 steps, looked at every 30
    assert "the discriminator has won" in line
    assert "--preset" in line
    assert dog.healthy_until == step - 300


def test_a_discriminator_that_wins_for_a_while_is_not_told_of(dog):
    """As at the start of a healthy run."""
    for start in range(0, 3000, 300):
        assert told(dog, WON, range(start + 1, start + 250)) == {}
        assert told(dog, HEALTHY, range(start + 250, start + 301)) == {}
    assert dog.healthy_until == 3000


@pytest.mark.parametrize("kind", ["one image", "one digit"])
def test_a_generator_without_variety_is_told_once(dog, kind, reals, mnist):
    same = reals[:1].repeat(16, axis=0) if kind == "one image" else mnist[load_labels() == 1][:16] / 255
    for step in (500, 1000, 1500, 2000):
        dog.see_losses(step, HEALTHY)
        assert dog.see_images(step, reals) is None
    assert dog.see_images(2500, same) is None  # one picture is no proof
    dog.see_losses(2600, HEALTHY)
    line = dog.see_images(3000, same)
    assert line is not None
    assert "1 different digits among 16 images" in line
    assert dog.healthy_until == 2000
    assert dog.see_images(3500, same) is None


def test_two_pictures_soon_after_a_good_one_are_no_proof(dog, reals):
    """As `--sample-every 1` has them: pictures of almost the same generator."""
    same = reals[:1].repeat(16, axis=0)
    dog.see_images(2000, reals)
    assert [dog.see_images(step, same) for step in range(2001, 2300, 23)] == [None] * 13
    assert dog.see_images(2300, same) is not None


def test_what_no_sign_to_come_can_reach_is_known(dog, reals):
    """A win of the discriminator is told 300 steps after it began: a checkpoint from before must still be there."""
    dog.see_images(400, reals)  # a good picture counts, however early
    told(dog, HEALTHY, range(1, 1001))
    assert dog.beyond_doubt == 400
    dog.see_images(1000, reals)
    assert dog.beyond_doubt == 700
    ((step, _),) = told(dog, CERTAIN, range(1001, 1400)).items()
    assert dog.healthy_until == step - 300 >= 700


def test_pictures_before_the_first_strokes_and_single_ones_are_not_told_of(dog, reals):
    same = reals[:1].repeat(16, axis=0)
    assert [dog.see_images(step, same) for step in (0, 1, 2, 4, 500, 900)] == [None] * 6
    for step in range(1000, 4000, 1000):
        assert dog.see_images(step, same) is None
        assert dog.see_images(step + 500, reals) is None
    dog.see_losses(4000, HEALTHY)
    assert dog.healthy_until == 4000


def test_other_images_than_digits_are_not_read(reals):
    dog = Watchdog(0, reals, digits=False)
    same = reals[:1].repeat(16, axis=0)
    dog.see_images(1000, same)
    assert "digits" not in str(dog.see_images(1500, same))


@pytest.mark.parametrize("interrupted", [700, 899, 1000, 1310, 2250, 2600])
def test_a_run_that_goes_on_is_watched_as_if_it_had_not_been_interrupted(interrupted, reals):
    """Seventeen steps into a block, in the middle of a win, between two bad pictures, after each was told."""
    same = reals[:1].repeat(16, axis=0)

    def watch(steps, dog):
        lines = {}
        for n in steps:
            said = [dog.see_losses(n, WON if 900 <= n < 1400 else HEALTHY)]
            if n % 250 == 0:
                said.append(dog.see_images(n, reals if n < 2000 else same))
            if any(said):
                lines[n] = next(filter(None, said))
        return lines

    undisturbed = Watchdog(0, reals, digits=True)
    expected = watch(range(1, 3001), undisturbed)
    first = Watchdog(0, reals, digits=True)
    lines = watch(range(1, interrupted + 1), first)
    second = Watchdog(interrupted, reals, digits=True, memory=json.loads(json.dumps(first.memory)))
    again = watch(range(interrupted + 1, 3001), second)
    assert len(expected) == 2
    # What has been told is told again, as long as it lasts; nothing is told at other steps.
    assert {**again, **lines}.keys() >= expected.keys()
    assert {step: line for step, line in again.items() if step in expected} == {
        step: line for step, line in expected.items() if step > interrupted
    }
    assert second.memory == undisturbed.memory


@pytest.mark.parametrize("stop", [True, False])
def test_a_run_that_collapses_is_warned_of_once_and_stops_if_asked(stop, run_python, tmp_path):
    """With thresholds that any discriminator is beyond after its sixth step."""
    out = run_python(
        f"""
        from dcgan_jax import cli, records, watchdog
        class Impatient(watchdog.Watchdog):
            def see_losses(self, step, losses):
                return super().see_losses(step, losses if step < 6 else {{"d_accuracy": 1.0, "d_loss": 0.0}})
        watchdog._STEPS, watchdog._BLOCK = 3, 1
        records.Watchdog = Impatient
        flags = ["--steps", "12", "--batch-size", "2", "--log-every", "1", "--checkpoint-every", "4"]
        flags += ["--keep-checkpoints", "1", "--workdir", {str(tmp_path / "run")!r}]
        print(cli.train_main(flags + {["--stop-on-collapse"] if stop else []}))
        """
    )
    lines = out.splitlines()
    assert len([line for line in lines if line.startswith("warning: at step 8 the discriminator has won")]) == 1
    checkpoints = tmp_path / "run" / "checkpoints"
    if stop:
        assert lines[-1] == "4"
        healthy = f"the last healthy checkpoint is {checkpoints / '4'} (evaluate and sample: --checkpoint STEP)"
        assert lines[-2].endswith(f"nothing of it saved; {healthy}")
        assert checkpoint_steps(checkpoints) == [4, 0]
    else:
        assert lines[-1] == "0"
        assert checkpoint_steps(checkpoints) == [12, 4, 0]  # the last healthy one, and the last beyond doubt


def test_a_collapse_between_two_calls_to_the_device_ends_a_run_and_a_resumed_one_again(run_python, tmp_path):
    """Three steps a call, a collapse seen in pictures, and a run that goes on without being stopped."""
    out = run_python(
        f"""
        from dcgan_jax import cli, watchdog
        watchdog._STEPS, watchdog._BLOCK, watchdog._FROM_STEP, watchdog._SPREAD = 3, 1, 4, 100
        common = ["--workdir", {str(tmp_path / "run")!r}]
        flags = ["--batch-size", "2", "--sample-every", "2", "--checkpoint-every", "5", "--steps-per-call", "3"]
        print(cli.train_main([*common, *flags, "--steps", "12", "--stop-on-collapse"]))
        print(cli.train_main([*common, "--resume"]))
        print(cli.train_main([*common, "--resume", "--no-stop-on-collapse"]))
        """
    )
    codes = [line for line in out.splitlines() if line.isdecimal()]
    assert codes == ["4", "4", "0"]
    stopped = [line for line in out.splitlines() if line.startswith("stopped at step")]
    assert [line.split(",")[0] for line in stopped] == ["stopped at step 6"] * 2  # the second bad picture
    assert "going on from step 5" in out
    assert out.count("warning: at step 6 the generator draws little else than one image") == 3
    assert checkpoint_steps(tmp_path / "run" / "checkpoints")[0] == 12
