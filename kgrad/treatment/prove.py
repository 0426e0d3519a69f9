"""`prove`: the prescriptions of an examination tried out, for its report to show."""

import logging
from dataclasses import replace
from typing import Any

import keras

from kgrad.log.proofs import write_proofs
from kgrad.log.strict_json import strict
from kgrad.treatment.dry_run import dry_run
from kgrad.treatment.errors import TreatmentError
from kgrad.treatment.trial import trial
from kgrad.workflow import Examination

_logger = logging.getLogger("kgrad")


def prove(
    examination: Examination, model: keras.Model, x: Any, y: Any = None, *, most: int = 3, **trial_arguments: Any
) -> Examination:
    """The examination with a dry run of each of its prescriptions, and a trial of each of the first.

    They are kept in the run folder, in `proofs.json`, so that `kgrad report` shows them from then on.

    Args:
        examination: of a run of this model.
        model: the model as it was before the run: built and compiled, Sequential or Functional. It is not touched.
        x: inputs: an array, any nesting of arrays, or a `tf.data.Dataset` of batches with targets.
        y: targets; `None` for a dataset.
        most: how many trials; prescriptions that cannot be applied to a model are passed over.
        trial_arguments: as for `kgrad.trial`: `steps`, `seeds`, `seconds`, ...

    Raises:
        TreatmentError: no change can be made to such a model, or the data do not fit.
    """
    dry_runs: list[dict[str, Any]] = []
    trials: list[dict[str, Any]] = []
    dry_run(model, (), x, y)  # refuses models that no change can be made to, and data that do not fit
    for each in examination.prescriptions:
        told = {"prescription": each.to_dict()}
        try:
            dry_runs.append(told | dry_run(model, each, x, y).to_dict())
            if len(trials) < most:
                trials.append(told | trial(model, each, x, y, **trial_arguments).to_dict())
        except TreatmentError:
            continue
    proven = replace(examination, dry_runs=tuple(map(strict, dry_runs)), trials=tuple(map(strict, trials)))
    if examination.log.path and dry_runs:
        try:
            write_proofs(examination.log.path, proven.dry_runs, proven.trials)
        except OSError as error:
            _logger.warning("kgrad could not keep what was tried in %s: %s", examination.log.path, error)
    return proven
