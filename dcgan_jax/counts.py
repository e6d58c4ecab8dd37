"""The check of arguments that are counts, such as numbers of images, columns or steps."""

from typing import Any

import numpy as np


def check_counts(least: int = 1, most: int | None = None, **values: Any) -> None:
    """Check for integers from ``least`` to ``most``.

    Raises:
      ValueError: if a value is not one, which the message names; booleans and floats are none.
    """
    for name, value in values.items():
        integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not integer or value < least or (most is not None and value > most):
            expected = f"of at least {least}" if most is None else f"from {least} to {most}"
            raise ValueError(f"{name} must be an integer {expected}, got {value!r}")
