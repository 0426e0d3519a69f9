"""The frames of the running thread: all that tells a callback of the `fit` above it."""

import sys
from collections.abc import Iterator
from types import FrameType


def stack() -> Iterator[FrameType]:
    """The frames of this thread, innermost first."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def ended_by(frame: int) -> BaseException | None:
    """The exception that ended the call with this frame, where Python still knows of it.

    That is the one being handled, or the last one that nobody caught: a script's, or that of a notebook's cell.

    Args:
        frame: identity of the frame, as `id` gives it.
    """
    for error in (sys.exception(), getattr(sys, "last_value", None)):
        trace = error.__traceback__ if error is not None else None
        while trace is not None:
            if id(trace.tb_frame) == frame:
                return error
            trace = trace.tb_next
    return None
