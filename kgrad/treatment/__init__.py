"""Applies prescriptions to models and proves them by trial."""

from kgrad.treatment.apply import apply
from kgrad.treatment.errors import TreatmentError

__all__ = ["TreatmentError", "apply"]
