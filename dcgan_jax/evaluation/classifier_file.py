"""Files of classifiers of data other than MNIST: an ``.npz`` of the weights and a description of their training."""

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcgan_jax.errors import first_line
from dcgan_jax.evaluation.classifier import ClassifierError, DigitClassifier, named_arrays, nest
from dcgan_jax.files import replace_file

FORMAT = 1
_ABOUT = "about"
_LARGEST = 2**24  # bytes; the weights take 0.8 MB and grow by 516 bytes per class


class Classifier(NamedTuple):
    """A trained classifier of images [28, 28, 1].

    Attributes:
      variables: of `DigitClassifier`.
      classes: the names of the classes, in the order of the logits.
      data: the data set's name or path.
      data_digest: SHA-256 of its training images, without labels.
      accuracy: share of the ``tested_on`` images classified correctly, 0 to 1.
      tested_on: a description of the test images.
      epochs, seed: of the training.
    """

    variables: dict[str, Any]
    classes: tuple[str, ...]
    data: str
    data_digest: str
    accuracy: float
    tested_on: str
    epochs: int
    seed: int

    def digest(self) -> str:
        """SHA-256 of the weights and all other fields, in hexadecimal; it identifies the features."""
        sha256 = hashlib.sha256(json.dumps(self._about(), sort_keys=True).encode())
        for name, array in sorted(named_arrays(self.variables).items()):
            sha256.update(repr((name, array.shape, array.dtype.str)).encode())
            sha256.update(np.ascontiguousarray(array).data)
        return sha256.hexdigest()

    def _about(self) -> dict[str, Any]:
        return {"format": FORMAT, **{name: value for name, value in self._asdict().items() if name != "variables"}}

    def content(self) -> bytes:
        """The bytes of a file that `read_classifier` reads."""
        about = json.dumps({**self._about(), "sha256": self.digest()})
        content, arrays = io.BytesIO(), dict[str, Any](named_arrays(self.variables))
        np.savez(content, **{_ABOUT: np.array(about)}, **arrays)
        return content.getvalue()


def write_classifier(path: Path, classifier: Classifier) -> None:
    """Write a classifier to a file atomically.

    Raises:
      OSError: if the file cannot be written.
    """
    replace_file(path, lambda partial: partial.write_bytes(classifier.content()))


def read_classifier(path: Path) -> Classifier:
    """Read a classifier from a file of `write_classifier`; nothing is unpickled.

    Raises:
      ClassifierError: if the file cannot be read, is not a classifier, has another format version, or is damaged.
    """
    try:
        classifier, digest = _parse(path)
    except ClassifierError:
        raise
    except OSError as error:
        raise ClassifierError(f"cannot read the classifier {path} ({error.strerror or first_line(error)})") from error
    except Exception as error:  # whatever the parsers raise for a damaged archive
        raise ClassifierError(
            f"{path} is no classifier, or is damaged: dcgan-jax train-classifier writes one"
        ) from error
    if classifier.digest() != digest:
        raise ClassifierError(f"the classifier {path} is damaged: its content has another digest: train it again")
    return classifier


def _parse(path: Path) -> tuple[Classifier, str]:
    """A file's classifier, and the digest recorded in the file."""
    with zipfile.ZipFile(path) as archive:  # checked before NumPy allocates: a small file may expand to a huge one
        if sum(info.file_size for info in archive.infolist()) > _LARGEST:
            raise ClassifierError(f"{path} is no classifier: it is too large for one")
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        about = json.loads(str(arrays[_ABOUT]))
        weights = {name: arrays[name] for name in arrays.files if name != _ABOUT}
    version, digest = about.pop("format"), about.pop("sha256")
    if version != FORMAT:
        raise ClassifierError(f"the classifier {path} is of format {version}, this version reads {FORMAT}")
    variables = nest(weights)
    classes = tuple(map(str, about.pop("classes")))
    expected = jax.eval_shape(DigitClassifier(len(classes)).init, jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
    jax.tree.map(_check_like, expected, variables)
    return Classifier(variables, classes, **about), digest


def _check_like(expected: jax.ShapeDtypeStruct, found: jax.Array) -> None:
    if (found.shape, found.dtype) != (expected.shape, expected.dtype):
        raise ValueError(f"{found.shape} {found.dtype} instead of {expected.shape} {expected.dtype}")
    if not bool(jnp.isfinite(found).all()):
        raise ValueError("not finite")
