"""Export networks to the formats of other programs, and import weights from them."""

from dcgan_jax.interop.common import NETWORKS, WeightsError
from dcgan_jax.interop.examples import make_examples, write_examples
from dcgan_jax.interop.keras import (
    discriminator_from_keras,
    discriminator_to_keras,
    generator_from_keras,
    generator_to_keras,
)
from dcgan_jax.interop.keras_files import export_keras
from dcgan_jax.interop.onnx_check import check_onnx
from dcgan_jax.interop.onnx_quantized import export_quantized_onnx
from dcgan_jax.interop.programs import export_onnx, export_stablehlo
from dcgan_jax.interop.pytorch import export_torch
from dcgan_jax.interop.tflite import check_tflite, export_tflite
from dcgan_jax.interop.weights import (
    export_safetensors,
    import_weights,
    match_weights,
    read_weights,
    replace_weights,
)

__all__ = [
    "NETWORKS",
    "WeightsError",
    "check_onnx",
    "check_tflite",
    "discriminator_from_keras",
    "discriminator_to_keras",
    "export_keras",
    "export_onnx",
    "export_quantized_onnx",
    "export_safetensors",
    "export_stablehlo",
    "export_torch",
    "export_tflite",
    "generator_from_keras",
    "generator_to_keras",
    "import_weights",
    "make_examples",
    "match_weights",
    "read_weights",
    "replace_weights",
    "write_examples",
]
