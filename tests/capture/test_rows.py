import keras
import numpy as np
import pytest
import tensorflow as tf

from kgrad.capture import stacks, statistics
from kgrad.capture.rows import HEADER, Rows
from kgrad.capture.stacks import Stacks
from kgrad.log.statistics import gradient_statistics, update_statistics

SHAPES = [(3, 4), (4,), (4, 4), (4,), (4, 4), (4,), (), (2, 2, 1, 4)]


def tensors(seed, shapes=SHAPES):
    generator = np.random.default_rng(seed)
    return [tf.constant(generator.normal(size=shape), tf.float32) for shape in shapes]


def rows_of(gradients, before, after, detailed, scale=1.0):
    """The block of one step as the ring would hold it."""
    made = Stacks(gradients, before)
    parts = (
        statistics.parts_of(made, gradients, before, after) if detailed else statistics.brief_parts_of(made, gradients)
    )
    header = {**dict.fromkeys(HEADER, 0.0), "loss_scale": scale, "detailed": float(detailed)}
    row = np.concatenate([list(header.values()), *(part.numpy() for part in parts)]).astype(np.float32)
    return Rows(before, made, keras.optimizers.SGD()), row


@pytest.mark.parametrize("largest", [0, 12, 10_000])
def test_stacked_or_not_the_statistics_are_the_oracles(largest, monkeypatch):
    """Whatever is stacked (nothing, some, all of one shape), each variable gets its own numbers."""
    monkeypatch.setattr(stacks, "_LARGEST", largest)
    gradients, before, after = tensors(1), tensors(2), tensors(3)
    gradients[4] = tf.where(gradients[4] > 0, gradients[4], 0.0)
    rows, row = rows_of(gradients, before, after, detailed=True)
    found = rows.block(row[None]).statistics
    for place, (gradient, old, new) in enumerate(zip(gradients, before, after, strict=True)):
        for name, value in (gradient_statistics(gradient) | update_statistics(old, new)).items():
            # The spread is a difference of larger numbers: of a single element it is rounding alone.
            slack = 3e-4 if name == "gradient_std" else 1e-6
            assert found[name][0, place] == pytest.approx(value, rel=1e-5, abs=slack), (name, place)


def test_stacks_are_made_of_small_variables_of_one_shape_and_kind():
    small, large = tf.zeros((8,)), tf.zeros((2000,))
    half = tf.zeros((8,), tf.float16)
    made = Stacks([small, small, large, large, small, None], [small, small, large, large, half, small])
    pieces = made.pieces([small, small, large, large, small, None])
    assert [None if piece is None else tuple(piece.values.shape) for piece in pieces] == [
        (2000,),
        (2000,),
        (8,),
        None,
        (2, 8),
    ]


@pytest.mark.parametrize("detailed", [True, False])
def test_a_gradient_that_is_not_finite_is_told_in_every_step(detailed):
    """With all statistics the elements are counted; with the norms alone it is known that there are some."""
    gradients = tensors(1)
    gradients[2] = tf.concat([tf.constant([[np.nan, np.inf, 1.0, 0.0]]), gradients[2][1:]], 0)
    gradients[6] = None
    rows, row = rows_of(gradients, tensors(2), tensors(3), detailed)
    found = rows.block(row[None]).statistics
    expected = np.zeros(len(SHAPES))
    expected[2] = 2 if detailed else 1
    np.testing.assert_array_equal(found["nonfinite_count"][0], expected)
    assert np.isnan(found["gradient_norm"][0, [2, 6]]).all()
    assert np.isfinite(found["gradient_norm"][0, [0, 1, 3, 4, 5, 7]]).all()


def test_norms_that_float32_squares_lose_stand_as_when_all_was_taken():
    """1e-20: its square is under float32's range. A step with all statistics rebuilds the norm, others keep it."""
    tiny = [tf.fill(shape, 1e-20) for shape in SHAPES]
    rows, whole = rows_of(tiny, tensors(2), tensors(3), detailed=True)
    _, brief = rows_of(tiny, tensors(2), tensors(3), detailed=False)
    _, alive = rows_of(tensors(1), tensors(2), tensors(3), detailed=False)
    first = rows.block(np.stack([whole, brief, alive, brief])).statistics["gradient_norm"]
    np.testing.assert_array_equal(first[1], first[0])
    np.testing.assert_array_equal(first[3], first[0])
    assert (first[0] > 0).all()
    assert (first[2, [0, 1, 2]] > 0.1).all()
    later = rows.block(brief[None]).statistics["gradient_norm"]
    np.testing.assert_array_equal(later[0], first[0])


def test_a_norm_that_falls_out_of_range_between_is_not_kept_high():
    rows, whole = rows_of(tensors(1), tensors(2), tensors(3), detailed=True)
    _, brief = rows_of([tf.zeros(shape) for shape in SHAPES], tensors(2), tensors(3), detailed=False)
    norms = rows.block(np.stack([whole, brief])).statistics["gradient_norm"]
    assert (norms[0] > 1e-3).all()
    assert (norms[1] <= 1e-15).all()
