"""The rule `output-loss-mismatch`."""

from kgrad.diagnosis.finding import SEVERITIES, Evidence, Finding
from kgrad.diagnosis.loss_curve import loss_curve
from kgrad.diagnosis.mismatches import GRAVE, TOLERANCE, UNREACHABLE, first_mismatch
from kgrad.diagnosis.rule import NotApplicable, rule
from kgrad.diagnosis.skill import harm, skill
from kgrad.log.objective import objectives
from kgrad.log.run_log import RunLog


@rule(columns=("loss",), limits=(UNREACHABLE, GRAVE, TOLERANCE))
def output_loss_mismatch(log: RunLog) -> Finding | None:
    """The output layer, the loss and the targets do not fit together: the loss asks for what the output cannot give.

    Measured: nothing; it is read from the model's structure, the compiled loss and the range of the targets in the
    first batch. A softmax over one unit is a constant; a cross-entropy without `from_logits` needs probabilities; a
    softmax holds one label a row; a bounded output cannot reach targets outside its range. The severity follows the
    harm: it is lower where much was learned all the same, and a combination that merely is unusual (a sigmoid
    under a categorical cross-entropy, a squared error on classes) is a note.

    Blind spot: an operation that is no layer, and a loss of one's own, are not seen; without facts of the batch the
    targets are not known, and only the output layer and the loss are compared. A small batch may hide some classes.
    """
    outputs = objectives(log)
    if not any(output.activation for output in outputs):
        raise NotApplicable("the output layer and its loss are not known from the model's structure")
    learned = harm(log) == "info"
    found = [(output, mismatch) for output in outputs if (mismatch := first_mismatch(output)) is not None]
    if not found:
        return None
    graded = [(each.least if learned else each.worst, output, each) for output, each in found]
    severity, output, mismatch = max(graded, key=lambda each: SEVERITIES.index(each[0]))
    return Finding(
        rule="output-loss-mismatch",
        severity=severity,
        summary=mismatch.summary,
        layers=tuple(said.layer or each.layer for _, each, said in graded),
        first_step=int(log.steps[0]),
        last_step=int(log.steps[-1]),
        evidence=(*mismatch.evidence, *_learned(log)),
        confidence=0.97 if SEVERITIES.index(mismatch.worst) >= 2 else 0.6,
        details={
            "kind": mismatch.kind,
            "output": mismatch.layer or output.layer,
            "activation": log.structure.layer(mismatch.layer).activation if mismatch.layer else output.activation,
            "loss": output.loss.name if output.loss else None,
            "fix": mismatch.fix,
        },
    )


def _learned(log: RunLog) -> tuple[Evidence, ...]:
    reached = skill(log)
    known = () if reached is None else (Evidence("learned beyond the best constant answer", reached, "share"),)
    return (Evidence("progress of the loss", loss_curve(log).progress, "share"), *known)
