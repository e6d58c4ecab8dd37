"""The tutorial's Keras program as published, in Keras 3, for as many steps as are asked for.

    python -m benchmarks.peers.keras_published FOLDER --steps 1000 --batch-size 64 --draw-at 500 1000

The discriminator is not frozen: the adversarial model's update changes it too, unless ``--freeze``. The optimizers are
those of the last version in the tutorial's repository (``upstream``) or of the walkthrough (``tutorial``), as Keras 3
has them; the backend is the one that ``KERAS_BACKEND`` names. Everything is saved to ``FOLDER/state.npz`` every 50
steps, and an interrupted program resumes from there. Each ``FOLDER/<step>.npy`` holds 10,000 images,
``FOLDER/metrics.jsonl`` a row for each step.
"""

import json
import os

import numpy as np

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # the tutorial's

import keras

from benchmarks.common import write_arrays
from benchmarks.peers.keras_models import keras_model
from benchmarks.peers.program import SAMPLES, SAVE_EVERY, kept_file, program_parser, rows_up_to, step_of
from dcgan_jax import load_dataset
from dcgan_jax.files import replace_file

# Learning rate and decay of the discriminator and of the adversarial model.
_OPTIMIZERS = {"upstream": ((2e-4, 6e-8), (1e-4, 3e-8)), "tutorial": ((1e-4, 3e-8), (1e-4, 3e-8))}


def main() -> None:
    parser = program_parser("Train the tutorial's Keras program, unchanged.")
    parser.add_argument("--freeze", action="store_true", help="the adversarial model leaves the discriminator as it is")
    parser.add_argument("--preset", choices=list(_OPTIMIZERS), default="upstream")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)

    keras.utils.set_random_seed(args.seed)
    generator, discriminator = keras_model("generator"), keras_model("discriminator")
    if args.draw_from is not None:
        with np.load(args.draw_from) as kept:
            generator.set_weights([kept[str(i)] for i in range(len(generator.weights))])
        np.save(args.folder / f"{step_of(args.draw_from)}.npy", _draw(generator, args.seed))
        return
    adversarial = keras.Sequential([keras.Input((100,)), generator, discriminator])
    for model, (rate, decay) in zip((discriminator, adversarial), _OPTIMIZERS[args.preset], strict=True):
        schedule = keras.optimizers.schedules.InverseTimeDecay(rate, decay_steps=1, decay_rate=decay)
        discriminator.trainable = not (args.freeze and model is adversarial)
        model.compile(loss="binary_crossentropy", optimizer=keras.optimizers.RMSprop(schedule), metrics=["accuracy"])
        model.optimizer.build(model.trainable_variables)
    variables = [*adversarial.variables, *discriminator.optimizer.variables, *adversarial.optimizer.variables]

    state, rows = args.folder / "state.npz", args.folder / "metrics.jsonl"
    done, log = 0, []
    if state.exists():
        with np.load(state) as saved:
            done = int(saved["step"])
            for i, variable in enumerate(variables):
                variable.assign(saved[str(i)])
        log = rows_up_to(rows, done)

    data, n = load_dataset(), args.batch_size
    labels = np.concatenate([np.ones((n, 1)), np.zeros((n, 1))]).astype(np.float32)
    for step in range(done + 1, args.steps + 1):
        # A function of the step, so that an interrupted run resumes to the same batches.
        random = np.random.default_rng([args.seed, step])
        real = data[random.integers(0, len(data), n)].astype(np.float32) / 255
        z, fresh = random.uniform(-1, 1, (2, n, 100)).astype(np.float32)
        fake = generator.predict_on_batch(z)
        discriminator.trainable = True
        d_loss, d_accuracy = discriminator.train_on_batch(np.concatenate([real, fake]), labels)
        discriminator.trainable = not args.freeze
        g_loss, g_accuracy = adversarial.train_on_batch(fresh, np.ones((n, 1), np.float32))
        values = {"d_loss": d_loss, "d_accuracy": d_accuracy, "g_loss": g_loss, "g_accuracy": g_accuracy}
        log.append(json.dumps({"step": step, **{k: float(v) for k, v in values.items()}}))
        discriminator.reset_metrics()  # else they are means over all steps so far
        adversarial.reset_metrics()
        if step in args.draw_at:
            np.save(args.folder / f"{step}.npy", _draw(generator, args.seed))
        if args.keep_every and step % args.keep_every == 0:
            write_arrays(kept_file(args.folder, step), {str(i): w for i, w in enumerate(generator.get_weights())})
        if step % SAVE_EVERY == 0 or step == args.steps:
            replace_file(rows, lambda partial: partial.write_text("\n".join(log) + "\n"))
            values = {str(i): keras.ops.convert_to_numpy(variable) for i, variable in enumerate(variables)}
            write_arrays(state, {"step": step, **values})
            print(log[-1], flush=True)


def _draw(generator: keras.Model, seed: int) -> np.ndarray:
    """10,000 images in inference mode: uint8 [10000, 28, 28, 1]."""
    noise = np.random.default_rng(seed).uniform(-1, 1, (SAMPLES, 100)).astype(np.float32)
    return np.rint(generator.predict(noise, batch_size=250, verbose=0) * 255).astype(np.uint8)


if __name__ == "__main__":
    main()
