"""Applies prescriptions to models and proves them by trial."""

from kgrad.treatment.apply import apply
from kgrad.treatment.dry_run import DryRun, LayerChange, dry_run
from kgrad.treatment.errors import TreatmentError
from kgrad.treatment.trial import Pair, Trial, trial

__all__ = ["DryRun", "LayerChange", "Pair", "TreatmentError", "Trial", "apply", "dry_run", "trial"]
