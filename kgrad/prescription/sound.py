"""What sound practice would set, whatever was found: what `treat` falls back on when no answer to a finding helps."""

from collections.abc import Sequence

from kgrad.diagnosis.diagnose import Diagnosis
from kgrad.diagnosis.finding import Finding
from kgrad.diagnosis.skill import learned_most
from kgrad.log.present_optimizer import present_optimizer
from kgrad.log.run_log import RunLog
from kgrad.prescription.activation import prescribe_awake, prescribe_bounded_growth, prescribe_non_saturating
from kgrad.prescription.architecture import prescribe_gated_cell
from kgrad.prescription.code import optimizer_code, optimizer_words
from kgrad.prescription.compile_code import compiled_code
from kgrad.prescription.initializer import prescribe_initializer
from kgrad.prescription.input_scaling import scaling_of
from kgrad.prescription.normalization import prescribe_normalization
from kgrad.prescription.prescription import Prescription
from kgrad.prescription.width import prescribe_ample_width, prescribe_wider, widened

# Kingma & Ba 2015 recommend 1e-3; networks of a handful of units need larger steps to get anywhere.
_ADAM_RATES = (1e-3, 1e-2)
# Faults of the task itself, which no other change makes up for.
_ROOTS = ("output", "input_scaling", "regularization")

# The rule whose note says that little was learned and nothing broken found: worth a trial, if no prescription.
LITTLE_LEARNED = "underfitting"

Change = tuple[Prescription, ...]


def sound_changes(log: RunLog, diagnosis: Diagnosis, offered: Sequence[Prescription]) -> tuple[Change, ...]:
    """Changes of several knobs at once, each a way of training that works for most networks.

    Adam at its usual rate and at ten times that, with rectifiers and their initialization where the present ones
    saturate, die or start off scale, with inputs brought to unit scale, with normalization inside, with ample units in
    every hidden layer, and at last with gated cells in place of plain recurrent ones. What was prescribed for output,
    input and penalties stays part of each, and so do more units for layers of a handful, but for gated cells, which
    take the place of those layers. What the run has already is no change.

    Args:
        log: the run.
        diagnosis: its diagnosis.
        offered: the prescriptions for it.
    """
    found = [each for each in diagnosis.findings if each.severity != "info" or each.rule == LITTLE_LEARNED]
    if not found and learned_most(log):
        return ()
    finding = found[0] if found else _note(log)
    roots = tuple({each.knob: each for each in reversed(offered) if each.knob in _ROOTS}.values())
    changes = _ways(*_in_width(log, roots, prescribe_wider(log, finding)), finding)
    ample = prescribe_ample_width(log, finding)
    if ample is not None:
        wide, with_ample = _in_width(log, roots, ample)
        begun = (*with_ample, *_scaling(wide, with_ample, finding), *_start(wide, finding))
        changes += [(*begun, _adam(wide, finding, rate)) for rate in _ADAM_RATES if with_ample is not roots]
    gated = _one(prescribe_gated_cell(log, finding))
    changes += [(*roots, *gated, _adam(log, finding, _ADAM_RATES[0]))] if gated else []
    present = present_optimizer(log)
    same = _adam(log, finding, present.constant_rate).code if present.name == "Adam" and present.constant_rate else ""
    by_code = {"\n".join(each.code for each in change): change for change in changes}
    return tuple(change for code, change in by_code.items() if code != same)


def _note(log: RunLog) -> Finding:
    """That much is left to learn, where no rule says so: half of it was learned."""
    first, last = int(log.steps[0]), int(log.steps[-1])
    return Finding(LITTLE_LEARNED, "info", "Much is left to learn.", first_step=first, last_step=last)


def _in_width(log: RunLog, roots: Change, wider: Prescription | None) -> tuple[RunLog, Change]:
    """The run with more units and these among what stays, unless an exact answer is about the same layers."""
    if wider is None or any(set(each.target) & set(wider.target) for each in roots):
        return log, roots
    return widened(log, wider), (wider, *roots)


def _ways(log: RunLog, roots: Change, finding: Finding) -> list[Change]:
    start, adam, fast = _start(log, finding), _adam(log, finding, _ADAM_RATES[0]), _adam(log, finding, _ADAM_RATES[1])
    scaling, inside = _scaling(log, roots, finding), _one(prescribe_normalization(log, finding))
    return [
        (*roots, *start, adam),
        (*roots, *start, fast),
        (*roots, *scaling, *start, adam),
        (*roots, adam),
        (*roots, *scaling, *start, *inside, adam),
    ]


def _scaling(log: RunLog, roots: Change, finding: Finding) -> Change:
    """Inputs of unit scale, unless they are brought there already."""
    return () if any(each.knob == "input_scaling" for each in roots) else _one(scaling_of(log, finding))


def _start(log: RunLog, finding: Finding) -> Change:
    """Rectifiers and weights that suit them, where the present ones do not suit."""
    answers = (prescribe_bounded_growth, prescribe_awake, prescribe_non_saturating, prescribe_initializer)
    return next((_one(made) for answer in answers if (made := answer(log, finding)) is not None), ())


def _adam(log: RunLog, finding: Finding, rate: float) -> Prescription:
    info = {"optimizer": {"class_name": "Adam", "config": {"learning_rate": rate}}}
    return Prescription(
        knob="optimizer",
        target=("optimizer",),
        before=optimizer_words(log.info).removeprefix("keras.optimizers."),
        after=optimizer_words(info).removeprefix("keras.optimizers."),
        why=f"Adam's steps do not depend on the size of the gradient, as those of {present_optimizer(log).name} may.",
        code=compiled_code(log.info, optimizer_code(info)),
        finding=finding.rule,
        evidence=finding.evidence[:1],
        settings={"optimizer": "Adam", "learning_rate": rate},
    )


def _one(prescription: Prescription | None) -> Change:
    return () if prescription is None else (prescription,)
