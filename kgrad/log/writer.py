"""Writes a run folder as training goes: append-only, crash-safe, compacted at the end."""

import contextlib
import datetime
import io
import os
import socket
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from kgrad.log import schema
from kgrad.log.reader import read_table
from kgrad.log.store import Store
from kgrad.log.strict_json import to_json
from kgrad.log.structure import Structure

# A part is written at most this often: a few milliseconds of work against two seconds of training.
FLUSH_SECONDS = 2.0
# ... or when this many numbers wait in memory (about 80 MB).
FLUSH_NUMBERS = 10_000_000


def now() -> str:
    """The present moment in UTC, ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


class RunWriter:
    """One run folder being written.

    Args:
        store: the folder, claimed for this run.
        structure: the model; its variables are the columns of what is written.
        info: facts for `run.json` beside those the writer knows itself.
    """

    def __init__(self, store: Store, structure: Structure, info: Mapping[str, Any]) -> None:
        self.store = store
        self._names = pa.array([variable.name for variable in structure.variables], pa.string())
        self._pending: list[tuple[NDArray[Any], Mapping[str, NDArray[Any]], Mapping[str, NDArray[Any]]]] = []
        self._waiting = 0
        self._parts = 0
        self._tables: dict[str, int] = {}
        self._epochs: list[dict[str, float]] = []
        self._unwritten_epochs = False
        self._last_flush = time.monotonic()
        self._info: dict[str, Any] = {
            "schema_version": schema.SCHEMA_VERSION,
            "name": store.name,
            "status": "running",
            "started": now(),
            "ended": None,
            "error": None,
            "process": {"pid": os.getpid(), "host": socket.gethostname()},
            "model": structure.to_dict(),
            "events": [],
            **info,
        }
        self._write_info()

    @property
    def info(self) -> Mapping[str, Any]:
        """`run.json` as it stands."""
        return self._info

    def add_steps(
        self, steps: NDArray[Any], series: Mapping[str, NDArray[Any]], statistics: Mapping[str, NDArray[Any]]
    ) -> None:
        """Takes some recorded steps; writes them when enough has gathered.

        Args:
            steps: step numbers, shape `(new,)`.
            series: the columns per step, each of shape `(new,)`.
            statistics: the columns per step and variable, each of shape `(new, variables)`.
        """
        self._pending.append((steps, series, statistics))
        self._waiting += sum(values.size for values in statistics.values())
        if self._waiting > FLUSH_NUMBERS or time.monotonic() - self._last_flush > FLUSH_SECONDS:
            self.flush()

    def add_rows(self, table: str, columns: Mapping[str, Sequence[Any] | NDArray[Any]]) -> None:
        """Takes rows of a table of `schema.TABLES` and writes them at once: they are few, and dear.

        Args:
            table: its name.
            columns: the columns by name, of equal length; `None` and NaN stand for what is missing.
        """
        kinds = schema.TABLES[table]
        made = {column.name: _nullable(column.type, columns[column.name]) for column in kinds if column.name in columns}
        self._tables[table] = self._tables.get(table, 0) + 1
        self._write_table(f"{table}/part-{self._tables[table]:05d}.parquet", pa.table(made))

    def add_facts(self, **facts: Any) -> None:
        """Adds facts to `run.json` that were not known when the run began."""
        self._info.update(facts)
        self._write_info()

    def add_epoch(self, epoch: int, last_step: int, logs: Mapping[str, float]) -> None:
        """Takes the logs that Keras gave at the end of an epoch."""
        self._epochs.append({"epoch": epoch, "last_step": last_step, **logs})
        self._unwritten_epochs = True
        if time.monotonic() - self._last_flush > FLUSH_SECONDS:
            self.flush()

    def add_event(self, message: str, step: int | None = None) -> None:
        """Notes something that happened, in `run.json`."""
        self._info["events"].append({"step": step, "message": message})
        self._write_info()

    def flush(self) -> None:
        """Writes what has gathered."""
        if self._pending:
            self._write_part(f"part-{self._parts:05d}.parquet")
        if self._unwritten_epochs:
            self._write_table(schema.EPOCHS_FILE, _epoch_table(self._epochs))
            self._unwritten_epochs = False
        self._last_flush = time.monotonic()

    def reopen(self) -> None:
        """Goes on writing after `close`."""
        self._info.update(status="running", ended=None, error=None)
        self._write_info()

    def close(self, status: str, error: str | None = None) -> None:
        """Writes the rest, joins the parts and sets the final status: `"failed"` where the rest cannot be written.

        Args:
            status: `"finished"`, `"failed"` or `"interrupted"`.
            error: what went wrong, for the last two.
        """
        try:
            self.flush()
            for folder in (schema.GRADIENTS, schema.STEPS, *self._tables):
                self._compact(folder)
        except BaseException as failure:  # the status may still find room where the tables did not
            status, error = "failed", error or f"{type(failure).__name__}: {failure}"
            raise
        finally:
            self._info.update(status=status, ended=now(), error=error)
            self._write_info()

    def abandon(self, error: str) -> None:
        """Closes the run as failed, as far as the disk, which may be what failed, lets it."""
        with contextlib.suppress(Exception):
            self.close("failed", error)

    def write_diagnosis(self, data: Mapping[str, Any]) -> None:
        """Keeps the latest diagnosis and prescriptions in `diagnosis.json`."""
        self.store.write(schema.DIAGNOSIS_FILE, to_json(data))

    def _write_info(self) -> None:
        self.store.write(schema.RUN_FILE, to_json(self._info))

    def _write_part(self, name: str) -> None:
        steps = np.concatenate([block[0] for block in self._pending])
        series = _join([block[1] for block in self._pending])
        statistics = _join([block[2] for block in self._pending])
        brief = ~series["detailed"].astype(bool) if "detailed" in series else np.zeros(len(steps), bool)
        self._write_table(f"{schema.GRADIENTS}/{name}", self._gradient_table(steps, statistics, brief))
        # Steps last: a step is only known once its gradients are on disk.
        self._write_table(f"{schema.STEPS}/{name}", _table({"step": steps, **series}))
        self._pending.clear()
        self._waiting = 0
        self._parts += 1

    def _gradient_table(
        self, steps: NDArray[Any], statistics: Mapping[str, NDArray[Any]], brief: NDArray[np.bool_]
    ) -> pa.Table:
        count = len(self._names)
        codes = np.tile(np.arange(count, dtype=np.int32), len(steps))
        variable = pa.DictionaryArray.from_arrays(codes, self._names)
        flat = {name: values.ravel() for name, values in statistics.items()}
        masks = {name: np.repeat(brief, count) for name in flat if name not in schema.ALWAYS}
        table = _table({"step": np.repeat(steps, count), **flat}, masks if brief.any() else {})
        return table.add_column(1, "variable", variable)

    def _write_table(self, name: str, table: pa.Table) -> None:
        sink = io.BytesIO()
        dictionaries = [field.name for field in table.schema if pa.types.is_dictionary(field.type)] or False
        pq.write_table(table, sink, compression="zstd", use_dictionary=dictionaries)
        self.store.write(name, sink.getvalue())

    def _compact(self, folder: str) -> None:
        """Joins the parts. A crash between write and removal leaves rows twice; readers take them once."""
        parts = self.store.list(folder, ".parquet")
        if len(parts) < 2:
            return
        tables = [read_table(self.store.read(part)) for part in parts]
        self._write_table(
            f"{folder}/part-joined-{self._parts:05d}.parquet", pa.concat_tables(tables).unify_dictionaries()
        )
        for part in parts:
            self.store.remove(part)


def _join(blocks: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _table(
    columns: Mapping[str, NDArray[Any]], missing: Mapping[str, NDArray[np.bool_]] = MappingProxyType({})
) -> pa.Table:
    with np.errstate(over="ignore", invalid="ignore"):
        arrays = {name: _array(name, values, missing.get(name)) for name, values in columns.items()}
    return pa.table(arrays)


def _array(name: str, values: NDArray[Any], missing: NDArray[np.bool_] | None) -> pa.Array:
    kind = schema.COLUMNS[name].type
    if kind == "float32":  # a magnitude beyond float32 is kept as the largest it has, not as infinity
        limit = np.finfo(np.float32).max
        bounded = np.where(np.isfinite(values), np.clip(values, -limit, limit), values)
        return pa.array(bounded.astype(np.float32), pa.float32(), mask=missing)
    return pa.array(values.astype({"int64": np.int64, "bool": np.bool_, "float64": np.float64}[kind]))


def _nullable(kind: str, values: Sequence[Any] | NDArray[Any]) -> pa.Array:
    if kind == "dictionary":
        return pa.array(list(values), pa.string()).dictionary_encode()
    numbers = [None if value is None or value != value else value for value in values]
    return pa.array(numbers, {"float32": pa.float32(), "float64": pa.float64(), "int64": pa.int64()}[kind])


def _epoch_table(epochs: Sequence[Mapping[str, float]]) -> pa.Table:
    names = list(dict.fromkeys(name for epoch in epochs for name in epoch))
    return pa.table({name: pa.array([epoch.get(name) for epoch in epochs]) for name in names})
