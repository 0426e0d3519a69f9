import keras
import pytest

from kgrad.capture.describe import describe
from kgrad.log.objective import Loss


def described(**settings):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
    model.compile(**settings)
    return describe(model, {})


@pytest.mark.parametrize(
    ("loss", "name", "from_logits"),
    [
        ("mse", "mean_squared_error", False),
        ("categorical_crossentropy", "categorical_crossentropy", False),
        (keras.losses.mean_absolute_error, "mean_absolute_error", False),
        (keras.losses.SparseCategoricalCrossentropy(from_logits=True), "sparse_categorical_crossentropy", True),
    ],
)
def test_a_loss_is_known_again_from_what_run_json_says(loss, name, from_logits):
    known = Loss.parse(described(loss=loss)["loss"])
    assert (known.name, known.from_logits) == (name, from_logits)


def test_weights_on_the_loss_are_kept():
    assert described(loss="mse", loss_weights=0.01)["loss_weights"] == 0.01
    assert described(loss="mse")["loss_weights"] is None
