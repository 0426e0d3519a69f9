"""Static pictures of a run as SVG and PNG: what the page shows without a script."""

import base64
import struct
import zlib
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

# viridis (Smith & van der Walt 2015, CC0) at nine places: readable in grey and with colour blindness.
_VIRIDIS = np.array(
    [
        (68, 1, 84), (71, 44, 122), (59, 81, 139), (44, 113, 142), (33, 144, 141),
        (39, 173, 129), (92, 200, 99), (170, 220, 50), (253, 231, 37),
    ],
    dtype=np.float64,
)  # fmt: skip
_MISSING = np.array([150, 150, 150])
WIDTH, HEIGHT = 960, 220


@dataclass(frozen=True)
class Curve:
    """A line in a picture: SVG path data, with where it lies."""

    name: str
    path: str


@dataclass(frozen=True)
class Axis:
    """What the ends of the vertical axis mean."""

    low: str
    high: str


def log10(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Decimal logarithm; NaN for what is not positive and finite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log10(values)
    return np.where(np.isfinite(logs), logs, np.nan)


def thin(count: int, most: int) -> list[slice]:
    """Slices that cut `count` steps into at most `most` pieces of like length."""
    edges = np.linspace(0, count, min(count, most) + 1).astype(int)
    return [slice(a, b) for a, b in pairwise(edges)]


def envelope(values: NDArray[np.float64], most: int = 480) -> NDArray[np.float64]:
    """At most `2 * most` values of a series, keeping the least and the largest of each piece."""
    if len(values) <= 2 * most:
        return values
    pieces = [values[part] for part in thin(len(values), most)]
    ends = [(np.nan, np.nan) if np.isnan(p).all() else (np.nanmin(p), np.nanmax(p)) for p in pieces]
    return np.array(ends).ravel()


def curves(series: dict[str, NDArray[np.float64]], logarithmic: bool) -> tuple[list[Curve], Axis]:
    """SVG paths of some series over one axis of steps, in a box of `WIDTH` x `HEIGHT`."""
    prepared = {name: envelope(log10(v) if logarithmic else _finite(v)) for name, v in series.items()}
    known = np.concatenate([v[~np.isnan(v)] for v in prepared.values()] or [np.zeros(0)])
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    span = (high - low) or 1.0
    made = [Curve(name, _path(values, low, span)) for name, values in prepared.items()]
    return made, Axis(_label(low, logarithmic), _label(high, logarithmic))


def _finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.isfinite(values), values, np.nan)


def _label(value: float, logarithmic: bool) -> str:
    return f"{10**value:.2g}" if logarithmic else f"{value:.3g}"


def _path(values: NDArray[np.float64], low: float, span: float) -> str:
    across = np.linspace(0, WIDTH, max(len(values), 2))
    down = HEIGHT - HEIGHT * (values - low) / span
    parts, pen_up = [], True
    for x, y in zip(across, down, strict=False):
        if np.isnan(y):
            pen_up = True
            continue
        parts.append(f"{'M' if pen_up else 'L'}{x:.1f} {y:.1f}")
        pen_up = False
    return "".join(parts)


def heatmap(values: NDArray[np.float64], most: int = 480) -> tuple[str, float, float]:
    """A picture of log10 values, one row per layer, one column per piece of steps.

    Args:
        values: shape `(steps, layers)`, positive; what is zero or not finite is drawn grey.
        most: columns at most; a column shows the median of its steps.

    Returns:
        A `data:` URL of a PNG, and the least and largest logarithm shown.
    """
    logs = log10(values)
    pieces = [logs[part] for part in thin(len(logs), most)]
    with np.errstate(all="ignore"):
        columns = np.array([_median(piece) for piece in pieces]).T
    known = columns[~np.isnan(columns)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    return _png(_colours((columns - low) / ((high - low) or 1.0))), low, high


def _median(piece: NDArray[np.float64]) -> NDArray[np.float64]:
    ordered = np.sort(piece, axis=0)  # NaN sorts to the end
    known = np.count_nonzero(~np.isnan(piece), axis=0)
    middle = np.maximum(known - 1, 0) // 2
    return np.where(known > 0, ordered[middle, np.arange(piece.shape[1])], np.nan)


def _colours(share: NDArray[np.float64]) -> NDArray[np.uint8]:
    place = np.clip(np.nan_to_num(share), 0, 1) * (len(_VIRIDIS) - 1)
    left = np.minimum(place.astype(int), len(_VIRIDIS) - 2)
    weight = (place - left)[..., None]
    mixed = _VIRIDIS[left] * (1 - weight) + _VIRIDIS[left + 1] * weight
    return np.where(np.isnan(share)[..., None], _MISSING, mixed).astype(np.uint8)


def _png(pixels: NDArray[np.uint8]) -> str:
    """A `data:` URL of RGB pixels, shape `(rows, columns, 3)`. Source: PNG specification, RFC 2083."""
    rows, columns = pixels.shape[:2]
    raw = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(raw, 9)), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + body).decode()
