"""The error of this room."""

from kgrad.errors import KgradError


class TreatmentError(KgradError):
    """A prescription cannot be applied to this model; the message says why and what to do by hand."""
