"""Prescriptions that change arguments of the optimizer and nothing else: made anew, and the model compiled with it."""

from collections.abc import Mapping

from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.log.run_log import RunLog
from kgrad.prescription.code import optimizer_code
from kgrad.prescription.compile_code import compiled_code
from kgrad.prescription.effect import Effect
from kgrad.prescription.prescription import Prescription


def recompiled(
    log: RunLog,
    finding: Finding,
    changes: Mapping[str, float | None],
    *,
    knob: str,
    before: str,
    after: str,
    why: str,
    evidence: tuple[Evidence, ...],
    effect: Effect | None,
) -> Prescription:
    """The run's optimizer with some arguments changed.

    Args:
        log: the run.
        finding: what it is prescribed for.
        changes: argument -> new value; `None` takes it out.
        knob: what is turned.
        before: the present setting in words.
        after: the new one.
        why: one sentence.
        evidence: numbers of this run.
        effect: what theory expects.
    """
    return Prescription(
        knob=knob,
        target=("optimizer",),
        before=before,
        after=after,
        why=why,
        code=compiled_code(log.info, optimizer_code(log.info, **changes)),
        finding=finding.rule,
        evidence=evidence,
        settings={name: value for name, value in changes.items() if value is not None},
        effect=effect,
    )
