"""Release a run's generator as the package's pretrained one.

    python -m benchmarks.release runs/quality/recommended-0 --checkpoint 10000

Writes ``dcgan_jax/pretrained/mnist.safetensors``, in float16, and the model card beside it, with the scores of the
rounded weights, and prints the digest that ``dcgan_jax/pretrained/__init__.py`` has to have.
"""

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save

from benchmarks.common import machine
from benchmarks.quality import score
from dcgan_jax import averaged, load_run
from dcgan_jax.files import replace_file
from dcgan_jax.interop import replace_weights
from dcgan_jax.interop.common import leaf_name, network_variables
from dcgan_jax.pretrained import FOLDER
from dcgan_jax.state import GANState

_SMALLEST_NORMAL = 2.0**-14  # of float16; below it digits get lost, and a variance may become 0
_CARD = """# A generator of digits

Weights of the tutorial's generator, trained on MNIST by the preset `recommended`.

| | |
|---|---|
| made by | `{command}`, step {step:,} |
| weights | {weights}, rounded to float16 |
| trained on | MNIST's 60,000 training images ({processor}, JAX {jax}) |
| file | `mnist.safetensors`, {size:,} bytes |
| SHA-256 | `{digest}` |

```python
state = load_pretrained("mnist")
images = sample(state, jax.random.key(0), 16)  # [16, 28, 28, 1] in [0, 1]
```

## Scores

Of 10,000 images of the rounded weights against the test images, and of as many training images:

| | images | floor |
|---|---|---|
{scores}

## What it is for

Examples, tests and pictures. It draws single digits in white on black, as people wrote them for MNIST, and nothing
else. It cannot be told which digit to draw. It is the generator alone: `dcgan-jax train --init-from mnist` trains it
further, against a new discriminator.
The weights have the licence of this project.
"""


def _rounded(state: GANState) -> tuple[GANState, dict[str, np.ndarray]]:
    """The state with the generator's weights rounded to float16, and the rounded arrays by name."""
    weights = {"generator": network_variables(state)["generator"]}
    half = jax.tree.map(lambda x: np.asarray(x, np.float16), weights)
    arrays = {leaf_name(at): leaf for at, leaf in jax.tree_util.tree_leaves_with_path(half)}
    for name, array in arrays.items():
        if not np.isfinite(array).all() or (name.endswith("/var") and (array < _SMALLEST_NORMAL).any()):
            raise ValueError(f"{name} does not fit into float16")
    return replace_weights(state, jax.tree.map(jnp.float32, half)), arrays


def _rows(ours: dict[str, Any], floor: dict[str, Any]) -> str:
    lines = [
        ("FID", ours["fid"], floor["fid"]),
        ("FID by the second classifier", ours["second_fid"], floor["second_fid"]),
        *((f"FID by `{name}` (benchmarks/extractors)", fid, floor["fids"][name]) for name, fid in ours["fids"].items()),
        *((name, ours[name], floor[name]) for name in ("precision", "recall", "class_kl", "nearest")),
    ]
    return "\n".join(f"| {name} | {a:.3f} | {b:.3f} |" for name, a, b in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--checkpoint", type=int, required=True, help="the step")
    args = parser.parse_args()
    run = load_run(args.run, args.checkpoint)
    state, arrays = _rounded(averaged(run.state).replace(ema=None))
    ours, floor = score(state, run.keys["evaluation"])
    config = run.config
    command = f"python train.py --preset {config.preset} --batch-size {config.batch_size} --seed {config.seed}"
    about = {"command": command, "step": args.checkpoint, "weights": "the moving average of the generator"}
    content = save(arrays, metadata={"dcgan-jax": json.dumps(about)})
    digest = hashlib.sha256(content).hexdigest()
    card = _CARD.format(**about, **machine(), size=len(content), digest=digest, scores=_rows(ours, floor))
    replace_file(FOLDER / "mnist.safetensors", lambda partial: partial.write_bytes(content))
    replace_file(FOLDER / "mnist.md", lambda partial: partial.write_text(card))
    print(f"{len(content):,} bytes, SHA-256 {digest}")


if __name__ == "__main__":
    main()
