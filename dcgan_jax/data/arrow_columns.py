"""Columns of Arrow tables as NumPy arrays."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dcgan_jax.data.common import DatasetError


def read_labels(column: Any) -> np.ndarray | None:
    """A column of labels as an array [N], or None if some are missing."""
    import pyarrow.types as types

    values = column.combine_chunks()
    values = values.dictionary_decode() if types.is_dictionary(values.type) else values
    if values.null_count:
        return None
    array = values.to_numpy(zero_copy_only=False)
    return array.astype(str) if array.dtype == object and len(array) and isinstance(array[0], str) else array


def stack_lists(chunks: Sequence[Any], what: str) -> np.ndarray:
    """Stack nested lists of numbers to [N, ...]. Raises: DatasetError if lengths differ or values are missing."""
    parts = [_stack_chunk(chunk, what) for chunk in chunks if len(chunk)]
    shapes = {part.shape[1:] for part in parts}
    if len(shapes) != 1:
        some = " and ".join(str(list(shape)) for shape in sorted(shapes)[:2]) or "no rows"
        raise DatasetError(f"{what} has images of several shapes ({some}): they must be of one")
    return np.concatenate(parts) if len(parts) > 1 else parts[0]


def _stack_chunk(values: Any, what: str) -> np.ndarray:
    import pyarrow as pa
    import pyarrow.compute as pc

    shape, values = [len(values)], getattr(values, "storage", values)
    while pa.types.is_nested(values.type):
        lengths = pc.unique(pc.list_value_length(values)).to_pylist()  # pyright: ignore[reportAttributeAccessIssue]
        if len(lengths) != 1 or lengths[0] is None:
            some = " and ".join("none" if each is None else str(each) for each in lengths[:2]) or "no rows"
            raise DatasetError(f"{what} has lists of several lengths ({some}): images must be of one size")
        shape.append(lengths[0])
        values = values.flatten()
    if values.null_count:
        raise DatasetError(f"{what} has pixels without a value")
    return values.to_numpy(zero_copy_only=False).reshape(shape)
