"""Numbers for the page's script as one compressed blob: small, exact where it matters, the same bytes each time.

A norm travels as the logarithm in hundredths of a decade (half a step is 1.2 %), two bytes each, the low bytes before
the high ones because that compresses better. `assets/report/data.js` is the other side of this file.
"""

import base64
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kgrad.log.run_log import FloatArray

MISSING, BROKEN, ZERO, FIRST = 0, 1, 2, 3
# The least positive float64 lies just over 1e-324, the largest under 1e309: every norm has a code.
_LEAST, _PER_DECADE = -324, 100


def codes(values: FloatArray, broken: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """One code for each value: missing, broken, zero, or its logarithm.

    >>> codes(np.array([1.0, 0.0, np.nan, 5.0]), np.array([False, False, False, True])).tolist()
    [32403, 2, 0, 1]
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithms = np.rint((np.log10(values) - _LEAST) * _PER_DECADE) + FIRST
    coded = np.where(np.isfinite(logarithms), logarithms, MISSING)
    coded = np.where(values == 0, ZERO, coded)
    return np.where(broken, BROKEN, coded).astype(np.uint16)


class Packing:
    """Gathers arrays into one blob and remembers where each lies."""

    def __init__(self) -> None:
        self._parts: dict[str, dict[str, Any]] = {}
        self._bytes: list[bytes] = []
        self._length = 0

    def add_codes(self, name: str, coded: NDArray[np.uint16]) -> None:
        """Adds what `codes` gave, of shape `(bins, layers)`, layer after layer."""
        flat = coded.T.ravel()
        planes = (flat & 0xFF).astype(np.uint8).tobytes() + (flat >> 8).astype(np.uint8).tobytes()
        self._add(name, "codes", flat.size, planes)

    def add_floats(self, name: str, values: FloatArray) -> None:
        """Adds a series in single precision."""
        with np.errstate(over="ignore"):
            self._add(name, "floats", values.size, values.astype("<f4").tobytes())

    def add_steps(self, name: str, steps: NDArray[np.int64]) -> None:
        """Adds step numbers, exactly."""
        self._add(name, "steps", steps.size, steps.astype("<f8").tobytes())

    def _add(self, name: str, kind: str, count: int, content: bytes) -> None:
        self._parts[name] = {"at": self._length, "count": count, "kind": kind}
        self._bytes.append(content)
        self._length += len(content)

    def to_dict(self) -> dict[str, Any]:
        """The parts and the blob: zlib (RFC 1950), base64."""
        blob = base64.b64encode(zlib.compress(b"".join(self._bytes), 6)).decode()
        return {"blob": blob, "parts": self._parts}
