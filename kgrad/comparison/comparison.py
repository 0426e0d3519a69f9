"""`Comparison`: all that many runs say together."""

import html
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from kgrad.comparison.association import Association
from kgrad.comparison.flatten import Setting
from kgrad.comparison.groups import Group
from kgrad.comparison.minima import SplitConfiguration
from kgrad.comparison.significance import PairTest
from kgrad.comparison.summary import RunSummary
from kgrad.log.strict_json import strict

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Comparison:
    """Many runs, compared.

    Attributes:
        verdict: a few sentences.
        runs: one summary per run, in the order they were given, unreadable ones included.
        measure: the metric whose last value is compared.
        ascending: whether more of it is better.
        differing: names of the settings that differ.
        shared: the settings that are the same in all runs.
        by: the settings that make a group.
        groups: runs of equal settings.
        tests: the groups in pairs, with Holm's correction.
        tested: which pairs were tested, or why none was.
        associations: what separates the sick runs from the healthy, the clearest first.
        configurations: the groups in which nothing but the seed differs.
        minima: those of them that end in two clusters of the loss.
    """

    verdict: tuple[str, ...]
    runs: tuple[RunSummary, ...]
    measure: str
    ascending: bool
    differing: tuple[str, ...]
    shared: Mapping[str, Setting]
    by: tuple[str, ...]
    groups: tuple[Group, ...]
    tests: tuple[PairTest, ...]
    tested: str
    associations: tuple[Association, ...]
    configurations: tuple[Group, ...]
    minima: tuple[SplitConfiguration, ...]

    def to_dict(self) -> dict[str, Any]:
        """The comparison as plain JSON types; NaN and infinities become `None`."""
        data: dict[str, Any] = strict({"schema_version": SCHEMA_VERSION, **asdict(self)})
        return data

    def to_pandas(self) -> "pd.DataFrame":
        """One row per run: settings, the last and the best of every metric, the diagnosis."""
        import pandas as pd

        return pd.DataFrame([self._row(place) for place in range(len(self.runs))])

    def groups_to_pandas(self) -> "pd.DataFrame":
        """One row per group: its settings, how many runs, the pooled measure."""
        import pandas as pd

        rows = []
        for each in self.groups:
            pooled = {"mean": each.mean, "std": each.std, "low": each.low, "high": each.high}
            counts = {"runs": len(each.runs), "sick": each.sick, "values": len(each.values), "diverged": each.diverged}
            rows.append({**each.settings, **counts, **{f"{self.measure} {key}": v for key, v in pooled.items()}})
        return pd.DataFrame(rows)

    def _row(self, place: int) -> dict[str, Any]:
        run = self.runs[place]
        group = next((number for number, each in enumerate(self.groups) if place in each.runs), None)
        row: dict[str, Any] = {"run": run.name, "path": run.path, "status": run.status, "problem": run.problem}
        row |= {"group": group, "seed": run.seed}
        row |= {name: run.settings.get(name) for name in (*self.differing, *self.shared)}
        row |= {"recorded_steps": run.steps, "recorded_epochs": run.epochs}
        for name, metric in run.metrics.items():
            row |= {name: metric.last, f"{name}_best": metric.best, f"{name}_best_step": metric.best_step}
        return row | {
            "severity": run.severity if run.is_judged else None,
            "diseases": ", ".join(run.causes),
            "verdict": run.verdict,
        }

    def _repr_html_(self) -> str:
        """What a notebook shows: the verdict and the groups."""
        said = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in self.verdict)
        return f"{said}{self.groups_to_pandas().to_html(max_rows=30, float_format='{:.4g}'.format)}"
