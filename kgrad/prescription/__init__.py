"""From findings to executable changes, with values from the run's own numbers."""

from kgrad.prescription.effect import Effect
from kgrad.prescription.prescribe import prescribe
from kgrad.prescription.prescription import Prescription

__all__ = ["Effect", "Prescription", "prescribe"]
