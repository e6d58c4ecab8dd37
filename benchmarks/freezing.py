"""What it changes that the discriminator is not frozen in the generator's update: two runs from one seed.

    python -m benchmarks.freezing              # both runs, minutes each on a CPU
    python -m benchmarks.freezing --report     # the figure

The published Keras program updates the discriminator in its adversarial model too, with the label 1 for fakes. Both
runs here have that program's optimizers (``upstream``, with epsilon where Keras 3 has it), the same first weights, the
same batches, the same noise and the same dropout. Every ten steps the discriminator is asked, in inference mode, how
probable it is that images are real: of real ones, and of fakes in each mode of the generator. A run is written when it
is done, so an interrupted benchmark continues with the next.
"""

import argparse
import json
import sys
from typing import Any

import jax
import optax

from benchmarks import common
from benchmarks.common import PICTURES, machine, write_json
from dcgan_jax import (
    GANState,
    Preset,
    discriminator_step,
    generate,
    generator_loss,
    init_state,
    load_dataset,
    rmsprop,
    train_step,
)
from dcgan_jax.losses import generator_accuracy
from dcgan_jax.sampling import sample_noise
from dcgan_jax.training.batch_source import DeviceImages

RESULTS = common.RESULTS / "freezing.json"
_STEPS, _EVERY, _BATCH_SIZE, _ASKED = 200, 10, 64, 256
_ASKED_OF = ("real", "inference", "training")  # images, and the generator's modes for fakes
RUNS = {"frozen": "D frozen", "unfrozen": "D not frozen"}


def unfrozen_step(
    state: GANState, opt_state: optax.OptState, images: jax.Array, key: jax.Array
) -> tuple[GANState, optax.OptState, dict[str, jax.Array]]:
    """`train_step` as the Keras program has it: the second update moves both networks.

    Noise and dropout are those that `train_step` draws from the same key. ``opt_state`` is that of the generator's
    optimizer over `both_params`.
    """
    d_key, g_key = jax.random.split(key)
    state, metrics = discriminator_step(state, images, d_key)
    noise_key, generator_key, discriminator_key = jax.random.split(g_key, 3)
    z = sample_noise(state, noise_key, len(images))  # [B, latent]

    def loss(params: Any) -> Any:
        fake, batch_stats = state.generator.train(params["generator"], z, generator_key)  # [B, 28, 28, 1]
        logits, _ = state.discriminator.train(params["discriminator"], fake, discriminator_key)  # [B, 1]
        return generator_loss(logits), (logits, batch_stats)

    params = both_params(state)
    (g_loss, (logits, batch_stats)), grads = jax.value_and_grad(loss, has_aux=True)(params)
    updates, opt_state = state.generator.tx.update(grads, opt_state, params)
    params: Any = optax.apply_updates(params, updates)
    state = state.replace(
        step=state.step + 1,
        generator=state.generator.replace(params=params["generator"], batch_stats=batch_stats),
        discriminator=state.discriminator.replace(params=params["discriminator"]),
    )
    return state, opt_state, {**metrics, "g_loss": g_loss, "g_accuracy": generator_accuracy(logits)}


def both_params(state: GANState) -> dict[str, Any]:
    """The parameters of both networks, as the adversarial model has them."""
    return {"generator": state.generator.params, "discriminator": state.discriminator.params}


def measure(name: str) -> dict[str, Any]:
    """One run: its losses and accuracies, and how real the discriminator finds images."""
    init_key, run_key, asked_key = jax.random.split(jax.random.key(0), 3)
    preset = Preset(rmsprop(2e-4, 6e-8, eps_in_sqrt=True), rmsprop(1e-4, 3e-8, eps_in_sqrt=True))
    state = init_state(init_key, preset=preset)
    opt_state = state.generator.tx.init(both_params(state))
    source = DeviceImages(jax.device_put(load_dataset()))
    real, _ = source.batch(asked_key, _ASKED)
    step, asked = jax.jit(unfrozen_step, donate_argnums=(0, 1)), jax.jit(how_real)
    rows = []
    for i in range(1, _STEPS + 1):
        batch_key, step_key = jax.random.split(jax.random.fold_in(run_key, i))
        images, _ = source.batch(batch_key, _BATCH_SIZE)
        if name == "frozen":
            state, metrics = train_step(state, images, step_key)
        else:
            state, opt_state, metrics = step(state, opt_state, images, step_key)
        if i == 1 or i % _EVERY == 0:
            values = {**metrics, **asked(state, real, jax.random.fold_in(asked_key, i))}
            rows.append({"step": i, **{key: float(value) for key, value in sorted(values.items())}})
            print(f"{name}: {rows[-1]}", flush=True)
    return {"title": RUNS[name], "machine": machine(), "rows": rows}


def how_real(state: GANState, real: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
    """The mean probability of real that the discriminator, in inference mode, gives real images and fakes."""
    noise_key, dropout_key = jax.random.split(key)
    z = sample_noise(state, noise_key, len(real))
    trained, _ = state.generator.train(state.generator.params, z, dropout_key)
    images = {"real": real.astype(trained.dtype) / 255, "inference": generate(state, z), "training": trained}
    return {name: jax.nn.sigmoid(state.discriminator.infer(x)).mean() for name, x in images.items()}


def results() -> dict[str, Any]:
    """The runs so far."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def draw() -> None:
    """How real the discriminator finds images, a panel for each run, with step."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    runs = results()
    figure, axes = pyplot.subplots(1, len(runs), figsize=(9, 3.2), sharey=True, layout="constrained", squeeze=False)
    for axis, run in zip(axes[0], runs.values(), strict=True):
        steps = [row["step"] for row in run["rows"]]
        for name, style in zip(_ASKED_OF, ("k-", "C0-", "C3--"), strict=True):
            label = "real images" if name == "real" else f"fakes, G in {name} mode"
            axis.plot(steps, [row[name] for row in run["rows"]], style, label=label)
        axis.set(title=run["title"], xlabel="step", ylim=(-0.03, 1.03))
    axes[0, 0].set_ylabel("D's mean probability of real")
    axes[0, -1].legend(fontsize=8)
    figure.savefig(PICTURES / "walkthrough-freezing.png", dpi=80)
    pyplot.close(figure)


def main() -> int:
    parser = argparse.ArgumentParser(description="Train with the discriminator frozen in G's update, and not frozen.")
    parser.add_argument("--report", action="store_true", help="only draw the figure of the results")
    args = parser.parse_args()
    if not args.report:
        for name in RUNS:
            if name not in results():
                run = measure(name)
                write_json(RESULTS, {**results(), name: run})
    draw()
    return 0


if __name__ == "__main__":
    sys.exit(main())
