"""Recipes: functions that build the initial state of a run with networks other than the tutorial's.

A recipe is executed only if the user names its file or passes the function. The copy in a run directory never is.
"""

import contextlib
import dataclasses
import functools
import hashlib
import importlib.util
import inspect
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from dcgan_jax.errors import UserError, first_line
from dcgan_jax.paths import local_path
from dcgan_jax.sampling import image_shape
from dcgan_jax.state import GANState
from dcgan_jax.step import train_step
from dcgan_jax.training.array_store import describe_tree, first_difference
from dcgan_jax.value_checks import check_state

Init = Callable[[jax.Array, tuple[int, int, int], int | None], GANState]
_EXPECTED = "a recipe defines init(key, shape, classes), which returns a GANState"


class RecipeError(UserError):
    """A recipe cannot be used; the message names its file and, for an exception that it raises, the line."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A function that builds the initial state of a run, with its name and source for the record.

    Attributes:
      init: the function, of a PRNG key, the shape (H, W, C) of the images, and the number of classes or None.
      name: ``own.py:init`` of a file, or ``module:qualname``.
      source: the content of its file; empty if it has none.
      file: the path of that file.
    """

    init: Init
    name: str
    source: bytes
    file: str

    @property
    def sha256(self) -> str:
        """The SHA-256 of the source."""
        return hashlib.sha256(self.source).hexdigest()

    def __call__(self, key: jax.Array, shape: tuple[int, int, int], classes: int | None) -> GANState:
        """The initial state for images of ``shape`` (H, W, C), with this number of ``classes`` or None.

        Raises:
          RecipeError: if ``init`` raises, or does not return a state for such images at step 0.
        """
        with _attributed(self.file, self.name), _importable(self.file):
            state = self.init(key, shape, classes)
        if not isinstance(state, GANState):
            raise RecipeError(
                f"{self.name} must return a GANState, as dcgan_jax.init_state makes one, got {_kind(state)}"
            )
        with _attributed(self.file, self.name):
            drawn, state = image_shape(state), jax.tree.map(jnp.asarray, state)
        if drawn != tuple(shape):
            raise RecipeError(
                f"{self.name} builds a generator of images {_by(drawn)}, and those of the data are {_by(shape)}: build "
                "it by shape"
            )
        if state.classes != classes:
            raise RecipeError(
                f"{self.name} returns a state of {state.classes or 'no'} classes, and the run has {classes or 'none'}: "
                "pass classes to init_state"
            )
        if state.step != 0:
            raise RecipeError(f"{self.name} returns a state at step {state.step}: a run begins at step 0")
        return state

    def check_state(self, state: GANState, batch_size: int) -> None:
        """Trace one step of a state, and check its networks' outputs with `dcgan_jax.check_state`.

        Raises:
          RecipeError: if a loss, a penalty, an augmentation, a metric or an optimizer fails, or changes the state's
            shapes or dtypes; if a metric is not a scalar; or if images or logits are out of range.
        """
        n = batch_size * state.d_steps
        images = jax.ShapeDtypeStruct((n, *image_shape(state)), jnp.uint8)
        labels = None if state.classes is None else jax.ShapeDtypeStruct((n,), jnp.int32)
        with _attributed(self.file, f"{self.name}: a step of its state"), _importable(self.file):
            after, metrics = jax.eval_shape(train_step, state, images, jax.random.key(0), labels)
        different = first_difference(describe_tree(state), describe_tree(after), "before a step", "after it")
        if different:
            raise RecipeError(f"{self.name}: a step changes the state: {different}")
        arrays = [f"{name} {list(value.shape)}" for name, value in metrics.items() if value.shape]
        if arrays:
            raise RecipeError(f"{self.name}: a run logs metrics that are scalars, got {', '.join(arrays)}")
        with _attributed(self.file, self.name):
            check_state(state)


def read_recipe(path: str | Path) -> Recipe:
    """Execute a Python file named by the user; returns its ``init`` as a recipe.

    While it is executed, its directory is on ``sys.path``, unless it is a run directory, and ``sys.argv`` is the file
    alone. Its ``__name__`` is that of the file, or ``NAME_recipe`` if a module ``NAME`` can be imported.

    Raises:
      RecipeError: if it cannot be read, raises, or defines no ``init``.
    """
    if not str(path).strip() or not str(path).isprintable():
        raise RecipeError(f"`recipe` must name a Python file in printable text, got {str(path)!r}")
    file = local_path(path, "`recipe`").absolute()
    try:
        if file.exists() and not file.is_file():  # reading a pipe or a device might never end
            raise OSError(None, "no regular file")
        source = file.read_bytes()
    except OSError as error:
        raise RecipeError(
            f"cannot read the recipe {path} ({error.strerror}): name a Python file; {_EXPECTED}"
        ) from error
    name = file.stem if _is_free(file.stem) else f"{file.stem}_recipe"
    module = types.ModuleType(name)
    module.__file__ = str(file)
    sys.modules[name] = module  # dataclasses, which include Linen modules, look it up there
    with _attributed(str(file), file.name), _importable(str(file)), _arguments(str(file)):
        exec(compile(source, str(file), "exec", dont_inherit=True), vars(module))
    if not callable(vars(module).get("init")):
        raise RecipeError(f"{file.name} defines no function init: {_EXPECTED}")
    return Recipe(vars(module)["init"], f"{file.name}:init", source, str(file))


def as_recipe(init: Init | Recipe) -> Recipe:
    """The recipe of a function; its source is the whole file that the function is defined in.

    Raises:
      RecipeError: if it cannot be called.
    """
    if isinstance(init, Recipe):
        return init
    if not callable(init):
        raise RecipeError(f"init must be a function of (key, shape, classes), got {_kind(init)}")
    function: Any = inspect.unwrap(init)
    while isinstance(function, functools.partial):
        function = inspect.unwrap(function.func)
    module = getattr(function, "__module__", None) or type(function).__module__
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    code = getattr(function, "__code__", None)
    file, source = code.co_filename if code else "", b""
    with contextlib.suppress(OSError, TypeError):
        source = Path(file).read_bytes() if Path(file).is_file() else inspect.getsource(function).encode()
    where = Path(file).name if module == "__main__" and Path(file).is_file() else module
    return Recipe(init, f"{where}:{name}", source, file)


@contextlib.contextmanager
def _attributed(file: str, name: str) -> Iterator[None]:
    """Within this context, an exception becomes a `RecipeError` that names the file's last line in the traceback.

    If the traceback has no line of the file, it names ``name``.
    """
    try:
        yield
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
        if isinstance(error, SyntaxError) and error.filename == file and error.lineno:
            lines.append(error.lineno)
        place = f"{Path(file).name}, line {lines[-1]}" if lines else name
        reason = error.msg if isinstance(error, SyntaxError) else first_line(error)
        said = f": {reason}" if str(error) not in ("", "None") else ""
        raise RecipeError(f"{place}: {type(error).__name__}{said}") from error


@contextlib.contextmanager
def _importable(file: str) -> Iterator[None]:
    """Within this context, modules next to the file can be imported, unless that is a run directory."""
    folder, before = Path(file).parent, list(sys.path)
    if not (folder / "config.json").exists():
        sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path[:] = before


@contextlib.contextmanager
def _arguments(*argv: str) -> Iterator[None]:
    """Within this context, ``sys.argv`` is ``argv``: a command's arguments are not meant for a recipe."""
    before = sys.argv
    sys.argv = list(argv)
    try:
        yield
    finally:
        sys.argv = before


def _is_free(name: str) -> bool:
    """Whether no module has this name, or only a recipe that was read before."""
    if name in sys.modules:
        return getattr(sys.modules[name], "__spec__", None) is None and name != "__main__"
    return not name.isidentifier() or importlib.util.find_spec(name) is None


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
