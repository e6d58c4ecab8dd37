"""Optax transformations that compare equal if they were built alike."""

import dataclasses
import functools
import types
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

_CONSTANTS = (bool, int, float, complex, str, bytes, list, tuple, dict, np.ndarray, np.generic, jax.Array)


def by_value(tx: optax.GradientTransformation) -> optax.GradientTransformation:
    """The same transformation, equal to every other that was built alike.

    Optax's transformations are closures, which Python compares by identity: two states with separately built ones would
    not combine under ``jax.tree.map``, and each would compile its own step.
    """
    extra = isinstance(tx, optax.GradientTransformationExtraArgs)
    equal = (_ExtraArgsByValue if extra else _ByValue)(tx.init, tx.update)
    hash(equal)  # before the globals that it reads change, as in the next run of a notebook's cell
    return equal


class _Comparison:
    """Equality and hash of a pair of functions by their code, what they close over, and the globals that they read."""

    def _value(self) -> Any:
        if "_cached" not in self.__dict__:
            self.__dict__["_cached"] = _value(tuple(self), ())  # pyright: ignore[reportArgumentType]
        return self.__dict__["_cached"]

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, _Comparison) and self._value() == other._value())

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self._value())

    def __getstate__(self) -> None:
        """Nothing: the cached value may not be picklable."""


class _ByValue(_Comparison, optax.GradientTransformation):
    pass


class _ExtraArgsByValue(_Comparison, optax.GradientTransformationExtraArgs):
    pass


def _value(x: Any, outer: tuple[int, ...]) -> Any:
    """A hashable value to compare ``x`` by; ``outer`` are the functions that contain it."""
    inner = (*outer, id(x))
    if isinstance(x, types.FunctionType) and id(x) not in outer:
        cells = [_cell(cell) for cell in x.__closure__ or ()]
        return x.__code__, _value((cells, x.__defaults__, x.__kwdefaults__, _globals_of(x)), inner)
    if isinstance(x, functools.partial):
        return functools.partial, _value((x.func, x.args, x.keywords), inner)
    if isinstance(x, types.MethodType) and id(x.__self__) not in outer:
        return x.__func__, type(x.__self__), _value(_contents(x.__self__), (*inner, id(x.__self__)))
    if isinstance(x, dict):
        return dict, frozenset((key, _value(each, inner)) for key, each in x.items())
    if isinstance(x, list | tuple):
        return type(x), *(_value(each, inner) for each in x)
    if isinstance(x, np.ndarray | jax.Array) and not isinstance(x, Tracer):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            return str(jax.random.key_impl(x)), _value(jax.random.key_data(x), inner)
        array = np.asarray(x)
        return array.dtype, array.shape, array.tobytes()
    if _is_frozen(x) and id(x) not in outer:  # it may hold a closure, such as the schedule of `rmsprop`
        return type(x), _value(_compared(x), inner)
    try:
        hash(x)
    except TypeError:
        return type(x), id(x)
    return type(x), x  # 1, 1.0 and True are equal


def _is_frozen(x: Any) -> bool:
    """Whether an object is of a frozen dataclass that compares by its fields."""
    parameters = getattr(type(x), "__dataclass_params__", None)
    return parameters is not None and parameters.frozen and parameters.eq


def _compared(x: Any) -> list[Any]:
    """The values of a dataclass's fields that it compares by."""
    return [getattr(x, field.name) for field in dataclasses.fields(x) if field.compare]


def _cell(cell: types.CellType) -> Any:
    """What a closure's variable is bound to; nothing if it is never assigned, as in Optax's exponential decay."""
    try:
        return cell.cell_contents
    except ValueError:
        return ()


def _globals_of(function: types.FunctionType) -> dict[str, Any]:
    """The numbers, texts, arrays and own functions among the globals that a function's code names, such as a rate.

    Modules, classes and functions of other modules are left out: they are the same wherever the code is.
    """
    names = {name for code in _codes(function.__code__) for name in code.co_names}
    found = {name: function.__globals__[name] for name in names if name in function.__globals__}
    return {
        name: each
        for name, each in found.items()
        if isinstance(each, _CONSTANTS) or getattr(each, "__globals__", None) is function.__globals__
    }


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """A function's code and that of the functions within it."""
    yield code
    for each in code.co_consts:
        if isinstance(each, types.CodeType):
            yield from _codes(each)


def _contents(x: object) -> Any:
    """Everything an object holds, in attributes, slots or as items: what a copy of it would be made from."""
    try:
        return x.__reduce_ex__(2)[1:]
    except TypeError:  # it cannot be copied
        return id(x)
