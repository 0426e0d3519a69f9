"""From a `RunLog` to a `Diagnosis`: pure functions, no framework."""

from kgrad.diagnosis.diagnose import Diagnosis, Outcome, diagnose
from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.diagnosis.phases import Phase

__all__ = ["Diagnosis", "Evidence", "Finding", "Outcome", "Phase", "diagnose"]
