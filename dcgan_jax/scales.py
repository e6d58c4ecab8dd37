"""Scales of pixels other than [0, 1]."""


def scale_remedy(low: float, high: float) -> str:
    """How to bring images with values from ``low`` to ``high`` to [0, 1]."""
    if -1.1 <= low < -0.9 and high <= 1.1:
        return "add 1 and divide by 2"
    if low >= -0.1 and high <= 1.1:
        return "clip them to [0, 1]"
    if low >= 0 and 128 < high <= 256:
        return "divide by 255, or pass uint8"
    return "scale them so that black is 0 and white is 1"
