"""The explorer: a page that contains a generator, and draws its images in the browser."""

import base64
from collections.abc import Sequence
from pathlib import Path

from dcgan_jax.prng import seed_key
from dcgan_jax.report.render import ReportError, check_page, render, replace_page
from dcgan_jax.report.weights import generator_weights, principal_directions
from dcgan_jax.sampling import image_shape
from dcgan_jax.state import GANState, uniform_noise

MAX_BYTES = 8_000_000
_PROGRAM_BYTES = 100_000  # at most, of a page without its weights
_DIRECTIONS = 8  # sliders; in a trained generator the first 8 of 100 directions account for nine tenths of the change


def write_explorer(
    state: GANState,
    out: str | Path,
    title: str,
    facts: Sequence[tuple[str, str]] = (),
    classes: Sequence[str] | None = None,
) -> None:
    """Write an explorer of a state's generator to one HTML file, atomically.

    Args:
      state: from training; ``averaged(state)`` for the moving average of the generator.
      out: the file.
      title: of the page.
      facts: names and values at the top of the page.
      classes: the names of the state's classes, if it has any; their numbers if None.

    Raises:
      ReportError: as `check_page` and `explorer_page`.
      OSError: if the file cannot be written.
    """
    out = Path(out)
    check_page(out)
    replace_page(out, explorer_page(state, title, facts, classes))


def explorer_page(
    state: GANState,
    title: str,
    facts: Sequence[tuple[str, str]] = (),
    classes: Sequence[str] | None = None,
    max_bytes: int = MAX_BYTES,
) -> bytes:
    """The explorer of a generator as HTML. Args: as `write_explorer`.

    Raises:
      ReportError: as `generator_weights`, if the state's noise is not the tutorial's, which the page draws, or if the
        page would have more than ``max_bytes``.
    """
    if state.noise is not uniform_noise:
        raise ReportError("an explorer draws noise that is uniform on [-1, 1), and this state has a noise of its own")
    weights = generator_weights(state)
    size = len(weights.content) * 4 // 3 + _PROGRAM_BYTES
    if size > max_bytes:
        shape = "x".join(map(str, image_shape(state)))
        raise ReportError(
            f"an explorer of this generator of {shape} images would have {size / 1e6:.1f} MB, and at most "
            f"{max_bytes / 1e6:.0f} are written: draw its images with the command sample"
        )
    directions, shares = principal_directions(state, seed_key(0), _DIRECTIONS)
    if state.classes is not None and classes is None:
        classes = list(map(str, range(state.classes)))
    data = {
        "title": title,
        "facts": list(facts),
        "classes": classes,
        "latent": state.latent_size,
        "shape": image_shape(state),
        "layers": weights.layers,
        "content": base64.b64encode(weights.content).decode(),
        "directions": [[round(float(value), 4) for value in direction] for direction in directions],
        "shares": [float(f"{share:.3g}") for share in shares],
    }
    return render(title, "explorer", data)
