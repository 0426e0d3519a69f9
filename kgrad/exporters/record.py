"""What every dashboard is given of a run: named series, histograms, settings, the diagnosis."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kgrad.log.run_log import FloatArray


@dataclass(frozen=True)
class Series:
    """One curve.

    Attributes:
        tag: its name, with `/` between the parts: `"gradient_norm/dense/kernel"`.
        steps: step numbers, shape `(points,)`.
        values: the values, shape `(points,)`; NaN for a number that was not one.
    """

    tag: str
    steps: NDArray[np.int64]
    values: FloatArray


@dataclass(frozen=True)
class Histogram:
    """Magnitudes of one variable's gradient in one step, by power of two.

    Attributes:
        tag: its name.
        step: step number.
        edges: log2 of the magnitude at the edges of the bins, ascending, shape `(bins + 1,)`.
        counts: elements per bin, shape `(bins,)`.
    """

    tag: str
    step: int
    edges: FloatArray
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class Record:
    """A run as a dashboard takes it.

    Attributes:
        name: the run's name.
        status: `"running"`, `"finished"`, `"failed"` or `"interrupted"`.
        span: first and last moment, in seconds since 1970; `None` where the run does not say.
        settings: optimizer, loss, fit arguments, seeds, the user's tags, flat: `"optimizer.learning_rate"`.
        verdict: the diagnosis in one sentence.
        findings: severity by rule.
        series: the curves.
        histograms: the histograms, by tag and step.
        text: the report as plain text.
        report: the report as HTML.
    """

    name: str
    status: str
    span: tuple[float, float] | None
    settings: Mapping[str, str | float | int | bool]
    verdict: str
    findings: Mapping[str, str]
    series: tuple[Series, ...]
    histograms: tuple[Histogram, ...]
    text: str
    report: str

    def moments(self, steps: NDArray[np.int64]) -> FloatArray | None:
        """A time for each step, in seconds since 1970: the run's span shared out evenly, as steps are not timed.

        Args:
            steps: step numbers, shape `(points,)`.

        Returns:
            Shape `(points,)`; `None` where the run does not say when it was.
        """
        if self.span is None:
            return None
        last = max((int(series.steps[-1]) for series in self.series), default=0)
        begin, end = self.span
        return begin + (end - begin) * np.minimum(steps / max(last, 1), 1.0)


def clean_names(names: Iterable[str], illegal: str) -> dict[str, str]:
    r"""Each name in the letters that a dashboard takes, no two alike.

    Args:
        names: the names, parts separated by `/`.
        illegal: a regular expression of what the dashboard refuses; it becomes `_`.

    >>> clean_names(["dense/kernel#2", "dense/kernel_2", "../x"], r"[^\w./]")
    {'dense/kernel#2': 'dense/kernel_2', 'dense/kernel_2': 'dense/kernel_2_2', '../x': 'x'}
    """
    given: dict[str, str] = {}
    taken: set[str] = set()
    for name in dict.fromkeys(names):
        parts = [part for part in re.sub(illegal, "_", name).split("/") if part not in ("", ".", "..")]
        plain = clean = "/".join(parts) or "_"
        number = 2
        while clean in taken:
            clean, number = f"{plain}_{number}", number + 1
        given[name] = clean
        taken.add(clean)
    return given
