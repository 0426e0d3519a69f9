"""Puts a tap into a model's training and takes it out again, however the training ends."""

import sys
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any

import keras
import tensorflow as tf

from kgrad.capture.extras import Extras
from kgrad.capture.progress import Wanted
from kgrad.capture.tap import Tap, tap_on

# Attachments by the tap they put in: how a new fit finds what a dead one left behind.
_ATTACHED: "weakref.WeakKeyDictionary[Tap, Attachment]" = weakref.WeakKeyDictionary()


class Attachment:
    """A tap in one model, for the length of one `fit`.

    Keras builds the training function before callbacks hear of it and traces it at the first step.
    The attachment builds a second one, which is traced with the tap in place, a third for steps of which
    only the norms are wanted, and leaves the first untouched: it is put back at the end.

    Keras does not call `on_train_end` when an exception ends a fit. An attachment notices by itself:
    an exception in the step passes through it; one elsewhere frees fit's list of callbacks; and where
    a kept traceback holds even that, the next fit, with or without a monitor, finds it dead.

    Args:
        model: the compiled model.
        callback_list: the list of callbacks of this fit.
        plan: what of the next call of the training function is to be recorded.
        on_end: told when the fit has died, with the exception where there is one.
        extras: statistics beside the usual ones.
    """

    def __init__(
        self,
        model: keras.Model,
        callback_list: Any,
        plan: Callable[[], Wanted],
        on_end: Callable[[BaseException | None], None],
        extras: Extras | None = None,
    ) -> None:
        self.model = model
        self.optimizer = model.optimizer
        self._extras = extras
        self.tap = self._new_tap()
        self._plan = plan
        self._on_end = on_end
        self._fit = _fit_frame(callback_list)
        self._original = model.train_function
        self._guarded: Callable[[Any], Any] | None = None
        if isinstance(callback_list, keras.callbacks.CallbackList):
            weakref.finalize(callback_list, _bury, weakref.ref(self))

    def attach(self) -> None:
        """Puts the tap in.

        Raises:
            CaptureError: another monitor is in already.
        """
        earlier = tap_on(self.optimizer)
        if earlier is not None and not _ATTACHED[earlier].is_alive:
            _ATTACHED[earlier].bury()
            self._original = self.model.train_function
        self.tap.install()
        _ATTACHED[self.tap] = self
        self._build_optimizer()
        functions = {Wanted.NOTHING: self._original}
        for wanted in (Wanted.NORMS, Wanted.DETAILS):
            self.model.make_train_function(force=True)
            functions[wanted] = self.model.train_function

        def guarded(iterator: Any) -> Any:
            if id(sys._getframe(1)) != self._fit and not self.is_alive:
                self.bury()
                return self.model.train_function(iterator)
            # Each function is traced at its first call: what the tap adds then stays with it.
            wanted = self._plan()
            self.tap.recording, self.tap.detailed = wanted is not Wanted.NOTHING, wanted is Wanted.DETAILS
            try:
                return functions[wanted](iterator)
            except (StopIteration, tf.errors.OutOfRangeError):  # how the data says that an epoch has ended
                raise
            except BaseException as error:
                self._on_end(error)
                raise

        self._guarded = self.model.train_function = guarded

    @property
    def is_lost(self) -> bool:
        """Whether the model was compiled anew in the middle of the fit, which drops the tap."""
        return self.model.optimizer is not self.optimizer or self.model.train_function is not self._guarded

    def attach_again(self) -> None:
        """Puts a new tap in after the model was compiled anew."""
        self.tap.remove()
        self.optimizer = self.model.optimizer
        self.tap = self._new_tap()
        self.model.make_train_function()
        self._original = self.model.train_function
        self.attach()

    def _build_optimizer(self) -> None:
        """Makes the optimizer's variables now.

        Keras makes them while it traces the first step, for which TensorFlow has to trace it a second time: with
        that saved, two traced functions take no longer than one. A training step of the user's own may give the
        optimizer other variables, so it is left alone, and so are several replicas and XLA.
        """
        own = type(self.model).train_step is not keras.Model.train_step
        alone = self.model.distribute_strategy.num_replicas_in_sync == 1
        ready = self.model.built and not self.optimizer.built and not self.model.jit_compile
        if alone and not own and ready:
            self.optimizer.build(self.model.trainable_variables)

    def _new_tap(self) -> Tap:
        return Tap(self.optimizer, int(self.model.steps_per_execution), self.model.distribute_strategy, self._extras)

    def detach(self) -> None:
        """Leaves model and optimizer as they were; harmless when nothing is attached."""
        self.tap.remove()
        if self._guarded is not None and self.model.train_function is self._guarded:
            self.model.train_function = self._original
        self._guarded = None

    def bury(self) -> None:
        """Takes out what a dead fit left behind and says so; harmless when it ended properly."""
        if self._guarded is not None:
            self._on_end(None)
            self.detach()

    @property
    def is_alive(self) -> bool:
        """Whether the fit this belongs to is still running: its frame is on the stack."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and id(frame) != self._fit:
            frame = frame.f_back
        return frame is not None


def _bury(attachment: "weakref.ref[Attachment]") -> None:
    dead = attachment()
    if dead is not None:
        dead.bury()


def _fit_frame(callback_list: Any) -> int:
    """The identity of the frame of `fit`: the caller of its list of callbacks."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "on_train_begin" and frame.f_locals.get("self") is callback_list:
            return id(frame.f_back)
        frame = frame.f_back
    return 0
