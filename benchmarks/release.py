"""Release a run's generator as pretrained weights of the package.

    python -m benchmarks.release runs/quality/recommended-0 --checkpoint 10000
    python -m benchmarks.release runs/conditional --checkpoint 3000

The first writes ``dcgan_jax/pretrained/mnist.safetensors``, in float16, and its model card, with the scores of the
rounded weights, and prints the digest for ``dcgan_jax/pretrained/__init__.py``. The second is for a run with
``--conditional``, and writes ``mnist-conditional.safetensors``, in the format of ``dcgan_jax/pretrained/compact.py``.
The scores of the cards that ``export --format hub`` writes are, after the digest was replaced, those of

    dcgan-jax evaluate mnist --json > mnist.json      # which goes into dcgan_jax/pretrained/
"""

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from benchmarks.common import machine
from benchmarks.quality import score
from dcgan_jax import averaged, load_run
from dcgan_jax.files import replace_file
from dcgan_jax.interop import match_weights, replace_weights
from dcgan_jax.interop.common import named_arrays
from dcgan_jax.pretrained import CONDITIONAL, FOLDER
from dcgan_jax.pretrained.compact import compact, expand
from dcgan_jax.state import GANState

_SMALLEST_NORMAL = 2.0**-14  # of float16; below it precision is lost, and a variance may become 0
_CARD = """# A generator of digits

Weights of the tutorial's generator, trained on MNIST with the preset `recommended`.

| | |
|---|---|
| made by | `{command}`, step {step:,} |
| weights | {weights}, {how} |
| trained on | MNIST's 60,000 training images ({processor}, JAX {jax}) |
| file | `{name}.safetensors`, {size:,} bytes |
| SHA-256 | `{digest}` |

```python
state = load_pretrained("{name}")
{call}
```

## Scores

Scores of 10,000 images drawn by the rounded weights, and of as many training images, against the test images:

| | images | floor |
|---|---|---|
{scores}

## What it is for

Examples, tests and pictures. It draws only single handwritten digits in MNIST's style, white on black{which}.
The file contains only the generator:
`dcgan-jax train --init-from {flags}` trains it further, against a new discriminator.
The weights are under this project's licence.
"""
_PLAIN = {
    "name": "mnist",
    "call": "images = sample(state, jax.random.key(0), 16)  # [16, 28, 28, 1] in [0, 1]",
    "how": "rounded to float16",
    "which": f". You cannot\nchoose the digit; `{CONDITIONAL}` lets you",
    "flags": "mnist",
}
_BY_CLASS = {
    "name": CONDITIONAL,
    "call": "images = sample(state, jax.random.key(0), 3, jnp.array([3, 1, 4]))  # [3, 28, 28, 1] in [0, 1]",
    "how": "in fewer numbers (`compact.py`), rounded to float16",
    "which": ", and you choose\nthe digit",
    "flags": f"{CONDITIONAL} --conditional",
}


def _rounded(state: GANState) -> tuple[GANState, dict[str, np.ndarray]]:
    """The state with the generator's weights rounded to float16, as they ship, and the arrays of the file by name.

    The generator computes in float32, whatever it was trained in.
    """
    arrays = {name: np.asarray(leaf) for name, leaf in named_arrays(state).items() if name.startswith("generator/")}
    if state.classes is not None:
        arrays = compact(arrays, state.latent_size)
    half = {name: array.astype(np.float16) for name, array in arrays.items()}
    for name, array in half.items():
        if not np.isfinite(array).all() or (name.endswith("/var") and (array < _SMALLEST_NORMAL).any()):
            raise ValueError(f"{name} does not fit into float16")
    whole = half if state.classes is None else expand(half, state.classes)
    state = replace_weights(state, match_weights(whole, state, "the rounded weights"))
    return state.replace(generator=state.generator.computed_in("float32")), half


def _rows(ours: dict[str, Any], floor: dict[str, Any]) -> str:
    lines = [
        ("FID", ours["fid"], floor["fid"]),
        ("FID by the second classifier", ours["second_fid"], floor["second_fid"]),
        *((f"FID by `{name}` (benchmarks/extractors)", fid, floor["fids"][name]) for name, fid in ours["fids"].items()),
        *((name, ours[name], floor[name]) for name in ("precision", "recall", "class_kl", "nearest")),
    ]
    if ours["as_asked"] is not None:
        lines.append(("share that is read as the digit asked for", ours["as_asked"], floor["as_asked"]))
    return "\n".join(f"| {name} | {a:.3f} | {b:.3f} |" for name, a, b in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--checkpoint", type=int, required=True, help="the step")
    args = parser.parse_args()
    run = load_run(args.run, args.checkpoint)
    state, arrays = _rounded(averaged(run.state).replace(ema=None))
    ours, floor = score(state, run.keys["evaluation"])
    config, kind = run.config, _BY_CLASS if run.config.conditional else _PLAIN
    flags = f"{' --conditional' * config.conditional} --batch-size {config.batch_size}"
    flags += f" --dtype {config.dtype}" * (config.dtype != "float32")
    flags += f" --fakes {config.fakes}" if config.fakes else ""
    command = f"python train.py --preset {config.preset}{flags} --seed {config.seed}"
    about = {"command": command, "step": args.checkpoint, "weights": "the moving average of the generator"}
    content = save(arrays, metadata={"dcgan-jax": json.dumps(about)})
    digest = hashlib.sha256(content).hexdigest()
    card = _CARD.format(**about, **kind, **machine(), size=len(content), digest=digest, scores=_rows(ours, floor))
    replace_file(FOLDER / f"{kind['name']}.safetensors", lambda partial: partial.write_bytes(content))
    replace_file(FOLDER / f"{kind['name']}.md", lambda partial: partial.write_text(card))
    print(f"{len(content):,} bytes, SHA-256 {digest}")


if __name__ == "__main__":
    main()
