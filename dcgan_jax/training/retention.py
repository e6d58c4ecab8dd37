"""Which checkpoints a run keeps."""

from collections.abc import Collection, Iterable, Sequence


def expired_steps(steps: Sequence[int], keep: int, keep_steps: Collection[int]) -> list[int]:
    """Those of ``steps``, the newest first, that are neither among the first ``keep`` nor in ``keep_steps``."""
    return [step for step in steps[keep:] if step not in keep_steps]


def steps_to_keep(
    steps: Sequence[int], step: int, best: Iterable[int | None], healthy_until: int, settled_until: int
) -> set[int]:
    """The checkpoints that a run keeps beside the newest when it saves ``step``.

    Args:
      steps: of the checkpoints so far.
      step: the one that is saved.
      best: the steps of the best evaluations, one of each kind that can be compared, or None.
      healthy_until: the collapse detector's: if a collapse has begun, the last checkpoint up to here is kept.
      settled_until: the collapse detector's: the last checkpoint up to here is kept, in case a collapse that is found
        later began after it.
    """
    limits = {settled_until, healthy_until} if healthy_until < step else {settled_until}
    healthy = {max((each for each in steps if each <= limit), default=None) for limit in limits}
    return {each for each in (*best, *healthy) if each is not None}
