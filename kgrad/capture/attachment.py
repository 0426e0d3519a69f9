"""Puts a tap into a model's training and takes it out again, however the training ends."""

import itertools
import sys
import weakref
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from kgrad.capture.extras import Extras
from kgrad.capture.frames import ended_by, stack
from kgrad.capture.progress import Wanted
from kgrad.capture.tap import Tap, tap_on

# Optimizers whose `build` makes variables and does nothing else, as their code in Keras 3.15 shows. That of others is
# left to the training: ScheduleFreeAdamW's also assigns, which Keras throws away with the trace in which it is called.
_ONLY_MAKES_VARIABLES = frozenset(
    getattr(keras.optimizers, name, None)  # older Keras has not all of them
    for name in (
        *("SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "Adamax", "Adafactor", "Nadam", "Ftrl", "Lion"),
        *("Lamb", "Muon", "LossScaleOptimizer"),
    )
)

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
        plan: what of the next call of the training function is to be recorded.
        on_end: told when the fit has died, with the exception where there is one.
        extras: statistics beside the usual ones.
    """

    def __init__(
        self,
        model: keras.Model,
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
        callback_list, self._fit = _loop()
        if model.train_function is None:  # a loop of `train_on_batch` makes it only when it is first called
            model.make_train_function()
        self._original = model.train_function
        self._guarded: Callable[[Any], Any] | None = None
        if callback_list is not None:
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
            wanted = self._wanted()
            self.tap.recording, self.tap.detailed = wanted is not Wanted.NOTHING, wanted is Wanted.DETAILS
            try:
                return functions[wanted](iterator)
            except (StopIteration, tf.errors.OutOfRangeError):  # how the data says that an epoch has ended
                raise
            except BaseException as error:
                self._on_end(error)
                raise

        self._guarded = self.model.train_function = guarded

    def _wanted(self) -> Wanted:
        """What of the next call is recorded: nothing once something failed, which the callbacks then hear of."""
        try:
            return self._plan() if self.tap.failure is None else Wanted.NOTHING
        except Exception as error:
            self.tap.failure = error
            return Wanted.NOTHING

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
        optimizer other variables, so it is left alone, and so are several replicas, XLA and optimizers whose `build`
        does more.
        """
        own = type(self.model).train_step is not keras.Model.train_step
        kinds = {type(self.optimizer), type(getattr(self.optimizer, "inner_optimizer", self.optimizer))}
        alone = self.model.distribute_strategy.num_replicas_in_sync == 1
        ready = self.model.built and not self.optimizer.built and not self.model.jit_compile
        if alone and not own and ready and kinds <= _ONLY_MAKES_VARIABLES:
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
            self._on_end(ended_by(self._fit))
            self.detach()

    @property
    def is_alive(self) -> bool:
        """Whether the fit this belongs to is still running: its frame is on the stack."""
        return any(id(frame) == self._fit for frame in stack())


def _bury(attachment: "weakref.ref[Attachment]") -> None:
    dead = attachment()
    if dead is not None:
        dead.bury()


def _loop() -> tuple[Any, int]:
    """The list of callbacks that began the training, `None` where there is none, and the identity of the loop's frame.

    The loop is the frame that called the outermost `on_train_begin`: other callbacks and lists may pass the call on.
    """
    inner = itertools.takewhile(lambda frame: frame.f_code.co_name != "fit", stack())
    *_, begin = (frame for frame in inner if frame.f_code.co_name == "on_train_begin")
    caller = begin.f_locals.get("self")
    return (caller if isinstance(caller, keras.callbacks.CallbackList) else None), id(begin.f_back)
