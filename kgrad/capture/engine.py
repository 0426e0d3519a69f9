"""Which Keras trains: gradients are recorded of Keras 3 on TensorFlow, and nothing else is taken for it."""

from typing import Any

import keras

from kgrad.errors import CaptureError


def refuse_foreign(model: Any) -> None:
    """Raises where something other than Keras 3 on TensorFlow trains the model.

    Raises:
        CaptureError: with what to do instead.
    """
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise CaptureError(
            f"Keras runs on {backend}; gradients are recorded on TensorFlow: set KERAS_BACKEND=tensorflow before "
            "Keras is imported"
        )
    if not isinstance(model, keras.Model):
        raise CaptureError(
            f"the model is a {type(model).__module__}.{type(model).__name__}, not one of Keras 3; train a keras.Model, "
            "or record a loop of your own with kgrad.GradientRecorder"
        )
    if model.optimizer is None:
        raise CaptureError(
            "the model has no optimizer; compile it with one, or record a loop of your own with kgrad.GradientRecorder"
        )
