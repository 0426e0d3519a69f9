"""Applies prescriptions to models and proves them by trial."""

from kgrad.treatment.apply import apply
from kgrad.treatment.dry_run import DryRun, LayerChange, dry_run
from kgrad.treatment.errors import TreatmentError

__all__ = ["DryRun", "LayerChange", "TreatmentError", "apply", "dry_run"]
