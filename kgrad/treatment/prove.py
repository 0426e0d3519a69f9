"""`prove`: the prescriptions of an examination tried out, for its report to show."""

from dataclasses import replace
from typing import Any

import keras

from kgrad.treatment.dry_run import dry_run
from kgrad.treatment.errors import TreatmentError
from kgrad.treatment.trial import trial
from kgrad.workflow import Examination


def prove(
    examination: Examination, model: keras.Model, x: Any, y: Any = None, *, most: int = 3, **trial_arguments: Any
) -> Examination:
    """The examination with a dry run and a trial of each of its first prescriptions.

    Args:
        examination: of a run of this model.
        model: the model as it was before the run: built and compiled, Sequential or Functional. It is not touched.
        x: inputs: an array, any nesting of arrays, or a `tf.data.Dataset` of batches with targets.
        y: targets; `None` for a dataset.
        most: how many prescriptions to try; those that cannot be applied to a model are passed over.
        trial_arguments: as for `kgrad.trial`: `steps`, `seeds`, `seconds`, ...
    """
    dry_runs: list[dict[str, Any]] = []
    trials: list[dict[str, Any]] = []
    for each in examination.prescriptions:
        if len(trials) == most:
            break
        try:
            shown, tried = dry_run(model, each, x, y), trial(model, each, x, y, **trial_arguments)
        except TreatmentError:
            continue
        dry_runs.append({"prescription": each.to_dict(), **shown.to_dict()})
        trials.append({"prescription": each.to_dict(), **tried.to_dict()})
    return replace(examination, dry_runs=tuple(dry_runs), trials=tuple(trials))
