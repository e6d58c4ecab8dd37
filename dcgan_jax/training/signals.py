"""SIGINT and SIGTERM as requests to stop after the current step."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator

import jax

from dcgan_jax.training.distributed import preemption_signal


@contextlib.contextmanager
def stop_signals() -> Iterator[Callable[[int], signal.Signals | None]]:
    """Within, the first SIGINT or SIGTERM only requests a stop, so that the step can end; a second acts at once.

    It yields a function to call after each dispatch of steps, with the number of dispatches so far: the signal to stop
    for, or None. In a job of several processes all stop after the same dispatch, and SIGINT is passed on as the SIGTERM
    that JAX watches for.

    A shell starts background commands with SIGINT ignored. It is handled here all the same: somebody sent it.
    """
    defaults = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    received: list[signal.Signals] = []

    def record(number: int, frame: object) -> None:
        del frame
        received.append(signal.Signals(number))
        for each, handler in before.items():
            signal.signal(each, defaults[each] if handler is signal.SIG_IGN else handler)

    def pass_on(number: int, frame: object) -> None:
        del frame
        signal.signal(number, signal.default_int_handler)
        os.kill(os.getpid(), signal.SIGTERM)

    several = jax.process_count() > 1
    before = {}
    with contextlib.suppress(ValueError):  # not the main thread, which alone may handle signals
        for each in [signal.SIGINT] if several else defaults:
            before[each] = signal.signal(each, pass_on if several else record)
    try:
        yield preemption_signal if several else lambda _: received[0] if received else None
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
