"""The rows that a probe keeps: few, spread over the batch, and its own."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kgrad.capture.probe import Probe
from kgrad.errors import CaptureError

from .probe_rows import rows_of

LAYERS = keras.layers


def test_memory_is_bounded_and_the_rows_are_spread_over_the_batch() -> None:
    model = keras.Sequential([keras.Input((6,)), LAYERS.Dense(1)])
    x = np.repeat(np.arange(1000, dtype=np.float32)[:, None], 6, axis=1)
    y = np.zeros((1000, 1), np.float32)
    probe = Probe(model, x, y, max_rows=11)
    assert (probe.rows, probe.nbytes) == (11, 11 * 28)
    kept = probe._batch[0].numpy()[:, 0]
    np.testing.assert_allclose(np.diff(kept), 100, atol=1)
    assert (kept[0], kept[-1]) == (0, 999)
    small = Probe(model, x, y, max_bytes=28 * 7 + 5)
    assert (small.rows, small.nbytes) == (7, 28 * 7)
    x[:] = -1
    assert probe._batch[0].numpy().min() == 0
    nested = Probe(model, {"a": x, "b": [tf.constant(x)]}, None, max_rows=3)
    assert (nested.rows, nested.nbytes) == (3, 3 * 48)


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (rows_of(4), {"max_bytes": 10}, "one takes 24 bytes"),
        (rows_of(4), {"max_rows": 0}, "keeps no row"),
        (rows_of(0), {}, "common number of rows"),
        ([rows_of(4), rows_of(5)], {}, r"common number of rows, and have \[4, 5\]"),
        (np.float32(1.0), {}, "common number of rows"),
        (tf.ragged.constant([[1.0], [1.0, 2.0]]), {}, "ragged"),
        (tf.sparse.from_dense(rows_of(4)), {}, "sparse"),
    ],
)
def test_batches_that_cannot_be_cut_are_refused(x: Any, options: dict[str, int], message: str) -> None:
    model = keras.Sequential([keras.Input((6,)), LAYERS.Dense(1)])
    with pytest.raises(CaptureError, match=message):
        Probe(model, x, **options)
