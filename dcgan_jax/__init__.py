"""The Keras tutorial's DCGAN on MNIST as pure, jit-compiled JAX functions."""

import importlib
import pkgutil
from typing import Any

import lazy_loader

# A name is imported when it is first used, from where __init__.pyi says: importing JAX takes seconds, and the command
# line answers Ctrl-C and --help before.
_lazy_name, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
_modules = {module.name for module in pkgutil.iter_modules(__path__)}


def __getattr__(name: str) -> Any:
    return importlib.import_module(f"{__name__}.{name}") if name in _modules else _lazy_name(name)
