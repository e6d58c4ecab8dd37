"""The cache of compiled programs in the user's cache directory."""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import platformdirs

from dcgan_jax.console import print_line
from dcgan_jax.errors import first_line


def enable_compilation_cache() -> None:
    """Let JAX cache compiled programs in the user's cache directory, so that the next start need not compile.

    ``JAX_COMPILATION_CACHE_DIR`` takes precedence. JAX keys each program by its own version, the program, the
    device and XLA's flags. If the directory cannot be created, one line is printed and nothing is cached.
    """
    given = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    if given == "" or (given is not None and "://" in given):  # JAX then has no cache, or one in a bucket
        return
    try:
        folder = platformdirs.user_cache_path("dcgan-jax") / "xla" if given is None else Path(given).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError, KeyError) as error:  # the latter two: the user has no home directory
        jax.config.update("jax_compilation_cache_dir", None)
        _warn_of_cache(first_line(error))
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # By default programs that compile in less than a second are not cached: a start has some fifty of them.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


@contextlib.contextmanager
def one_cache_warning() -> Iterator[None]:
    """Within this context, one line is printed if the cache cannot be used; JAX would warn for each program."""
    with warnings.catch_warnings():
        show, warned = warnings.showwarning, False

        def show_once(message: Warning | str, *args: Any, **kwargs: Any) -> None:
            nonlocal warned
            if "persistent compilation cache" not in str(message):
                show(message, *args, **kwargs)
            elif not warned:
                warned = True
                _warn_of_cache(str(message).partition("': ")[2] or str(message).splitlines()[0])

        warnings.showwarning = show_once
        warnings.filterwarnings("always", message="Error .* persistent compilation cache")
        yield


def _warn_of_cache(reason: str) -> None:
    print_line(
        f"warning: compiled programs cannot be cached ({reason}): the next start compiles again. "
        "JAX_COMPILATION_CACHE_DIR names another directory, --no-compilation-cache none",
        error=True,
    )
