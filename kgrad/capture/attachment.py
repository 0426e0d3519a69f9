"""Puts a tap into a model's training and takes it out again, however the training ends."""

from collections.abc import Callable
from typing import Any

import keras

from kgrad.capture.tap import Tap


class Attachment:
    """A tap in one model, for the length of one `fit`.

    Keras builds the training function before callbacks hear of it and traces it at the first step.
    The attachment builds a second one, which is traced with the tap in place, and leaves the first
    untouched: it is put back at the end.

    Args:
        model: the compiled model.
        on_error: told of an exception that leaves the training function.
    """

    def __init__(self, model: keras.Model, on_error: Callable[[BaseException], None]) -> None:
        self.model = model
        self.optimizer = model.optimizer
        self.tap = Tap(model.optimizer, int(model.steps_per_execution))
        self._on_error = on_error
        self._original = model.train_function
        self._guarded: Callable[[Any], Any] | None = None

    def attach(self) -> None:
        """Puts the tap in.

        Raises:
            CaptureError: another monitor is in already.
        """
        self.tap.install()
        self.model.make_train_function(force=True)
        traced = self.model.train_function

        def guarded(iterator: Any) -> Any:
            try:
                return traced(iterator)
            except StopIteration:  # Keras' way to say that the data has ended
                raise
            except BaseException as error:
                self._on_error(error)
                raise

        self._guarded = self.model.train_function = guarded

    def detach(self) -> None:
        """Leaves model and optimizer as they were; harmless when nothing is attached."""
        self.tap.remove()
        if self._guarded is not None and self.model.train_function is self._guarded:
            self.model.train_function = self._original
        self._guarded = None
