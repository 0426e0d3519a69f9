"""Static pictures of a run as SVG paths and PNG: what the page shows without its script, and on paper."""

import base64
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from kgrad.diagnosis import Phase
from kgrad.log.run_log import FloatArray
from kgrad.reporters.binning import Bins, Reduced
from kgrad.reporters.wording import number, steps_between

# viridis (Smith & van der Walt 2015, CC0) at nine places: readable in grey and with colour blindness.
_VIRIDIS = np.array(
    [
        (68, 1, 84), (71, 44, 122), (59, 81, 139), (44, 113, 142), (33, 144, 141),
        (39, 173, 129), (92, 200, 99), (170, 220, 50), (253, 231, 37),
    ],
    dtype=np.float64,
)  # fmt: skip
# Not on the scale, and unlike it for every kind of colour vision by its lightness beside its neighbours.
_OFF_SCALE = np.array([(150, 150, 150), (20, 20, 24), (213, 94, 0)])
_SHADES = 253
_MISSING, _ZERO, _BROKEN = range(_SHADES, 256)
WIDTH, HEIGHT = 960, 240
# Points of a static curve: more cannot be told apart at this width.
_MOST_POINTS = 480


@dataclass(frozen=True)
class Curve:
    """A line in a picture, in a box of `WIDTH` x `HEIGHT`.

    Attributes:
        path: SVG path data of the medians.
        trend: SVG path data of the running median.
        band: SVG path data of the range between extremes, empty where each point is one step.
        low: what the lower edge means.
        high: what the upper edge means.
    """

    path: str
    trend: str
    band: str
    low: str
    high: str


@dataclass(frozen=True)
class Lines:
    """A few lines in one picture, in a box of `WIDTH` x `HEIGHT`.

    Attributes:
        paths: SVG path data of each.
        low: what the lower edge means.
        high: what the upper edge means.
    """

    paths: tuple[str, ...]
    low: str
    high: str


@dataclass(frozen=True)
class Stretch:
    """A phase as a piece of the timeline: left end and width in the units of `WIDTH`."""

    name: str
    left: str
    width: str
    says: str


def stretches(phases: tuple[Phase, ...], bins: Bins) -> tuple[Stretch, ...]:
    """The phases along the width of a picture."""
    if not len(bins):
        return ()
    first, scale = int(bins.first[0]), WIDTH / max(int(bins.last[-1]) - int(bins.first[0]) + 1, 1)
    return tuple(
        Stretch(
            phase.name,
            f"{(phase.first_step - first) * scale:.1f}",
            f"{(phase.last_step - phase.first_step + 1) * scale:.1f}",
            f"{phase.name}, {steps_between(phase.first_step, phase.last_step)}",
        )
        for phase in phases
    )


def curve(series: Reduced, bins: Bins, logarithmic: bool) -> Curve:
    """A series over the steps."""
    low, middle, high = (_prepared(each, logarithmic) for each in (series.low, series.middle, series.high))
    least, most = _range((low, high))
    across = _across(bins)
    edges = [_points(across, _down(each, least, most)) for each in (low, high)]
    return Curve(
        path=_path(across, _down(middle, least, most)),
        trend=_path(across, _down(running_median(middle), least, most)) if has_trend(middle) else "",
        band=f"M{'L'.join([*edges[1], *edges[0][::-1]])}Z" if not bins.exact and edges[0] else "",
        low=_label(least, logarithmic),
        high=_label(most, logarithmic),
    )


def lines(series: Sequence[FloatArray], *, logarithmic: bool) -> Lines:
    """Lines over the same places, from the left edge to the right one.

    Args:
        series: values of each line, NaN where a line is broken, each of shape `(places,)`.
        logarithmic: whether the height is the logarithm.
    """
    prepared = [_prepared(each, logarithmic) for each in series]
    least, most = _range(prepared)
    across = np.linspace(0, WIDTH, len(series[0]))
    paths = tuple(_path(across, _down(each, least, most)) for each in prepared)
    return Lines(paths, _label(least, logarithmic), _label(most, logarithmic))


def window(count: int) -> int:
    """How many neighbours the running median of so many values looks at: a fiftieth of them, an odd number."""
    return max(5, count // 50 // 2 * 2 + 1)


def has_trend(values: FloatArray) -> bool:
    """Whether a series is long enough for a running median to say something: five windows of finite values."""
    return int(np.isfinite(values).sum()) >= 5 * window(len(values))


def running_median(values: FloatArray) -> FloatArray:
    """Median of each value and its neighbours, fewer at the ends; NaN where the value is not finite.

    >>> running_median(np.array([1.0, 9.0, 1.0, 1.0, 1.0, 1.0])).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    half = window(len(values)) // 2
    padded = np.pad(values, half, constant_values=np.nan)
    ordered = np.sort(np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1), axis=1)  # NaN sorts to the end
    last = np.maximum(np.count_nonzero(~np.isnan(ordered), axis=1) - 1, 0)
    middle = ordered[np.arange(len(values)), last // 2]
    return np.where(np.isnan(values), np.nan, middle)


def _range(series: Sequence[FloatArray]) -> tuple[float, float]:
    known = np.concatenate([each[~np.isnan(each)] for each in series])
    return (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)


def envelope(values: FloatArray, most: int = _MOST_POINTS) -> FloatArray:
    """At most `2 * most` values of a series, keeping the least and the largest of each piece."""
    if len(values) <= 2 * most:
        return values
    return values[_kept(values, most)]


def _kept(values: FloatArray, most: int) -> NDArray[np.int64]:
    """Positions of the least and the largest of each piece, in order."""
    edges = np.linspace(0, len(values), most + 1).astype(int)
    kept: set[int] = set()
    for a, b in pairwise(edges):
        known = np.flatnonzero(~np.isnan(values[a:b]))
        if len(known):
            piece = values[a:b][known]
            kept |= {int(a + known[piece.argmin()]), int(a + known[piece.argmax()])}
        else:
            kept.add(int(a))
    return np.array(sorted(kept), dtype=np.int64)


def _across(bins: Bins) -> FloatArray:
    span = max(int(bins.last[-1]) - int(bins.first[0]) + 1, 1)
    return np.asarray(WIDTH * (bins.first - bins.first[0] + 0.5) / span)


def _prepared(values: FloatArray, logarithmic: bool) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        shown = np.log10(values) if logarithmic else values
    return np.where(np.isfinite(shown), shown, np.nan)


def _down(values: FloatArray, low: float, high: float) -> FloatArray:
    return HEIGHT - HEIGHT * (values - low) / ((high - low) or 1.0)


def _label(value: float, logarithmic: bool) -> str:
    return number(10**value if logarithmic else value)


def _points(across: FloatArray, down: FloatArray) -> list[str]:
    return [f"{x:.0f} {y:.0f}" for x, y in zip(across, down, strict=True) if not np.isnan(y)]


def _path(across: FloatArray, down: FloatArray) -> str:
    kept = _kept(down, _MOST_POINTS) if len(down) > 2 * _MOST_POINTS else np.arange(len(down))
    parts, pen_up = [], True
    for x, y in zip(across[kept], down[kept], strict=True):
        if np.isnan(y):
            pen_up = True
            continue
        parts.append(f"{'M' if pen_up else 'L'}{x:.1f} {y:.1f}")
        pen_up = False
    return "".join(parts)


def heatmap(gradient: Reduced, scale: tuple[float, float], most: int = 480) -> str:
    """A picture of the logarithms of norms, one row per layer from the input down, one column per bin.

    Args:
        gradient: norms by bins and layers.
        scale: decimal logarithms at the two ends of the colours.
        most: columns at most; of more bins, every n-th is shown, and those that are broken.

    Returns:
        A `data:` URL of a PNG.
    """
    places = np.linspace(0, max(len(gradient.middle) - 1, 0), min(len(gradient.middle), most)).astype(int)
    values = gradient.middle[places].T
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (np.log10(values) - scale[0]) / (scale[1] - scale[0])
    pixels = np.rint(np.clip(np.nan_to_num(share), 0, 1) * (_SHADES - 1)).astype(np.uint8)
    pixels[np.isnan(values)] = _MISSING
    pixels[values == 0] = _ZERO
    pixels[np.logical_or.reduceat(gradient.broken, places, axis=0).T] = _BROKEN
    return _png(pixels, _palette())


def _palette() -> NDArray[np.uint8]:
    """The colours that a pixel's number stands for: the shades of the scale, then what is not on it."""
    place = np.linspace(0, len(_VIRIDIS) - 1, _SHADES)
    left = np.minimum(place.astype(int), len(_VIRIDIS) - 2)
    weight = (place - left)[:, None]
    return np.vstack([_VIRIDIS[left] * (1 - weight) + _VIRIDIS[left + 1] * weight, _OFF_SCALE]).astype(np.uint8)


def _png(pixels: NDArray[np.uint8], palette: NDArray[np.uint8]) -> str:
    """A `data:` URL of numbers into a palette, shape `(rows, columns)`. Source: PNG specification, RFC 2083."""
    rows, columns = pixels.shape
    raw = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"PLTE", palette.tobytes()), (b"IDAT", zlib.compress(raw, 6)), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + body).decode()
