"""Small pictures inside a table row: a curve, and a group's values with their interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 96, 22
STRIP = 160
_POINTS = 40


@dataclass(frozen=True)
class Scale:
    """The numbers at the two ends of a picture.

    Attributes:
        low: the number at the lower end.
        high: the number at the upper end.
        is_log: whether the way between them is logarithmic.
    """

    low: float
    high: float
    is_log: bool

    def share(self, value: float) -> float:
        """How far along the scale a number lies, from 0 to 1, those beyond put at its ends."""
        if self.is_log:
            if value <= 0:
                return 0.0
            way, length = math.log(value / self.low), math.log(self.high / self.low)
        else:
            way, length = value - self.low, self.high - self.low
        return min(1.0, max(0.0, way / length)) if length > 0 else 0.5


def scale_of(values: Sequence[float]) -> Scale:
    """A scale over the finite values, logarithmic where all are positive and span a decade.

    One in a hundred at each end may fall off, so that one run that exploded does not flatten all others.
    """
    finite = sorted(value for value in values if math.isfinite(value))
    if not finite:
        return Scale(0.0, 1.0, False)
    cut = len(finite) // 100
    low, high = finite[cut], finite[-1 - cut]
    return Scale(low, high, low > 0 and high > 10 * low)


def curve(values: Sequence[float], scale: Scale) -> str:
    """The points of an SVG polyline, empty where fewer than two values are finite."""
    chosen = values[:: max(1, round(len(values) / _POINTS))]
    across = WIDTH / max(1, len(chosen) - 1)
    points = [
        f"{round(across * place)},{round((HEIGHT - 2) * (1 - scale.share(value))) + 1}"
        for place, value in enumerate(chosen)
        if math.isfinite(value)
    ]
    return " ".join(points) if len(points) > 1 else ""


@dataclass(frozen=True)
class Strip:
    """A group's values on a line.

    Attributes:
        dots: where each finite value lies.
        mean: where the mean lies, `None` without one.
        low: where its interval begins, `None` without one.
        width: how wide its interval is.
    """

    dots: tuple[int, ...]
    mean: int | None
    low: int | None
    width: int


def strip(values: Sequence[float], mean: float, low: float, high: float, scale: Scale) -> Strip:
    """The places, in pixels of a picture `STRIP` wide."""
    dots = tuple(sorted({_place(value, scale) for value in values if math.isfinite(value)}))
    if not math.isfinite(mean):
        return Strip(dots, None, None, 0)
    middle = _place(mean, scale)
    if not math.isfinite(low):
        return Strip(dots, middle, None, 0)
    return Strip(dots, middle, _place(low, scale), max(1, _place(high, scale) - _place(low, scale)))


def _place(value: float, scale: Scale) -> int:
    return 4 + round((STRIP - 8) * scale.share(value))
