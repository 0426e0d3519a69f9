"""From a run to the `Record` of it that dashboards are given."""

import datetime
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kgrad.diagnosis import Diagnosis
from kgrad.exporters.record import Record
from kgrad.exporters.series import all_histograms, all_series
from kgrad.log.run_log import RunLog


def gather(
    log: RunLog,
    diagnosis: Diagnosis,
    text: str = "",
    report: str = "",
    columns: Sequence[str] | None = None,
    every: int = 1,
) -> Record:
    """The record of a run.

    Args:
        log: the run.
        diagnosis: what is wrong with it.
        text: the report as plain text.
        report: the report as HTML.
        columns: statistics per variable to hand over; `DEFAULT_COLUMNS`, where the run has them, by default.
        every: hand over one recorded step in so many; the last one always.

    Raises:
        MissingColumnError: the run has no such statistic.
    """
    return Record(
        name=log.name,
        status=log.status,
        span=_span(log.info),
        settings=dict(_settings(log.info)),
        verdict=diagnosis.verdict,
        findings={finding.rule: finding.severity for finding in diagnosis.findings},
        series=tuple(all_series(log, columns, every)),
        histograms=tuple(all_histograms(log)),
        text=text,
        report=report,
    )


def _settings(info: Mapping[str, Any]) -> Iterator[tuple[str, str | float | int | bool]]:
    optimizer = info.get("optimizer") or {}
    chosen = {
        "optimizer": {"": optimizer.get("class_name"), **(optimizer.get("config") or {})},
        "loss": info.get("loss"),
        "fit": info.get("fit"),
        "dtype_policy": info.get("dtype_policy"),
        "seeds": info.get("seeds"),
        "tags": info.get("tags"),
    }
    yield from _flat("", chosen)


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str | float | int | bool]]:
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _flat(".".join(part for part in (prefix, str(key)) if part), entry)
    elif isinstance(value, (str, float, int, bool)):
        yield prefix, value
    elif value is not None:
        yield prefix, str(value)


def _span(info: Mapping[str, Any]) -> tuple[float, float] | None:
    try:
        begin, end = (datetime.datetime.fromisoformat(info[key]).timestamp() for key in ("started", "ended"))
    except (KeyError, TypeError, ValueError):
        return None
    return begin, end
