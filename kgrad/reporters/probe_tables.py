"""What was measured on the reference batch now and then: activations by layer, curvature by step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kgrad.log import schema
from kgrad.log.run_log import RunLog
from kgrad.reporters.wording import clip, counted, measured, number, steps_between

# Rows of the curvature table on a page: more are thinned evenly, and the table says so.
_MOST_ROWS = 60
# Heading, column and unit of what the activations table says of a layer, at the first and the last measurement.
_ACTIVATIONS = (
    ("Mean", "mean", "1"),
    ("Deviation", "std", "1"),
    ("Saturated", "saturated_fraction", "share"),
    ("Dead units", "dead_fraction", "share"),
    ("Deviation before the activation", "pre_std", "1"),
)


@dataclass(frozen=True)
class ProbeTable:
    """A table ready to print.

    Attributes:
        title: its heading.
        says: what the numbers are and when they were taken.
        headings: of the columns; the first names the rows.
        rows: cells as text, the first the row's name.
        is_drawn: whether a chart of the same name shows them.
    """

    title: str
    says: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    is_drawn: bool = False


def probe_tables(log: RunLog) -> tuple[ProbeTable, ...]:
    """The tables that the run has; one that was never taken is left out."""
    made = []
    for name, build in ((schema.ACTIVATIONS, _activations), (schema.CURVATURE, _curvature)):
        if name in log.tables and len(log.table(name)["step"]):
            made.append(build(log.table(name), log))
    return tuple(made)


def _activations(table: Mapping[str, NDArray[Any]], log: RunLog) -> ProbeTable:
    """A row for each layer and call: its numbers at the first measurement and at the last."""
    steps, layers = np.asarray(table["step"], np.int64), np.asarray(table["layer"])
    calls, at = np.asarray(table["call"], np.int64), np.unique(steps)
    shown = [entry for entry in _ACTIVATIONS if entry[1] in table and not np.isnan(_floats(table, entry[1])).all()]
    order = {layer.name: place for place, layer in enumerate(log.structure.layers)}
    keys = sorted(
        set(zip(layers.tolist(), calls.tolist(), strict=True)), key=lambda k: (order.get(k[0], len(order)), k)
    )
    rows = []
    for layer, call in keys:
        mine = np.flatnonzero((layers == layer) & (calls == call))
        ends = mine[np.argmin(steps[mine])], mine[np.argmax(steps[mine])]
        cells = [_change([float(table[column][end]) for end in ends], unit) for _, column, unit in shown]
        rows.append((clip(layer) + (f", call {call + 1}" if call else ""), *cells))
    when = f"{counted(len(at), 'measurement')} on the reference batch, after {_span(at)} made"
    return ProbeTable(
        "Activations",
        f"{when}: each layer's output at the first → at the last. Saturated: share at the flat ends of a tanh or "
        "sigmoid. Dead units: share that is zero in every row of the batch.",
        ("Layer", *(heading for heading, _, _ in shown)),
        tuple(rows),
    )


def _curvature(table: Mapping[str, NDArray[Any]], _: RunLog) -> ProbeTable:
    """A row for each measurement: the extreme eigenvalues of the Hessian with their error bounds."""
    order = np.argsort(np.asarray(table["step"], np.int64), kind="stable")
    kept = order[np.unique(np.linspace(0, len(order) - 1, min(len(order), _MOST_ROWS)).round().astype(int))]
    rows = tuple(
        (
            f"{int(table['step'][row]):,}",
            _bounded(table, "smallest", row),
            _bounded(table, "largest", row),
            _known(float(table["gradient_norm"][row]), "1"),
        )
        for row in kept
    )
    thinned = f", {len(kept)} of which are shown" if len(kept) < len(order) else ""
    return ProbeTable(
        "Curvature",
        f"{counted(len(order), 'measurement')} on the reference batch{thinned}: the extreme eigenvalues of the "
        "Hessian, in loss per weight squared, with the bound of their error. A clearly negative smallest one is a way "
        "down that the gradient does not show. On a quadratic, plain gradient descent is stable while the largest "
        "stays under 2 / learning rate (Cohen et al. 2021).",
        ("Steps made", "Smallest eigenvalue", "Largest eigenvalue", "Gradient norm"),
        rows,
        is_drawn=True,
    )


def _floats(table: Mapping[str, NDArray[Any]], column: str) -> NDArray[np.float64]:
    return np.asarray(table[column], np.float64)


def _span(steps: NDArray[np.int64]) -> str:
    return steps_between(int(steps[0]), int(steps[-1]))


def _change(ends: Sequence[float], unit: str) -> str:
    first, last = (_known(value, unit) for value in ends)
    return first if first == last else f"{first} → {last}"


def _known(value: float, unit: str) -> str:
    return "–" if np.isnan(value) else measured(value, unit)


def _bounded(table: Mapping[str, NDArray[Any]], name: str, row: int) -> str:
    value, error = float(table[name][row]), float(table[f"{name}_error"][row])
    return "–" if np.isnan(value) else f"{number(value)} ± {number(error)}"
