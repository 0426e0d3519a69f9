"""The numbers of the steps as a table and in words: what a chart says to who cannot see it."""

from dataclasses import dataclass

import numpy as np

from kgrad.log.run_log import FloatArray
from kgrad.reporters.view import View
from kgrad.reporters.wording import counted, number

# Rows of the table: enough to follow the run by ear.
_MOST_ROWS = 25
_HEADINGS = {
    "loss": "loss",
    "global_norm": "global norm",
    "applied_global_norm": "after clipping",
    "learning_rate": "learning rate",
    "loss_scale": "loss scale",
}


@dataclass(frozen=True)
class StepTable:
    """Some steps, evenly spread over the run."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def step_table(view: View) -> StepTable:
    """The table of a run."""
    held = list(view.series)
    spread = np.linspace(0, len(view.bins) - 1, _MOST_ROWS if held else 0)
    places = [int(place) for place in np.unique(spread.astype(int))]
    rows = tuple(
        (f"{view.bins.first[place]:,}", *(number(float(view.series[name].middle[place])) for name in held))
        for place in places
    )
    return StepTable(("step", *(_HEADINGS[name] for name in held)), rows)


def describe(what: str, values: FloatArray) -> str:
    """A curve in words: where it starts and ends, its extremes, and what is not finite."""
    known = values[np.isfinite(values)]
    if not len(known):
        return f"{what}: no finite value."
    said = f"{what}: {number(known[0])} at first, {number(known[-1])} at last; least {number(known.min())}, "
    said += f"largest {number(known.max())}."
    lost = len(values) - len(known)
    return f"{said} Not finite in {counted(lost, 'step')}." if lost else said
