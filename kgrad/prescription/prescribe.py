"""Asks every knob what it has to offer."""

from kgrad.diagnosis.diagnose import Diagnosis
from kgrad.log.run_log import RunLog
from kgrad.prescription.prescription import Prescription


def prescribe(log: RunLog, diagnosis: Diagnosis) -> tuple[Prescription, ...]:
    """The prescriptions for a run, the best first."""
    return ()
