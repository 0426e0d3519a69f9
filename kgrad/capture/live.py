"""The diagnosis while training goes on: what has been written so far, judged by the same rules as at the end."""

import time
from dataclasses import dataclass

from kgrad import workflow
from kgrad.diagnosis.finding import SEVERITIES, Finding
from kgrad.diagnosis.rule import find_rule
from kgrad.errors import CaptureError
from kgrad.log.store import Store

# A look waits until the run is this much longer, and until this many times its own cost has passed.
_LONGER = 1.25
_REST = 20.0
_FIRST = 50
# What passes by itself must last: two looks in a row, after this share of the planned steps.
_SETTLED = 0.2
# What ended before this share of the steps so far is over, and no reason to stop.
_PASSED = 0.8


@dataclass(frozen=True)
class Sight:
    """What a look at the run so far found.

    Attributes:
        finding: the disease, gravest first.
        stop: whether it is grave enough to stop for.
    """

    finding: Finding
    stop: bool


class Live:
    """Looks at a run from time to time.

    Args:
        stop_on: the least severity that stops the training; `None` never stops it.
        warn: whether to look at all where nothing is to be stopped.

    Raises:
        CaptureError: `stop_on` is no severity.
    """

    def __init__(self, stop_on: str | None, warn: bool) -> None:
        if stop_on is not None and stop_on not in SEVERITIES[1:]:
            raise CaptureError(f"stop_on={stop_on!r}: expected None or one of {', '.join(SEVERITIES[1:])}")
        self._stop_on = stop_on
        self._warn = warn
        self._due = float(_FIRST) if warn or stop_on else float("inf")
        self._rest_until = 0.0
        self._seen: set[str] = set()
        self._told: set[str] = set()

    def is_due(self, steps: int) -> bool:
        """Whether it is time for a look."""
        return steps >= self._due and time.monotonic() >= self._rest_until

    def look(self, run: str | Store, steps: int, planned: int | None) -> list[Sight]:
        """Diagnoses what is in the run folder, by the very code that judges a finished run.

        Args:
            run: the run folder or its store, with everything written to it.
            steps: steps made so far.
            planned: steps that the whole training is to have, `None` where that is not known.

        Returns:
            Causes that were not told before, gravest first, and grave symptoms whose cause is not judged yet.
        """
        start = time.monotonic()
        diseases = [f for f in workflow.examine(run).diagnosis.findings if f.severity != "info"]
        self._due = steps * _LONGER
        self._rest_until = time.monotonic() + _REST * (time.monotonic() - start)
        settled = planned is None or steps >= _SETTLED * planned
        counted = [f for f in diseases if self._counts(f, settled, steps)]
        causes = {each.rule for each in counted}
        # A symptom is left to the report where its cause is told. A grave one whose cause is not judged yet is news.
        lasting = [f for f in counted if not f.caused_by or (f.caused_by not in causes and f.severity == "high")]
        self._seen = {finding.rule for finding in diseases}
        new = [finding for finding in lasting if finding.rule not in self._told]
        self._told |= {finding.rule for finding in new}
        return [Sight(finding, self._stops(finding)) for finding in new]

    def _counts(self, finding: Finding, settled: bool, steps: int) -> bool:
        judged = find_rule(finding.rule).judged
        lasts = finding.last_step >= _PASSED * steps
        return judged == "at once" or (judged == "in time" and settled and lasts and finding.rule in self._seen)

    def _stops(self, finding: Finding) -> bool:
        return self._stop_on is not None and SEVERITIES.index(finding.severity) >= SEVERITIES.index(self._stop_on)
