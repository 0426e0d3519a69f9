"""The data knob: rows that hold numbers."""

from kgrad.diagnosis.finding import Finding
from kgrad.log.run_log import RunLog
from kgrad.prescription.effect import Effect
from kgrad.prescription.prescription import Prescription


def prescribe_finite_rows(log: RunLog, finding: Finding) -> Prescription | None:
    """Rows without NaN and infinity, where the data themselves hold some: one of them undoes all weights.

    A sum over a batch with one NaN in it is NaN, and so is every weight after the update (IEEE 754).
    """
    facts = log.data
    if facts is None:
        return None
    lost = {name: sum(t.nonfinite for t in each) for name, each in (("x", facts.inputs), ("y", facts.targets))}
    dirty = [name for name, count in lost.items() if count]
    if not dirty or len(facts.inputs) != 1 or len(facts.targets) > 1:
        return None  # several inputs are cleaned by hand, one by one
    checks = " & ".join(f"np.isfinite({name}).reshape(len({name}), -1).all(axis=1)" for name in dirty)
    counts = " and ".join(f"{lost[name]} of {name}" for name in dirty)
    return Prescription(
        knob="data_cleaning",
        target=tuple(dirty),
        before=f"numbers that are not finite in {facts.rows} rows: {counts}",
        after="rows whose numbers are all finite",
        why="One NaN in a batch makes the loss NaN, and the next update every weight.",
        code=f"import numpy as np\nsound = {checks}\nx, y = x[sound], y[sound]",
        finding=finding.rule,
        evidence=finding.evidence[-1:],
        effect=Effect(
            "numbers in the batch that are not finite", float(sum(lost.values())), 0.0, "1", "by their removal"
        ),
    )
