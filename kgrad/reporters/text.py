"""The report for a terminal or a ticket: plain text."""

from collections.abc import Sequence

from kgrad.diagnosis import Diagnosis, Evidence, Finding
from kgrad.log.run_log import RunLog
from kgrad.prescription.effect import Effect
from kgrad.prescription.prescription import Prescription


def render_text(log: RunLog, diagnosis: Diagnosis, prescriptions: Sequence[Prescription]) -> str:
    """Verdict, findings with their evidence, prescriptions with their code."""
    lines = [diagnosis.verdict, "", f"run {log.name}: {log.status}, {len(log)} recorded steps"]
    if log.info.get("error"):
        lines.append(f"ended by: {log.info['error']}")
    for finding in diagnosis.findings:
        lines += ["", *_finding(finding)]
    for number, prescription in enumerate(prescriptions, 1):
        lines += ["", *_prescription(number, prescription)]
    lines += ["", *_others(diagnosis)]
    return "\n".join(lines).rstrip() + "\n"


def _finding(finding: Finding) -> list[str]:
    cause = f", a symptom of {finding.caused_by}" if finding.caused_by else ""
    head = f"[{finding.severity}] {finding.rule}{cause} (steps {finding.first_step} to {finding.last_step})"
    return [head, f"  {finding.summary}", *(f"  - {_evidence(entry)}" for entry in finding.evidence)]


def _evidence(entry: Evidence) -> str:
    limit = "" if entry.limit is None else f" (limit {entry.limit:.3g})"
    return f"{entry.label}: {measure(entry.value, entry.unit)}{limit}"


def measure(value: float, unit: str) -> str:
    """A number with its unit, for people.

    >>> measure(0.25, "share"), measure(3.0, "decades"), measure(0.001234, "1")
    ('25 %', '3 decades', '0.00123')
    """
    if unit == "share":
        return f"{100 * value:.3g} %"
    return f"{value:.3g}" if unit == "1" else f"{value:.3g} {unit}"


def _prescription(number: int, prescription: Prescription) -> list[str]:
    head = f"Prescription {number}, {prescription.knob}: {prescription.before} -> {prescription.after}"
    code = [f"    {line}" for line in prescription.code.splitlines()]
    conflicts = [f"  pulls against {other}" for other in prescription.conflicts_with]
    effect = [] if prescription.effect is None else [f"  expected: {_effect(prescription.effect)}"]
    return [head, f"  {prescription.why}", *effect, *conflicts, "", *code]


def _effect(effect: Effect) -> str:
    before, after = (measure(value, effect.unit) for value in (effect.before, effect.after))
    return f"{effect.quantity}: {before} -> {after} ({effect.source})"


def _others(diagnosis: Diagnosis) -> list[str]:
    lines = []
    clear = [outcome.rule for outcome in diagnosis.outcomes if outcome.status == "clear"]
    if clear:
        lines.append(f"clear: {', '.join(clear)}")
    for outcome in diagnosis.outcomes:
        if outcome.status in ("not applicable", "error"):
            lines.append(f"{outcome.status}: {outcome.rule} ({outcome.reason})")
    return lines
