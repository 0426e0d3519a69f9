"""Applies prescriptions to models, proves them by trial, and heals by them."""

from kgrad.treatment.apply import apply
from kgrad.treatment.dry_run import DryRun, LayerChange, dry_run
from kgrad.treatment.errors import TreatmentError
from kgrad.treatment.fitting import fit_arguments
from kgrad.treatment.prove import prove
from kgrad.treatment.treat import treat
from kgrad.treatment.treatment import Attempt, Round, Treatment
from kgrad.treatment.trial import Pair, Trial, trial

__all__ = [
    "Attempt",
    "DryRun",
    "LayerChange",
    "Pair",
    "Round",
    "Treatment",
    "TreatmentError",
    "Trial",
    "apply",
    "dry_run",
    "fit_arguments",
    "prove",
    "treat",
    "trial",
]
