"""Which value is black and which is white: one rule for arrays and pictures, applied once to all images of a set."""

import math
from typing import NamedTuple

import numpy as np

from dcgan_jax.data.common import DatasetError

# Bits that images come in: masks have 1, drawings 4, and cameras write 10 to 14 into files of 16.
_DEPTHS = (1, 4, 8, 10, 12, 14, 16)
_FLOAT_DEPTHS = (1, 8, 10, 12, 14, 16)
LEAST_BRIGHT = 0.25  # share of white: 10 and more bits reach about that, or they would fit a smaller depth
DARK = round(LEAST_BRIGHT * 255)  # of bytes
_LEAST_OF_SIGNED = -0.5  # values of [-1, 1] go below it; those of [0, 1] that were resized only just below 0
_OVERSHOOT = 1.5  # of white: what resizing adds to values that nobody clips ends below it
_NEAR = 0.8  # of white: values below it, or as far below black, are of another range
_OTHERWISE = "; `range=LOW,HIGH` says otherwise"


class ValueRange(NamedTuple):
    """The values that are black and white, and a note where others could be meant."""

    black: float
    white: float
    note: str = ""

    def to_bytes(self, values: np.ndarray) -> np.ndarray:
        """Values as uint8 of the same shape, 0 black and 255 white; what is outside is black or white."""
        if np.issubdtype(values.dtype, np.integer) and (self.black, self.white) == (0, 255):
            return values.clip(0, 255).astype(np.uint8)
        scaled = (values.astype(np.float64) - self.black) * (255 / (self.white - self.black))
        return np.rint(scaled.clip(0, 255)).astype(np.uint8)


def parse_range(text: str) -> tuple[float, float]:
    """The range that a person gives as ``LOW,HIGH``.

    Raises:
      ValueError: if it is not two finite numbers, the lower first.
    """
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        low, high = math.nan, math.nan
    if not (low < high and math.isfinite(high - low)):
        raise ValueError(f"must be two numbers LOW,HIGH, such as 0,4095, got {text!r}")
    return low, high


def given_range(value_range: tuple[float, float], low: float, high: float, what: object) -> ValueRange:
    """The range that a person gives, with a note if values from ``low`` to ``high`` are not all inside.

    Raises:
      DatasetError: if there are values that are no numbers, or none inside.
    """
    black, white = value_range
    if not math.isfinite(low) or not math.isfinite(high):
        raise DatasetError(f"{what} has numbers that are NaN or infinite")
    if high <= black or white <= low:
        raise DatasetError(f"{what}: pixels are from {low:.6g} to {high:.6g}, none inside `range={black:g},{white:g}`")
    outside = low < black or white < high
    return ValueRange(
        black, white, f"pixels from {low:g} to {high:g} cut off at {black:g} and {white:g}" if outside else ""
    )


def known_range(low: float, high: float, *, integers: bool, what: object, dark: bool = False) -> ValueRange:
    """The range that all values of a set are taken to be of: the smallest that is known and holds them.

    Args:
      low: the lowest value of all images.
      high: the highest.
      integers: whether the values are integers.
      what: whose they are, for messages.
      dark: whether images may be of one colour or nearly black, as those that are drawn can be.

    Raises:
      DatasetError: if it is no range that is known, or one in which a person would see nothing.
    """
    if not math.isfinite(low) or not math.isfinite(high):
        raise DatasetError(f"{what} has numbers that are NaN or infinite")
    if low == high and not dark:
        raise DatasetError(f"{what}: all pixels are {low:g}: there is nothing to learn")
    found = _smallest(low, high, _DEPTHS if integers else _FLOAT_DEPTHS)
    values = f"{what}: pixels are from {low:.6g} to {high:.6g}"
    if found is None:
        raise DatasetError(
            f"{values}, which is not in [0, 1], [-1, 1] or [0, 255], nor of 10 to 16 bits: {_remedy(low, high)}"
        )
    if not dark and high - found.black < LEAST_BRIGHT * (found.white - found.black):
        raise DatasetError(
            f"{values}, nearly black where {found.white:g} is white: add `range={low:.6g},{high:.6g}` to make "
            f"{high:.6g} white, or `range={found.black:g},{found.white:g}` if they are as dark as that"
        )
    return found


def _smallest(low: float, high: float, depths: tuple[int, ...]) -> ValueRange | None:
    """The smallest range that is known and holds values from ``low`` to ``high``, if there is any."""
    if -1 <= low < _LEAST_OF_SIGNED and high <= 1:
        return ValueRange(-1, 1, f"[-1, 1] taken as black to white{_OTHERWISE}")
    floats = depths == _FLOAT_DEPTHS
    for bits in depths:
        white = 2**bits - 1
        if low < 0 or (floats and bits < 10 and white < high <= _OVERSHOOT * white):
            return None
        if high > white:
            continue
        if bits == (1 if floats else 8):
            return ValueRange(0, white)
        if floats and bits == 8:
            return ValueRange(0, white, f"[0, 255] taken as black to white{_OTHERWISE}")
        of = f"{bits} bits" if bits > 1 else "1 bit"
        return ValueRange(0, white, f"pixels from {low:g} to {high:g} taken as {of}, {white:,} white{_OTHERWISE}")
    return None


def _remedy(low: float, high: float) -> str:
    for black, white in ((0, 1), (-1, 1), (0, 255)):
        near_white = _NEAR * white <= high <= _OVERSHOOT * white
        if near_white and low > (-_OVERSHOOT if black < 0 else (_NEAR - 1) * white):
            return f"clip them to [{black}, {white}], as `range={black},{white}` does"
    return f"add `range={low:.6g},{high:.6g}` to make the lowest black and the highest white"
