"""What a treatment did, for people and for the page."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kgrad.log.strict_json import strict
from kgrad.treatment.interval import Interval


@dataclass(frozen=True)
class Attempt:
    """One prescription, or several together, in a short trial.

    Attributes:
        prescriptions: each in a few words.
        code: what to paste.
        why: the first one's reason.
        findings: the rules that they answer.
        verdict: `"proven"`, `"no effect"`, `"harmful"`, `"behind"` (left out after the first seed), `"not applied"`,
            or `"not comparable"`.
        unchanged: the measure of the unchanged model at the end, for each seed.
        changed: the same of the changed one.
        difference: changed minus unchanged over the seeds, with its interval; `None` for one seed.
        note: why it was not applied, or what the measure is.
    """

    prescriptions: tuple[str, ...]
    code: str
    why: str
    findings: tuple[str, ...]
    verdict: str
    unchanged: tuple[float, ...] = ()
    changed: tuple[float, ...] = ()
    difference: Interval | None = None
    note: str = ""


@dataclass(frozen=True)
class Round:
    """One training under watch, and what was tried because of it.

    Attributes:
        verdict: the diagnosis in one sentence.
        findings: the diseases of the run: rule, severity and sentence, the first cause first.
        steps: training steps under watch.
        loss: the measured loss after it; `None` where it cannot be compared with that of the given model.
        accuracy: the accuracy after it, `None` where the targets are no classes.
        adopted: whether its model was kept as the best so far; if it was better but sick, `reason` says so.
        attempts: what was tried.
        kept: the prescriptions that the next round trains with, in words; empty where none.
        reason: why these.
        trial_steps: training steps that the attempts took, of all models together.
    """

    verdict: str
    findings: tuple[tuple[str, str, str], ...]
    steps: int
    loss: float | None
    accuracy: float | None
    adopted: bool
    attempts: tuple[Attempt, ...] = ()
    kept: tuple[str, ...] = ()
    reason: str = ""
    trial_steps: int = 0
    r_squared: float | None = None


@dataclass(frozen=True)
class Treatment:
    """The story of one `kgrad.treat`.

    Attributes:
        rounds: the trainings in order.
        outcome: `"healthy"` (it was, or is now), `"better"` (still sick, but better than before), `"unchanged"` (sick,
            and no change was better), or `"as given"` (no training at all left it better than it came).
        loss_given: measured loss of the model as it was given, `None` where it cannot be measured.
        accuracy_given: its accuracy.
        loss: measured loss of the model that is returned.
        accuracy: its accuracy.
        measured_on: `"validation data"` or `"training data"`.
        steps: training steps of all models together.
        budget: how many were allowed.
        changes: what the returned model differs in, in words.
        code: the same to paste.
        r_squared_given: share of the targets' variance that the given model predicts, `None` for classes.
        r_squared: that of the model that is returned.
    """

    rounds: tuple[Round, ...]
    outcome: str
    loss_given: float | None
    accuracy_given: float | None
    loss: float | None
    accuracy: float | None
    measured_on: str
    steps: int
    budget: int
    changes: tuple[str, ...]
    code: str
    r_squared_given: float | None = None
    r_squared: float | None = None

    @property
    def summary(self) -> str:
        """What was wrong, what was kept and what it did, on one line: the first training's figures → the model's."""
        first = self.rounds[0]
        wrong = first.findings[0][0].replace("-", " ") if first.findings else "nothing"
        stays = "no training left it better" if self.outcome == "as given" else "no change"
        parts = [f"{self.outcome}: {wrong} found", "; ".join(self.changes) or stays]
        for name, before, after, form in (
            ("loss", first.loss, self.loss, "{:.3g}"),
            ("accuracy", first.accuracy, self.accuracy, "{:.1%}"),
            ("R²", first.r_squared, self.r_squared, "{:.3g}"),
        ):
            if before is not None and after is not None:
                said = "" if self.outcome == "as given" else f"{form.format(before)} → "
                parts.append(f"{name} {said}{form.format(after)}".replace("%", " %"))
        return f"{'; '.join(parts)} on {self.measured_on}; {self.steps:,} of {self.budget:,} steps"

    def to_dict(self) -> Mapping[str, Any]:
        """The treatment as plain JSON types; what is not finite is `None`."""
        return dict(strict({**asdict(self), "summary": self.summary}))

    def write_report(self, place: str | os.PathLike[str]) -> Path:
        """Writes the story as one HTML page and returns where.

        Raises:
            KgradError: the file cannot be written.
        """
        from kgrad.reporters.treatment_page import render_treatment_html
        from kgrad.workflow import write_text

        return write_text(place, render_treatment_html(self.to_dict()))
