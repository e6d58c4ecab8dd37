"""How a command's errors become one line and an exit code."""

import os
from collections.abc import Callable

import jax

from dcgan_jax.cli.cache import enable_compilation_cache, one_cache_warning
from dcgan_jax.cli.parser import print_error
from dcgan_jax.console import print_line
from dcgan_jax.errors import UserError, first_line
from dcgan_jax.training.distributed import JobFailedError, PrimaryProcessError, check_devices
from dcgan_jax.training.finite import NotFiniteError


def run_command(work: Callable[[], int | None], *, cache: bool, trains: bool = False) -> int:
    """Run a command, and report every error as one line on standard error.

    Args:
      work: returns the exit code, 0 if None.
      cache: whether to cache compiled programs in the user's cache directory.
      trains: whether the work saves checkpoints, so that an error can say what is left and how to resume.

    Returns:
      The exit code: that of ``work``; 2 for bad input or a failure; 3 for a loss or parameter that is not finite;
      130 after Ctrl-C.
    """
    advice = ": a run that has begun keeps what it has saved, resume it with --resume" if trains else ""
    try:
        if cache:
            enable_compilation_cache()
        with one_cache_warning():
            return work() or 0
    except PrimaryProcessError:  # reported by the primary process
        return 2
    except NotFiniteError as error:
        print_error(error)
        return 3
    except JobFailedError as error:
        print_error(f"the job failed ({first_line(error)}){advice}")
        os._exit(2)  # at a regular exit JAX would wait minutes for the other processes, which wait for this one
    except UserError as error:
        print_error(error)
    except OSError as error:  # a full disk, a directory that was removed
        print_error(f"{error}{advice}")
    except jax.errors.JaxRuntimeError as error:  # a device's memory is full
        print_error(f"the device failed ({first_line(error)}){advice}")
    except KeyboardInterrupt:  # before the first step, or a second time
        print_line("interrupted" + (": what no checkpoint holds is lost" if trains else ""), error=True)
        return 130
    return 2


def run_inference_command(work: Callable[[], None], no_compilation_cache: bool) -> int:
    """`run_command` for a command on a run or a file, on any device."""

    def checked() -> None:
        check_devices()
        work()

    return run_command(checked, cache=not no_compilation_cache)
