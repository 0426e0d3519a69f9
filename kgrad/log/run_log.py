"""`RunLog`: one run as frozen numpy arrays, the only thing that rules and reports read."""

import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kgrad.errors import KgradError, MissingColumnError
from kgrad.log import schema
from kgrad.log.batch import BatchFacts
from kgrad.log.structure import Structure

if TYPE_CHECKING:
    import pandas as pd

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class RunLog:
    """One run, in memory.

    Index it with a column's name: `log["gradient_norm"]` has shape `(steps, variables)`,
    `log["loss"]` has shape `(steps,)`. A missing number is NaN; a gradient that *was* NaN
    shows in `log["nonfinite_count"]`. In a step that was not recorded in detail (`log["detailed"]`),
    the statistics beside the norms and counts are those of the last detailed step.

    Attributes:
        name: the run's name.
        info: `run.json`, as plain types.
        structure: the model's layers and variables; `structure.variables[j]` is column `j`.
        steps: the recorded optimizer iterations, shape `(steps,)`, ascending.
        columns: every column by name, shapes `(steps, variables)` and `(steps,)`.
        epochs: Keras' logs per epoch by metric, each of shape `(epochs,)`.
        path: the folder it was read from, empty for a log made in memory.
        tables: what was taken beside the steps, by name (`"activations"`, `"curvature"`, `"histograms"`), each
            as arrays of one length by column; names are strings. A table that was never taken is missing.
    """

    name: str
    info: Mapping[str, Any]
    structure: Structure
    steps: NDArray[np.int64]
    columns: Mapping[str, FloatArray]
    epochs: Mapping[str, FloatArray] = field(default_factory=dict)
    path: str = ""
    tables: Mapping[str, Mapping[str, NDArray[Any]]] = field(default_factory=dict)

    def __getitem__(self, column: str) -> FloatArray:
        """The column's array.

        Raises:
            MissingColumnError: the log does not hold it.
        """
        try:
            return self.columns[column]
        except KeyError:
            held = ", ".join(sorted(self.columns)) or "none"
            raise MissingColumnError(f"the run {self.name!r} has no column {column!r}; it has: {held}") from None

    def __contains__(self, column: object) -> bool:
        """Whether the log holds the column."""
        return column in self.columns

    def __len__(self) -> int:
        """How many steps were recorded."""
        return len(self.steps)

    @property
    def status(self) -> str:
        """`"running"`, `"finished"`, `"failed"` or `"interrupted"`."""
        return str(self.info["status"])

    @property
    def batch(self) -> BatchFacts | None:
        """What the reference batch looked like, `None` where none was seen."""
        facts = self.info.get("batch")
        return BatchFacts.from_dict(facts) if facts else None

    @property
    def data(self) -> BatchFacts | None:
        """What all training data looked like where they were arrays, else `batch`."""
        facts = self.info.get("data")
        return BatchFacts.from_dict(facts) if facts else self.batch

    @property
    def batch_rows(self) -> int | None:
        """Rows of a batch as `fit` was told, else as the first one had; `None` where neither is known."""
        told = (self.info.get("fit") or {}).get("batch_size")
        return told or (self.batch.rows if self.batch else None) or None

    def table(self, name: str) -> Mapping[str, NDArray[Any]]:
        """A table of `tables`.

        Raises:
            MissingColumnError: the run does not hold it.
        """
        if name not in self.tables:
            raise MissingColumnError(f"the run {self.name!r} has no table {name!r}")
        return self.tables[name]

    def only(self, columns: Iterable[str] | None = None, steps: slice | None = None) -> "RunLog":
        """The same run with fewer columns or fewer steps.

        Args:
            columns: names to keep; those the run lacks are left out.
            steps: a slice over recorded steps (positions, not step numbers).
        """
        kept = self.columns if columns is None else {c: self.columns[c] for c in columns if c in self.columns}
        if steps is None:
            return replace(self, columns=kept)
        cut = {name: values[steps] for name, values in kept.items()}
        return replace(self, columns=cut, steps=self.steps[steps])

    def layer_norms(self, column: str = "gradient_norm") -> FloatArray:
        """A norm per layer instead of per variable: root of the sum of squares.

        Args:
            column: `"gradient_norm"`, `"weight_norm"` or `"update_norm"`.

        Returns:
            Shape `(steps, layers)`, in the order of `structure.weighted_layers`.
        """
        values = self[column].T
        place_of = {layer.name: place for place, layer in enumerate(self.structure.weighted_layers)}
        squares = np.zeros((len(place_of), len(self)))
        with np.errstate(over="ignore", invalid="ignore"):
            for variable, norms in zip(self.structure.variables, values, strict=False):
                if variable.layer in place_of:
                    squares[place_of[variable.layer]] += norms**2
            return np.sqrt(squares).T

    def to_pandas(self) -> "pd.DataFrame":
        """A tidy table: one row per (step, variable), step columns repeated on each row."""
        import pandas as pd

        count = len(self.structure.variables)
        frame = {"step": np.repeat(self.steps, count)}
        table = pd.DataFrame(frame)
        for key in ("layer", "name", "role"):
            values = [getattr(variable, key) for variable in self.structure.variables]
            label = "variable" if key == "name" else key
            table[label] = pd.Categorical(values * len(self), categories=list(dict.fromkeys(values)))
        for name, column in self.columns.items():
            series = column.ravel() if column.ndim == 2 else np.repeat(column, count)
            table[name] = series.astype(np.int64) if _is_whole(name, series) else series
        return table

    def _repr_html_(self) -> str:
        """What a notebook shows: what was recorded, and how to see the report."""
        facts = {
            "run": f"{self.name}, {self.status}",
            "model": f"{self.structure.name}, {len(self.structure.weighted_layers):,} layers with weights, "
            f"{self.structure.parameters:,} parameters",
            "recorded": f"{len(self):,} steps" + (f", {self.steps[0]:,} to {self.steps[-1]:,}" if len(self) else ""),
            "columns": ", ".join(self.columns) or "none",
            "report": "kgrad.examine(run)",
        }
        rows = "".join(f"<tr><th>{name}</th><td>{html.escape(said)}</td></tr>" for name, said in facts.items())
        return f"<table>{rows}</table>"


def hold(columns: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """The columns with what was not taken in a step standing as it was last taken.

    Args:
        columns: as in `RunLog`; without a column `detailed` they come back as they are.
    """
    held = dict(columns)
    if "detailed" not in columns or not len(columns["detailed"]):
        return held
    detailed = columns["detailed"] == 1.0
    if detailed.all():
        return held
    source = np.maximum.accumulate(np.where(detailed, np.arange(len(detailed)), 0))
    for name in schema.STATISTICS:
        if name in held and name not in schema.ALWAYS:
            held[name] = held[name][source]
    return held


def _is_whole(name: str, values: FloatArray) -> bool:
    return schema.COLUMNS[name].type == "int64" and bool(np.isfinite(values).all())


def expect_run(log: Any) -> None:
    """Refuses what is not a run that was read, such as the path of one.

    Raises:
        KgradError: it is something else; the message says how to read a run.
    """
    if not isinstance(log, RunLog):
        said = repr(log)[:80]
        raise KgradError(f"expected a RunLog, got {type(log).__name__} {said}: read a run with kgrad.read_run(path)")
