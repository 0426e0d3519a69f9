"""Asks every knob that can answer a finding what it has to offer."""

from collections.abc import Callable
from dataclasses import replace

from kgrad.diagnosis.diagnose import Diagnosis
from kgrad.diagnosis.finding import Finding
from kgrad.log.run_log import RunLog
from kgrad.prescription.activation import prescribe_leaky, prescribe_non_saturating
from kgrad.prescription.bias import prescribe_zero_bias
from kgrad.prescription.clipping import prescribe_clipping
from kgrad.prescription.initializer import prescribe_initializer
from kgrad.prescription.learning_rate import prescribe_higher_rate, prescribe_lower_rate
from kgrad.prescription.prescription import Prescription

Knob = Callable[[RunLog, Finding, Diagnosis], Prescription | None]


def _plain(knob: Callable[[RunLog, Finding], Prescription | None]) -> Knob:
    """A knob that needs no more than the log and the finding."""
    return lambda log, finding, _: knob(log, finding)


# Which knobs answer which rule, the one that goes to the root of it first.
KNOBS: dict[str, tuple[Knob, ...]] = {
    "vanishing-gradient": (_plain(prescribe_non_saturating), _plain(prescribe_initializer)),
    "exploding-gradient": (_plain(prescribe_initializer), prescribe_clipping, _plain(prescribe_lower_rate)),
    "nonfinite-gradient": (prescribe_clipping, _plain(prescribe_lower_rate)),
    "dead-units": (_plain(prescribe_zero_bias), _plain(prescribe_leaky), _plain(prescribe_lower_rate)),
    "plateau": (_plain(prescribe_initializer), _plain(prescribe_higher_rate)),
}


def prescribe(log: RunLog, diagnosis: Diagnosis) -> tuple[Prescription, ...]:
    """The prescriptions for a run, the best first.

    Causes are treated before symptoms: a symptom whose cause has a prescription gets none of its own.

    Args:
        log: the run.
        diagnosis: its diagnosis.
    """
    offered: list[Prescription] = []
    for finding in diagnosis.findings:
        answered = {prescription.finding for prescription in offered}
        if finding.severity == "info" or finding.caused_by in answered:
            continue
        answers = (knob(log, finding, diagnosis) for knob in KNOBS.get(finding.rule, ()))
        offered += [answer for answer in answers if answer is not None]
    return _with_conflicts(_without_repeats(offered))


def _without_repeats(offered: list[Prescription]) -> list[Prescription]:
    """The first of those that make the same change."""
    kept: dict[str, Prescription] = {}
    for prescription in offered:
        kept.setdefault(prescription.code, prescription)
    return list(kept.values())


def _with_conflicts(offered: list[Prescription]) -> tuple[Prescription, ...]:
    """Says where two prescriptions turn one knob of one target to different values."""

    def rivals(mine: Prescription) -> tuple[str, ...]:
        return tuple(
            f"{other.knob}: {other.after} (for {other.finding})"
            for other in offered
            if other is not mine
            and other.knob == mine.knob
            and other.after != mine.after
            and set(other.settings) & set(mine.settings)
            and set(other.target) & set(mine.target)
        )

    return tuple(replace(prescription, conflicts_with=rivals(prescription)) for prescription in offered)
