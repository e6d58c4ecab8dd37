"""The values of black and white: one rule for arrays and pictures, applied once to all images of a data set."""

import math
from typing import NamedTuple

import numpy as np

from dcgan_jax.data.common import DatasetError

# Bit depths of images: masks have 1, drawings 4, and cameras write 10 to 14 bits into 16-bit files.
_DEPTHS = (1, 4, 8, 10, 12, 14, 16)
_FLOAT_DEPTHS = (1, 8, 10, 12, 14, 16)
LEAST_BRIGHT = 0.25  # share of white; values of 10 and more bits reach about that, or a smaller depth would hold them
DARK = round(LEAST_BRIGHT * 255)  # the same for bytes
_LEAST_OF_SIGNED = -0.5  # images in [-1, 1] go below it; resized images in [0, 1] only just below 0
_OVERSHOOT = 1.5  # share of white; unclipped overshoot from resizing stays below it
_NEAR = 0.8  # share of white; a maximum below it, or a minimum as far below black, is of another range
_OTHERWISE = "; `range=LOW,HIGH` says otherwise"


class ValueRange(NamedTuple):
    """The values of black and white, and a note if others may be meant."""

    black: float
    white: float
    note: str = ""

    def to_bytes(self, values: np.ndarray) -> np.ndarray:
        """Scale values to uint8 of the same shape, 0 black and 255 white; values outside the range are clipped."""
        if np.issubdtype(values.dtype, np.integer) and (self.black, self.white) == (0, 255):
            return values.clip(0, 255).astype(np.uint8)
        scaled = (values.astype(np.float64) - self.black) * (255 / (self.white - self.black))
        return np.rint(scaled.clip(0, 255)).astype(np.uint8)


def parse_range(text: str) -> tuple[float, float]:
    """Parse a value range given as ``LOW,HIGH``.

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
    """The value range that is given, with a note if values from ``low`` to ``high`` are not all inside.

    Raises:
      DatasetError: if ``low`` or ``high`` is NaN or infinite, or no values can be inside.
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
    """Infer the value range of a data set: the smallest known one that holds all values.

    Args:
      low: the lowest value of all images.
      high: the highest value of all images.
      integers: whether the values are integers.
      what: the source, for messages.
      dark: whether images may be uniform or nearly black, as generated ones can be.

    Raises:
      DatasetError: if no known range holds the values, or all images would be uniform or nearly black.
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
    """The smallest known range that holds values from ``low`` to ``high``, or None."""
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
