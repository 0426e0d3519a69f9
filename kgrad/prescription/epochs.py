"""The epochs knob: training until the weights have gone somewhere."""

import math

from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.log.run_log import RunLog
from kgrad.prescription.prescription import Prescription

# A path of about the weights' own size is where sound runs of small networks have learned their task.
_PATH = 1.0
_MOST = 50.0


def prescribe_more_epochs(log: RunLog, finding: Finding) -> Prescription | None:
    """So many more epochs that the weights travel their own size, with an end when the loss stops falling."""
    epochs = (log.info.get("fit") or {}).get("epochs")
    path = float(finding.details.get("path") or 0.0)
    if not epochs or path <= 0:
        return None
    factor = min(max(_PATH / path, 2.0), _MOST)
    wanted = math.ceil(epochs * factor)
    return Prescription(
        knob="epochs",
        target=("fit",),
        before=f"{epochs} epochs",
        after=f"up to {wanted} epochs",
        why=f"{len(log)} steps moved the weights by {path:.2g} of their size; {factor:.2g} times as many are due.",
        code=(
            f"model.fit(x, y, epochs={wanted}, callbacks=[\n"
            '    keras.callbacks.EarlyStopping(monitor="loss", patience=10, restore_best_weights=True)\n'
            "])"
        ),
        finding=finding.rule,
        evidence=(Evidence("path of the weights over the run", path, "weight sizes", _PATH),),
        settings={"epochs": wanted},
    )
