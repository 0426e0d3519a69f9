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
