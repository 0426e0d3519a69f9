"""The learning-rate-schedule knob: a rate that begins small, or that falls once the loss stands."""

from dataclasses import replace

from kgrad.diagnosis.finding import Finding
from kgrad.log.present_optimizer import present_optimizer
from kgrad.log.run_log import RunLog
from kgrad.prescription.code import number, optimizer_code
from kgrad.prescription.compile_code import compiled_code
from kgrad.prescription.prescription import Prescription
from kgrad.prescription.recompiled import recompiled


def prescribe_decay(log: RunLog, finding: Finding) -> Prescription | None:
    """A rate that is halved whenever the loss stops falling: large steps first, small ones to settle."""
    if present_optimizer(log).has_schedule:
        return None  # Keras lets no callback set the rate of a schedule
    epochs = (log.info.get("fit") or {}).get("epochs")
    patience = max(2, (epochs or 10) // 10)
    planned = f"epochs={epochs}, " if epochs else ""
    return Prescription(
        knob="learning_rate_schedule",
        target=("fit",),
        before="one learning rate for the whole run",
        after=f"halved after {patience} epochs without progress",
        why="Steps that swing around the valley settle once they are smaller.",
        code=(
            f"model.fit(x, y, {planned}callbacks=[\n    keras.callbacks.ReduceLROnPlateau("
            f'monitor="loss", factor=0.5, patience={patience}, min_lr=1e-6)\n])'
        ),
        finding=finding.rule,
        evidence=finding.evidence[:2],
    )


def prescribe_lasting_rate(log: RunLog, finding: Finding) -> Prescription | None:
    """The largest rate of a schedule that ended too soon for the whole run.

    Steps that shrink like `1 / step` from the first on go no further in all than the logarithm of their number.
    """
    rate, optimizer = finding.details.get("learning_rate"), present_optimizer(log)
    if finding.details.get("kind") != "idle" or not rate or not optimizer.has_schedule:
        return None
    wanted = float(number(float(rate)))
    constant = recompiled(
        log,
        finding,
        {"learning_rate": wanted},
        knob="optimizer",
        before="a schedule that ends too soon",
        after=f"a learning rate of {number(wanted)} in all steps",
        why="The schedule leaves next to no learning rate for most of the run.",
        evidence=finding.evidence,
        effect=None,
    )
    # One number cannot take the place of a schedule: the optimizer is made anew, all else as it is.
    kept = {name: value for name, value in optimizer.config.items() if value is not None and name != "name"}
    return replace(constant, settings={**kept, "optimizer": optimizer.name, "learning_rate": wanted})


def prescribe_warm_up(log: RunLog, finding: Finding) -> Prescription | None:
    """A rate that rises from zero over the first tenth of the run and falls along a cosine, where it was thrown early.

    The first gradients are the largest and Adam's averages know least then (Goyal et al. 2017, section 2.2; Liu et
    al. 2020, "On the Variance of the Adaptive Learning Rate"); Loshchilov & Hutter 2017 for the cosine.
    """
    fit = log.info.get("fit") or {}
    present = present_optimizer(log).constant_rate
    steps = int(fit.get("epochs") or 0) * int(fit.get("steps_per_epoch") or 0)
    if finding.details.get("kind") != "overshoot" or not steps or present is None:
        return None
    warm = max(steps // 10, 1)
    config = {"decay_steps": max(steps - warm, 1), "warmup_target": present, "warmup_steps": warm}
    schedule = {"class_name": "CosineDecay", "config": {"initial_learning_rate": 0.0, **config}}
    return Prescription(
        knob="learning_rate_schedule",
        target=("optimizer",),
        before=f"{present:.3g} from the first step on",
        after=f"up to {present:.3g} over {warm} steps, then down along a cosine",
        why="The first steps were the ones that threw the weights away; they begin small and grow.",
        code=compiled_code(log.info, optimizer_code(log.info, learning_rate=schedule)),
        finding=finding.rule,
        evidence=finding.evidence[:2],
    )
