"""The package's networks as a Python file of plain PyTorch modules, with literal sizes."""

import itertools
import keyword
import re
import sys
from collections.abc import Sequence
from typing import Any

from dcgan_jax.interop.common import network_state
from dcgan_jax.models import doublings
from dcgan_jax.sampling import image_shape
from dcgan_jax.state import GANState

_HEAD = '''"""A DCGAN of {h}x{w}x{c} images in PyTorch, trained by dcgan-jax. Needs torch and safetensors.

    gan = load()  # in inference mode; load().train() is for training
    {usage}
"""

from itertools import pairwise
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F
'''

_GENERATOR = """
class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        channels = {channels}
        self.dense = nn.Linear({inputs}, {units})
        self.dropout = nn.Dropout({dropout})
        norms = (nn.BatchNorm2d(n, eps=1e-3) for n in channels[1:])
        self.norms = nn.ModuleList([nn.BatchNorm1d({units}, eps=1e-3), *norms])
        self.convs = nn.ModuleList(nn.Conv2d(n, m, 5, padding=2) for n, m in pairwise([*channels, {c}]))

    def forward(self, z):  # [B, {latent}], uniform on [-1, 1)
        x = F.relu(self.norms[0](self.dense(z)))
        x = self.dropout(x.unflatten(1, {first}))
        for i, (height, width) in enumerate({sizes}):
            x = self.convs[i](F.interpolate(x, scale_factor=2))[..., :height, :width]
            x = F.relu(self.norms[i + 1](x))
        x = F.relu(self.norms[-1](self.convs[-2](x)))
        return torch.sigmoid(self.convs[-1](x))  # [B, {c}, {h}, {w}] in [0, 1]
"""

_DISCRIMINATOR = """
class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        channels, strides = {channels}, {strides}
        self.convs = nn.ModuleList(nn.Conv2d(n, m, 5, s) for (n, m), s in zip(pairwise(channels), strides))
        # Zeros at the left, right, top and bottom, as TensorFlow's "same" places them.
        self.pads = {pads}
        self.dropout = nn.Dropout({dropout})
        self.dense = nn.Linear({units}, 1)

    def forward(self, x):  # [B, {c}, {h}, {w}] in [0, 1]
        for conv, pad in zip(self.convs, self.pads):
            x = self.dropout(F.leaky_relu(conv(F.pad(x, pad)), 0.2))
        return self.dense(x.flatten(1))  # [B, 1], above 0 where an image looks real
"""

_TAIL = """
def load(path=Path(__file__).with_name({name!r})):
    gan = nn.ModuleDict({{{members}}})
    gan.load_state_dict(load_file(path), strict=True)
    return gan.eval()
"""

# Replacements of lines for networks with classes: an embedding concatenated to the noise, and a projection.
_GENERATOR_CLASSES = (
    ("        self.dense =", "        self.embedding = nn.Embedding({classes}, {embedding})\n        self.dense ="),
    (
        "def forward(self, z):  # [B, {latent}], uniform on [-1, 1)",
        "def forward(self, z, labels):  # [B, {latent}], [B]",
    ),
    ("self.dense(z)", "self.dense(torch.cat([z, self.embedding(labels)], 1))"),
)
_DISCRIMINATOR_CLASSES = (
    ("        self.dense =", "        self.class_vectors = nn.Embedding({classes}, {widest})\n        self.dense ="),
    ("def forward(self, x):  #", "def forward(self, x, labels):  #"),
    (
        "return self.dense(x.flatten(1))",
        "projection = (self.class_vectors(labels) * x.mean((2, 3))).sum(1, keepdim=True)\n"
        "        return self.dense(x.flatten(1)) + projection",
    ),
)
_IMPORTED = ("numpy", "safetensors", "sympy", "torch")


def module_file(weights: str) -> str:
    """An importable file name for the modules, from that of the weights: ``my_gan.py`` for ``my-gan.st``.

    Names that would hide a module which the file or PyTorch imports, such as ``torch`` or ``random``, are extended.
    """
    name = re.sub(r"\W", "_", weights.rpartition(".")[0] or weights)
    if keyword.iskeyword(name) or name.lower() in {*sys.stdlib_module_names, *_IMPORTED}:
        return f"{name}_networks.py"
    return f"_{name}.py" if name[:1].isdigit() else f"{name}.py"


def module_text(state: GANState, networks: Sequence[str], weights: str) -> str:
    """The Python file of the modules of ``networks``, at most 60 lines.

    Args:
      state: of the package's own networks.
      networks: ``generator``, ``discriminator`` or both.
      weights: the name of the file of weights next to it, which ``load()`` reads.
    """
    h, w, c = image_shape(state)
    labels = "" if state.classes is None else f", torch.arange(16) % {state.classes}"
    usage = f"logits = gan.discriminator(images{labels})  # of [16, {c}, {h}, {w}]"
    if "generator" in networks:
        noise = f"2 * torch.rand(16, {state.latent_size}) - 1"
        usage = f"images = gan.generator({noise}{labels})  # [16, {c}, {h}, {w}] in [0, 1]"
    head = _HEAD.format(h=h, w=w, c=c, usage=usage)
    write = {"generator": _generator, "discriminator": _discriminator}
    members = ", ".join(f'"{name}": {name.title()}()' for name in networks)
    tail = _TAIL.format(members=members, name=weights)
    return "\n".join([head, *(write[network](state) for network in networks), tail])


def _generator(state: GANState) -> str:
    half = network_state(state, "generator")
    h, w, c = image_shape(state)
    stages = doublings(h, w)
    kernels = [half.params[f"conv_{i}"]["kernel"].shape for i in range(1, stages + 3)]
    sizes = [(-(-h // 2**i), -(-w // 2**i)) for i in reversed(range(stages + 1))]
    values: dict[str, Any] = {
        "channels": [kernel[2] for kernel in kernels],
        "inputs": half.params["dense"]["kernel"].shape[0],
        "units": f"{kernels[0][2]} * {sizes[0][0]} * {sizes[0][1]}",
        "dropout": half.module.dropout_rate,  # pyright: ignore[reportAttributeAccessIssue]
        "first": (kernels[0][2], *sizes[0]),
        "sizes": sizes[1:],
        "latent": state.latent_size,
        "classes": state.classes,
        "embedding": half.params["dense"]["kernel"].shape[0] - state.latent_size,
    }
    return _filled(_GENERATOR, _GENERATOR_CLASSES, state, {**values, "h": h, "w": w, "c": c})


def _discriminator(state: GANState) -> str:
    half = network_state(state, "discriminator")
    h, w, c = image_shape(state)
    halvings = doublings(h, w) + 1
    strides = [2] * halvings + [1]
    kernels = [half.params[f"conv_{i}"]["kernel"].shape for i in range(1, halvings + 2)]
    pads, (height, width) = [], (h, w)
    for stride in strides:
        pads.append((*_same(width, stride), *_same(height, stride)))
        height, width = -(-height // stride), -(-width // stride)
    values: dict[str, Any] = {
        "channels": [c, *(kernel[3] for kernel in kernels)],
        "strides": _runs(strides),
        "pads": _runs(pads),
        "units": f"{kernels[-1][3]} * {height} * {width}",
        "dropout": half.module.dropout_rate,  # pyright: ignore[reportAttributeAccessIssue]
        "classes": state.classes,
        "widest": kernels[-1][3],
    }
    return _filled(_DISCRIMINATOR, _DISCRIMINATOR_CLASSES, state, {**values, "h": h, "w": w, "c": c})


def _filled(text: str, of_classes: Sequence[tuple[str, str]], state: GANState, values: dict[str, Any]) -> str:
    for plain, conditional in of_classes if state.classes is not None else ():
        text = text.replace(plain, conditional)
    return text.format(**values)


def _same(n: int, stride: int, k: int = 5) -> tuple[int, int]:
    """Zero padding before and after ``n`` pixels by TensorFlow's rule, which puts an odd one after them."""
    missing = max((-(-n // stride) - 1) * stride + k - n, 0)
    return missing // 2, missing - missing // 2


def _runs(values: Sequence[Any]) -> str:
    """A list as a Python expression, with runs of equal values as products: ``[2] * 3 + [1]``."""
    groups = [(value, len(list(group))) for value, group in itertools.groupby(values)]
    return " + ".join(f"[{value}]" if n == 1 else f"[{value}] * {n}" for value, n in groups)
