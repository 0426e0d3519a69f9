"""The curves and histograms of a run under the names that dashboards show."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kgrad.errors import MissingColumnError
from kgrad.exporters.record import Histogram, Series
from kgrad.log import schema
from kgrad.log.run_log import FloatArray, RunLog

# One chart per variable and column: more than these by default would bury what matters.
DEFAULT_COLUMNS = ("gradient_norm", "weight_norm", "update_norm", "zero_fraction", *schema.OPTIONAL_STATISTICS)
# Step columns that are about the recording, and those that say something only when they move.
_NOT_SHOWN = ("epoch", "detailed")
_STEADY = {"loss_scale": 1.0, "skipped": 0.0}


def all_series(log: RunLog, columns: Sequence[str] | None = None, every: int = 1) -> Iterator[Series]:
    """The curves of a run that hold a point: per step, per step and variable, per epoch, of the tables beside.

    Args:
        log: the run.
        columns: statistics per variable; `DEFAULT_COLUMNS`, where the run has them, by default.
        every: one recorded step in so many; the last one always.

    Raises:
        MissingColumnError: the run has no such statistic.
    """
    for series in (
        *_step_series(log, every),
        *_variable_series(log, columns, every),
        *_epoch_series(log),
        *_table_series(log),
    ):
        if len(series.steps):
            yield series


def _step_series(log: RunLog, every: int) -> Iterator[Series]:
    for name in schema.STEP_SERIES:
        if name in _NOT_SHOWN or name not in log or np.isnan(log[name]).all() or (log[name] == _STEADY.get(name)).all():
            continue
        kept = _thinned(np.arange(len(log)), every)
        yield Series(name, log.steps[kept], log[name][kept])


def _variable_series(log: RunLog, columns: Sequence[str] | None, every: int) -> Iterator[Series]:
    wanted = [name for name in DEFAULT_COLUMNS if name in log] if columns is None else columns
    for name in wanted:
        if log[name].ndim != 2:
            raise MissingColumnError(f"{name!r} is not a statistic per variable; those are: {', '.join(_held(log))}")
        for variable, values in zip(log.structure.variables, log[name].T, strict=True):
            kept = _thinned(_taken(log, name, values), every)
            yield Series(f"{name}/{variable.name}", log.steps[kept], values[kept])


def _taken(log: RunLog, name: str, values: FloatArray) -> NDArray[np.int64]:
    """Positions of the steps in which a statistic was measured; elsewhere NaN is a value worth seeing."""
    if name in schema.OPTIONAL_STATISTICS:
        return np.flatnonzero(~np.isnan(values))
    if name not in schema.ALWAYS and "detailed" in log:
        return np.flatnonzero(log["detailed"] == 1)
    return np.arange(len(log))


def _thinned(places: NDArray[np.int64], every: int) -> NDArray[np.int64]:
    """One position in so many, and the last."""
    return np.unique(np.append(places[::every], places[-1:]))


def _held(log: RunLog) -> list[str]:
    return [name for name in schema.STATISTICS + schema.OPTIONAL_STATISTICS if name in log]


def _epoch_series(log: RunLog) -> Iterator[Series]:
    if "last_step" not in log.epochs:
        return
    for name, values in log.epochs.items():
        if name not in ("epoch", "last_step"):
            there = ~(np.isnan(log.epochs["last_step"]) | np.isnan(values))  # not every metric is there every epoch
            yield Series(f"epoch/{name}", log.epochs["last_step"][there].astype(np.int64), values[there])


def _table_series(log: RunLog) -> Iterator[Series]:
    for table in (schema.ACTIVATIONS, schema.CURVATURE):
        if table in log.tables:
            yield from _series_of_table(table, log.tables[table])


def _series_of_table(table: str, rows: Mapping[str, NDArray[Any]]) -> Iterator[Series]:
    keys = [_place(rows, i) for i in range(len(rows["step"]))]
    names = [column.name for column in schema.TABLES[table] if column.type.startswith("float") and column.name in rows]
    for key in dict.fromkeys(keys):
        mine = np.array([other == key for other in keys])
        for name in names:
            values = rows[name].astype(np.float64)
            there = mine & ~np.isnan(values)
            if there.any():
                yield Series("/".join((table, name, *key)), rows["step"][there].astype(np.int64), values[there])


def _place(rows: Mapping[str, NDArray[Any]], row: int) -> tuple[str, ...]:
    """The layer, and its call where that is not the first, that a row of a table is about."""
    if "layer" not in rows:
        return ()
    call = int(rows["call"][row]) if "call" in rows else 0
    return (str(rows["layer"][row]), *((f"call_{call}",) if call else ()))


def all_histograms(log: RunLog) -> Iterator[Histogram]:
    """The histograms of a run, where they were taken, by variable and step."""
    rows = log.tables.get(schema.HISTOGRAMS)
    if rows is None:
        return
    for variable in log.structure.variables:
        mine = rows["variable"] == variable.name
        steps, exponents, counts = (rows[name][mine].astype(np.int64) for name in ("step", "exponent", "count"))
        for step in np.unique(steps):
            here = steps == step
            first = exponents[here].min()
            filled = np.bincount(exponents[here] - first, weights=counts[here]).astype(np.int64)
            edges = first + np.arange(len(filled) + 1, dtype=np.float64)
            yield Histogram(f"gradient_log2_magnitude/{variable.name}", int(step), edges, filled)
