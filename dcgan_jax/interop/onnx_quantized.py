"""ONNX models with weights and activations in 8 bits, for a quarter of the size."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dcgan_jax.errors import first_line
from dcgan_jax.files import replace_file
from dcgan_jax.interop.common import WeightsError, quiet_loggers, require
from dcgan_jax.interop.examples import Examples, make_examples
from dcgan_jax.interop.onnx_check import onnx_runtime, run_onnx
from dcgan_jax.interop.programs import export_onnx
from dcgan_jax.state import GANState

_CALIBRATED, _CALIBRATION_SEED = 256, 1  # inputs that ranges are found from; the comparison uses others
_COMPARED = 64


class Quantization(NamedTuple):
    """The effect of quantisation on the file's size and outputs.

    Attributes:
      before: size of the model in float32, in bytes.
      after: size of the file, in bytes.
      largest: the largest absolute difference from JAX, in the units of the output: pixels in [0, 1], or logits.
      mean: the mean absolute difference.
      images: the number of inputs compared.
    """

    before: int
    after: int
    largest: float
    mean: float
    images: int


def export_quantized_onnx(
    path: str | Path,
    state: GANState,
    network: str = "generator",
    metadata: dict[str, Any] | None = None,
    *,
    opset: int | None = None,
    layout: str = "NHWC",
) -> Quantization:
    """Write the model of `export_onnx` with weights and activations in int8, by ONNX Runtime's static quantisation.

    Kernels have a scale for each output channel. The ranges of activations are those of 256 inputs: the state's own
    noise, for a discriminator the generator's images of it. Inputs and outputs stay float32. The result is compared
    with JAX on 64 other inputs.

    Args:
      path: the file.
      state: with any modules.
      network: ``generator`` or ``discriminator``.
      metadata: as in `export_onnx`.
      opset: as in `export_onnx`.
      layout: as in `export_onnx`.

    Raises:
      WeightsError: as `export_onnx`, and if the package onnxruntime is not installed or cannot quantise the network.
      OSError: if the file cannot be written.
    """
    onnx_runtime()
    onnx = require("onnx")
    calibration = make_examples(state, network, _CALIBRATED, _CALIBRATION_SEED).in_layout(layout)
    with tempfile.TemporaryDirectory() as folder:
        full, small = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        export_onnx(full, state, network, metadata, opset=opset, layout=layout)
        _quantize(full, small, calibration)
        model, written = onnx.load(small), onnx.load(full)
        model.producer_name, model.producer_version = written.producer_name, written.producer_version
        del model.metadata_props[:]
        model.metadata_props.extend(written.metadata_props)
        onnx.save(model, small)
        examples = make_examples(state, network, _COMPARED).in_layout(layout)
        apart = np.abs(run_onnx(small, examples.inputs).astype(np.float64) - examples.expected)
        content = small.read_bytes()
        before = full.stat().st_size
    replace_file(Path(path), lambda partial: partial.write_bytes(content))
    return Quantization(before, len(content), float(apart.max()), float(apart.mean()), _COMPARED)


def _quantize(full: Path, small: Path, calibration: Examples) -> None:
    """Raises: WeightsError if ONNX Runtime cannot quantise the model."""
    from onnxruntime import quantization

    names = [port.name for port in require("onnx").load(full).graph.input]

    def batches() -> Iterator[dict[str, np.ndarray]]:
        for i in range(0, _CALIBRATED, _COMPARED):
            yield {name: x[i : i + _COMPARED] for name, x in zip(names, calibration.inputs.values(), strict=True)}

    class Reader(quantization.CalibrationDataReader):
        """Gives the library one batch after another."""

        rest = batches()

        def get_next(self) -> Any:  # None at the end
            return next(self.rest, None)

    try:
        with quiet_loggers("root", "onnxruntime"):  # they recommend folding that is done already
            quantization.quantize_static(full, small, Reader(), per_channel=True)
    except Exception as error:  # whatever the library raises
        raise WeightsError(f"ONNX Runtime cannot quantise this network ({first_line(error)})") from error
