"""What prescriptions change about `fit`, apart from what they change about the model."""

from collections.abc import Sequence
from typing import Any

import keras

from kgrad.prescription.prescription import Prescription
from kgrad.prescription.together import joined, parts_of
from kgrad.treatment.arguments import chosen_of

# Arguments of `fit` as they are named there.
_ARGUMENTS = ("epochs", "batch_size")


def of_fit(prescription: Prescription) -> bool:
    """Whether all that it changes is how long to train, or in which batches."""
    return prescription.target == ("fit",) and any(name in prescription.settings for name in _ARGUMENTS)


def of_model(prescription: Prescription) -> Prescription | None:
    """The same without what it changes about `fit`; `None` where nothing is left."""
    if of_fit(prescription):
        return None
    parts = list(parts_of([prescription]))
    kept = [part for part in parts if not of_fit(part)]
    if len(kept) == len(parts):
        return prescription
    return kept[0] if len(kept) == 1 else joined(kept, prescription.why)


def fit_arguments(prescriptions: Prescription | Sequence[Prescription], **arguments: Any) -> dict[str, Any]:
    """The arguments of `fit` as the prescriptions would have them: what `apply` leaves to whoever trains.

    Args:
        prescriptions: what to change; what is no change of `fit` is passed over.
        arguments: those that `fit` is called with now.

    Returns:
        All arguments, with the prescribed `epochs` and `batch_size`, and with early stopping behind the callbacks
        where it was prescribed; it watches the training loss where there are no validation data.
    """
    chosen = chosen_of(prescriptions)
    changed = dict(arguments)
    for each in filter(of_fit, parts_of(chosen)):
        changed |= {name: each.settings[name] for name in _ARGUMENTS if name in each.settings}
        if "patience" in each.settings:
            stop = _early_stopping(each, changed)
            changed["callbacks"] = [*(changed.get("callbacks") or ()), stop]
    return changed


def _early_stopping(prescription: Prescription, arguments: dict[str, Any]) -> keras.callbacks.EarlyStopping:
    validated = arguments.get("validation_data") is not None or bool(arguments.get("validation_split"))
    watched = prescription.settings["monitor"] if validated else "loss"
    patience = prescription.settings["patience"]
    return keras.callbacks.EarlyStopping(monitor=watched, patience=patience, restore_best_weights=True)
