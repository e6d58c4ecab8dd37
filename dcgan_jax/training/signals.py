"""Signals as requests to stop after the current step."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator

import jax

from dcgan_jax.training.distributed import preemption_signal

# Batch systems announce the end of a job's time with these, to each of its processes and more than once; the kernel
# sends SIGXCPU in each second above the limit. They end a process that does not handle them. Windows has none of them.
_ANNOUNCEMENTS = {getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2", "SIGXCPU") if hasattr(signal, name)}
_HANGUP = {signal.SIGHUP} if hasattr(signal, "SIGHUP") else set[signal.Signals]()
_NEVER_URGENT = _ANNOUNCEMENTS | _HANGUP


@contextlib.contextmanager
def stop_signals(
    acknowledge: Callable[[signal.Signals], None] | None = None,
) -> Iterator[Callable[[int], signal.Signals | None]]:
    """Within this context, the first stop signal only requests a stop, so that the current step can end.

    The stop signals are SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2 and SIGXCPU. In a job of several processes all stop
    after the same dispatch, and the other signals are passed on as the SIGTERM that JAX watches for.

    A second SIGINT acts at once, and in a single process a second SIGTERM too. The others never do, because they come
    more than once: a closing terminal sends SIGHUP through the shell and through the kernel. SIGHUP stays ignored if
    the process was started with it ignored (``nohup``). SIGINT is handled even then: shells start background commands
    with it ignored, so one that arrives was sent on purpose. SIGUSR1, SIGUSR2 and SIGXCPU are left to a program that
    handles or ignores them itself.

    Args:
      acknowledge: called with the first signal as soon as it arrives, in another thread, because the main thread may
        be compiling.

    Yields:
      A function to call after each dispatch with the number of dispatches so far; it returns the signal to stop for,
      or None.
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
        with contextlib.suppress(ValueError):  # only the main thread may handle signals
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
    """Within this context, ``call`` is called in a thread when the first signal of ``stops`` arrives.

    Python's own handlers run in the main thread, not before it returns from the compiler.

    Raises:
      ValueError: in any thread but the main one.
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
