"""Loads a run folder: checks the version, says what is wrong and how to mend it."""

import json
import os
import socket
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from kgrad.errors import DamagedRunError, NewerSchemaError, RunNotFoundError
from kgrad.log import schema
from kgrad.log.run_log import FloatArray, RunLog, hold
from kgrad.log.store import Store
from kgrad.log.structure import Structure


def read_run(path: str | os.PathLike[str] | Store, columns: Collection[str] | None = None) -> RunLog:
    """The run in the given folder.

    A run whose process was killed has the status `"interrupted"`, one that still trains on this
    machine `"running"`; both open.

    Args:
        path: a run folder: a local path, any fsspec URL, or the store that a run is written to.
        columns: the columns to read, all by default. With some given, nothing else is decoded and the tables
            beside the steps are left alone: what looking at many runs needs.

    Raises:
        RunNotFoundError: there is no run there.
        NewerSchemaError: a newer kgrad wrote it.
        DamagedRunError: it is there but cannot be understood.
    """
    store = path if isinstance(path, Store) else Store(path)
    info = _read_info(store)
    try:
        structure = Structure.from_dict(info["model"])
        info["status"] = _status(info)
    except (KeyError, TypeError, AttributeError) as error:
        raise DamagedRunError(f"{store.url}/{schema.RUN_FILE} lacks {error}; the file was changed or cut") from error
    if columns is not None:
        columns = {*columns, "detailed"}
    series = _read_parts(store, schema.STEPS, columns)
    steps = _steps(series)
    wide = columns is None or set(columns) & set(schema.STATISTICS + schema.OPTIONAL_STATISTICS)
    gradients = _read_parts(store, schema.GRADIENTS, columns) if wide else []
    found = hold(_series(series, steps) | _statistics(gradients, steps, structure))
    tables = _read_tables(store) if columns is None else {}
    return RunLog(str(info["name"]), info, structure, steps, found, _read_epochs(store), store.url, tables)


def _read_info(store: Store) -> dict[str, Any]:
    if not store.exists(schema.RUN_FILE):
        raise RunNotFoundError(_not_found(store))
    try:
        info: dict[str, Any] = json.loads(store.read(schema.RUN_FILE))
        version = int(info["schema_version"])
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedRunError(
            f"{store.url}/{schema.RUN_FILE} is not a run description ({error}); restore it or train again"
        ) from error
    if version > schema.SCHEMA_VERSION:
        raise NewerSchemaError(
            f"{store.url} was written in run format {version}; this kgrad reads up to {schema.SCHEMA_VERSION}: "
            "upgrade with `pip install -U kgrad`"
        )
    return info


def _not_found(store: Store) -> str:
    if not store.exists():
        return f"there is no folder {store.url!r}; give the path of a run folder, as printed at the end of fit"
    if not store.is_folder():
        return f"{store.url!r} is a file; give the path of a run folder, the one that holds {schema.RUN_FILE}"
    return f"{store.url!r} holds no {schema.RUN_FILE}, so it is no run folder; runs are usually under runs/"


def _status(info: dict[str, Any]) -> str:
    status = str(info["status"])
    if status == "running" and not _is_alive(info.get("process") or {}):
        return "interrupted"
    return status


def _is_alive(process: dict[str, Any]) -> bool:
    """Whether the writing process still lives; one on another machine is taken for dead."""
    if process.get("host") != socket.gethostname():
        return False
    try:
        os.kill(int(process["pid"]), 0)
    except PermissionError:
        return True
    except (OSError, KeyError, ValueError):
        return False
    return True


def _read_parts(store: Store, folder: str, columns: Collection[str] | None = None) -> list[pa.Table]:
    return [_read_table(store, part, columns) for part in store.list(folder, ".parquet")]


def _read_table(store: Store, name: str, columns: Collection[str] | None = None) -> pa.Table:
    keys = tuple(column.name for column in schema.KEY_COLUMNS)
    try:
        if columns is None:
            return read_table(store.read(name))
        with store.open(name) as opened:
            file = _parquet_file(opened)
            wanted = [c for c in file.schema_arrow.names if c in keys or c in columns]
            return file.read(wanted, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise DamagedRunError(
            f"{store.url}/{name} cannot be read ({str(error).splitlines()[0]}); "
            "delete that file to open the run without its steps"
        ) from error


def read_table(written: bytes) -> pa.Table:
    """The table of one Parquet file."""
    return _parquet_file(pa.BufferReader(written)).read(use_threads=False)


def _parquet_file(source: Any) -> pq.ParquetFile:
    """The file, read by this thread alone (`read` needs `use_threads=False` beside).

    Arrow's threads may still hold the file when the interpreter ends, and then abort the process
    (https://github.com/apache/arrow/issues/34314); runs that are read side by side gain nothing by them.
    """
    return pq.ParquetFile(source, pre_buffer=False)


def _read_tables(store: Store) -> dict[str, dict[str, NDArray[Any]]]:
    """The tables beside the steps, each row once (a crash while parts are joined leaves some twice)."""
    found = {}
    for name in schema.TABLES:
        parts = _read_parts(store, name)
        if parts:
            keys = ("step", "layer", "variable", "call", "exponent")
            columns = {c: np.concatenate([_named(part[c]) for part in parts]) for c in parts[0].column_names}
            rows = list(zip(*(columns[key].tolist() for key in keys if key in columns), strict=True))
            kept = _unique(rows)
            found[name] = {column: values[kept] for column, values in columns.items()}
    return found


def _unique(rows: Sequence[tuple[Any, ...]]) -> list[int]:
    """Positions of the first of equal rows, in order."""
    return sorted({row: place for place, row in reversed(list(enumerate(rows)))}.values())


def _named(column: pa.ChunkedArray) -> NDArray[Any]:
    """A column's values; of a dictionary column, its strings (`None` for null)."""
    if pa.types.is_dictionary(column.type):
        return np.array(column.to_pylist(), dtype=object)
    return _values(column)


def _steps(tables: Sequence[pa.Table]) -> NDArray[np.int64]:
    if not tables:
        return np.zeros(0, np.int64)
    return np.unique(np.concatenate([_values(table["step"]) for table in tables]))


def _series(tables: Sequence[pa.Table], steps: NDArray[np.int64]) -> dict[str, FloatArray]:
    columns: dict[str, FloatArray] = {}
    for table in tables:
        places = np.searchsorted(steps, _values(table["step"]))
        for name in table.column_names:
            if name in schema.STEP_SERIES:
                target = columns.setdefault(name, np.full(len(steps), np.nan))
                target[places] = _floats(table[name])
    return columns


def _statistics(tables: Sequence[pa.Table], steps: NDArray[np.int64], structure: Structure) -> dict[str, FloatArray]:
    columns: dict[str, FloatArray] = {}
    place_of = {variable.name: i for i, variable in enumerate(structure.variables)}
    for table in tables:
        variable = table["variable"].combine_chunks()
        names = variable.dictionary.to_pylist()
        column = np.array([place_of.get(name, -1) for name in names])[np.from_dlpack(variable.indices)]
        step = _values(table["step"])
        held = [name for name in table.column_names if name in schema.STATISTICS + schema.OPTIONAL_STATISTICS]
        shape = (len(steps), len(place_of))
        if len(tables) == 1 and _is_whole(step, column, steps, shape):
            return {name: _floats(table[name]).reshape(shape) for name in held}
        row = np.searchsorted(steps, step)
        known = (column >= 0) & (row < len(steps))
        known[known] = steps[row[known]] == step[known]
        for name in held:
            target = columns.setdefault(name, np.full(shape, np.nan))
            target[row[known], column[known]] = _floats(table[name])[known]
    return columns


def _is_whole(step: NDArray[Any], column: NDArray[Any], steps: NDArray[np.int64], shape: tuple[int, int]) -> bool:
    """Whether a table holds every step and variable once, in order: then its columns are matrices as they are."""
    if len(step) != shape[0] * shape[1] or not len(step):
        return False
    by_step, by_column = step.reshape(shape), column.reshape(shape)
    return bool((by_step == steps[:, None]).all() and (by_column == np.arange(shape[1])).all())


def _floats(column: pa.ChunkedArray) -> FloatArray:
    return _values(column).astype(np.float64, copy=False)


def _values(column: pa.ChunkedArray) -> NDArray[Any]:
    """The column's values through the array protocol: pyarrow's own `to_numpy` would load pandas."""
    chunks = [_chunk(chunk) for chunk in column.chunks]
    if len(chunks) == 1:
        return chunks[0]  # as it lies there: a copy of every matrix of a long run takes longer than reading it
    return np.concatenate(chunks) if chunks else np.zeros(0)


def _chunk(chunk: pa.Array) -> NDArray[Any]:
    if pa.types.is_floating(chunk.type) and chunk.null_count:
        return _with_nan(chunk)
    if chunk.null_count or pa.types.is_boolean(chunk.type):
        return np.array([np.nan if value is None else value for value in chunk.to_pylist()], dtype=np.float64)
    return np.from_dlpack(chunk)


def _with_nan(chunk: pa.Array) -> NDArray[Any]:
    """Floats with NaN for null, from the buffers: `fill_null` too would load pandas."""
    validity, data = chunk.buffers()
    span = slice(chunk.offset, chunk.offset + len(chunk))
    values = np.frombuffer(data, chunk.type.to_pandas_dtype())[span].copy()
    values[np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little")[span] == 0] = np.nan
    return values


def _read_epochs(store: Store) -> dict[str, FloatArray]:
    if not store.exists(schema.EPOCHS_FILE):
        return {}
    table = _read_table(store, schema.EPOCHS_FILE)
    return {name: _floats(table[name]) for name in table.column_names if pa.types.is_primitive(table[name].type)}
