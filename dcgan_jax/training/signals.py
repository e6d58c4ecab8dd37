"""Signals as requests to stop after the current step."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator

import jax

from dcgan_jax.training.distributed import preemption_signal

# They end a process that does not handle them. Batch systems announce by these that the time of a job ends, to each of
# its processes and more than once; the kernel sends SIGXCPU in each second above the limit. Windows has none of them.
_ANNOUNCEMENTS = {getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2", "SIGXCPU") if hasattr(signal, name)}
_HANGUP = {signal.SIGHUP} if hasattr(signal, "SIGHUP") else set[signal.Signals]()
_NEVER_URGENT = _ANNOUNCEMENTS | _HANGUP


@contextlib.contextmanager
def stop_signals(
    acknowledge: Callable[[signal.Signals], None] | None = None,
) -> Iterator[Callable[[int], signal.Signals | None]]:
    """Within, the first SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2 or SIGXCPU only requests a stop, so that the step can
    end.

    It yields a function to call after each dispatch of steps, with the number of dispatches so far: the signal to stop
    for, or None. In a job of several processes all stop after the same dispatch, and the other signals are passed on as
    the SIGTERM that JAX watches for.

    A second SIGINT or SIGTERM acts at once. The others never do: they come more than once, as a terminal closes from
    the shell and from the kernel. SIGHUP is left ignored where the process was started with it ignored (``nohup``).
    SIGINT is handled even then, because a shell starts background commands so: somebody sent it. SIGUSR1, SIGUSR2 and
    SIGXCPU are left to a program that handles or ignores them itself.

    Args:
      acknowledge: called with the first signal as soon as it arrives, in another thread: the main thread may be
        compiling.
    """
    received: list[signal.Signals] = []
    several = jax.process_count() > 1
    defaults = (
        {signal.SIGINT: signal.default_int_handler}
        if several
        else {
            signal.SIGINT: signal.default_int_handler,
            signal.SIGTERM: signal.SIG_DFL,
        }
    )

    def record(number: int, frame: object) -> None:
        del frame
        received.append(signal.Signals(number))
        if number not in _NEVER_URGENT:
            for each, default in defaults.items():
                signal.signal(each, default if before[each] is signal.SIG_IGN else before[each])

    def pass_on(number: int, frame: object) -> None:
        del frame
        signal.signal(number, signal.SIG_IGN if number in _NEVER_URGENT else signal.default_int_handler)
        os.kill(os.getpid(), signal.SIGTERM)

    before = {}
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ValueError):  # not the main thread, which alone may handle signals
            hangup = {each for each in _HANGUP if signal.getsignal(each) is not signal.SIG_IGN}
            announcements = {each for each in _ANNOUNCEMENTS if signal.getsignal(each) is signal.SIG_DFL}
            handled = {*defaults, *hangup, *announcements}
            if acknowledge is not None:
                stack.enter_context(_at_arrival(handled, acknowledge))
            for each in handled:
                before[each] = signal.signal(each, pass_on if several else record)
                stack.callback(signal.signal, each, before[each])
        yield preemption_signal if several else lambda _: received[0] if received else None


@contextlib.contextmanager
def _at_arrival(stops: set[signal.Signals], call: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Within, ``call`` is called in a thread when the first signal of ``stops`` arrives.

    The handlers themselves are called by the main thread, not before it returns from the compiler.

    Raises:
      ValueError: in another thread than the main one.
    """
    reader, writer = socket.socketpair()
    with reader, writer:
        writer.setblocking(False)
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)

        def watch() -> None:
            while number := reader.recv(1):
                if number[0] in stops:  # and not one that the calling program handles
                    call(signal.Signals(number[0]))
                    return

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            writer.shutdown(socket.SHUT_RDWR)
            thread.join()
