"""The rows of a reference batch that a probe keeps: few, and spread over the batch."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kgrad.errors import CaptureError


def bounded(batch: Any, max_rows: int, max_bytes: int) -> Any:
    """The batch as tensors of its own, cut to rows evenly spaced over it: files are often sorted by class."""
    leaves = [leaf for leaf in keras.tree.flatten(batch) if leaf is not None]
    if any(isinstance(leaf, tf.RaggedTensor | tf.SparseTensor) for leaf in leaves):
        raise CaptureError("The probe cannot cut a ragged or sparse batch; give it dense arrays.")
    counts = {int(np.shape(leaf)[0]) for leaf in leaves if np.ndim(leaf)}
    if len(counts) != 1 or counts == {0} or not all(np.ndim(leaf) for leaf in leaves):
        raise CaptureError(f"The probe's arrays need one common number of rows, and have {sorted(counts)}.")
    available = counts.pop()
    row_bytes = sum(nbytes(leaf) for leaf in leaves) / available
    rows = min(available, max_rows, int(max_bytes / max(row_bytes, 1)))
    if rows < 1:
        raise CaptureError(
            f"The probe keeps no row: one takes {row_bytes:.0f} bytes, max_bytes is {max_bytes} and "
            f"max_rows is {max_rows}."
        )
    kept = np.linspace(0, available - 1, rows).round().astype(np.int64)
    return keras.tree.map_structure(lambda leaf: None if leaf is None else tf.gather(leaf, kept), batch)


def nbytes(leaf: Any) -> int:
    """Memory of an array or tensor, in bytes."""
    if isinstance(leaf, tf.Tensor):
        return int(np.prod(leaf.shape)) * int(leaf.dtype.size or 1)
    return int(np.asarray(leaf).nbytes)
