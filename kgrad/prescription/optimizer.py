"""The optimizer knob: adaptive steps to leave plateaus and saddles, and a push out of them."""

import numpy as np

from kgrad.diagnosis import signals
from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.log.present_optimizer import present_optimizer
from kgrad.log.run_log import RunLog
from kgrad.prescription.code import number, optimizer_code, optimizer_words
from kgrad.prescription.compile_code import compiled_code
from kgrad.prescription.effect import Effect
from kgrad.prescription.prescription import Prescription

# Keras' default, and the change of the median kernel by a sound first step under Adam: in half of 123 healthy trainings
# it lies between 0.6 % and 2.3 % (`benchmarks/healthy_trainings.py` on both corpora).
ADAM_RATE, ADAM_START = 1e-3, 1e-2
# As large as a rate of Adam's gets here: ten times the default.
LARGEST_RATE = 1e-2
_PUSH = 0.01
_MOVES = " At a rate of {} its first step moves the median layer by 1 %."
_CROSSES = "Adam's steps do not shrink with the gradient, so it crosses flat stretches that stop plain descent."
PLAIN_OPTIMIZERS = ("SGD", "Adagrad", "Adadelta")


def prescribe_optimizer(log: RunLog, finding: Finding) -> Prescription | None:
    """Adam in place of plain gradient descent where the loss stands, or crawls.

    Adam divides each step by the running size of the gradient, so a small gradient does not mean small steps (Kingma &
    Ba 2015). From a saddle plain descent escapes only as fast as the negative curvature lets the distance grow, by
    `1 + rate * |curvature|` per step (Lee et al. 2016; Du et al. 2017 show how slow that can be).
    """
    present = present_optimizer(log)
    if present.name not in PLAIN_OPTIMIZERS:
        return None
    rate = adam_rate(log)
    why = _CROSSES + (_MOVES.format(number(rate)) if rate > ADAM_RATE else "")
    return adam_instead(log, finding, why, finding.evidence[:2], _surer(log, rate))


def adam_instead(
    log: RunLog, finding: Finding, why: str, evidence: tuple[Evidence, ...], effect: Effect | None = None
) -> Prescription:
    """Adam at `adam_rate` in place of the present optimizer, whose clipping and decay stay.

    Args:
        log: the run.
        finding: what it is prescribed for.
        why: one sentence.
        evidence: numbers of this run.
        effect: what theory expects.
    """
    present = present_optimizer(log)
    names = ("clipnorm", "global_clipnorm", "clipvalue", "weight_decay")
    kept = {name: present.config[name] for name in names if present.config.get(name)}
    settings = {"learning_rate": adam_rate(log), **kept}
    info = {"optimizer": {"class_name": "Adam", "config": settings}}
    return Prescription(
        knob="optimizer",
        target=("optimizer",),
        before=optimizer_words(log.info).removeprefix("keras.optimizers."),
        after=optimizer_words(info).removeprefix("keras.optimizers."),
        why=why,
        code=compiled_code(log.info, optimizer_code(info)),
        finding=finding.rule,
        evidence=evidence,
        settings={"optimizer": "Adam", **settings},
        effect=effect,
    )


def prescribe_without_ftrl(log: RunLog, finding: Finding) -> Prescription | None:
    """Adam in place of Ftrl in a model with hidden layers.

    Ftrl sets each weight to what the sum of the gradients so far asks for, and that is nothing at first: its first step
    takes the initial weights away, and with them what tells the units of a layer apart. It was made for linear models
    (McMahan et al. 2013, "Ad Click Prediction: a View from the Trenches", algorithm 1).
    """
    owners = {each.layer for each in log.structure.variables if each.is_kernel}
    if present_optimizer(log).name != "Ftrl" or len(owners) < 2:
        return None
    kernels, taken = signals.kernels(log), tuple[Evidence, ...]()
    if {"update_norm", "weight_norm"} <= set(log.columns) and kernels and log.steps[0] == 0:
        first = float(np.median(signals.update_ratio(log, kernels)[0]))
        taken = (Evidence("share of the weights that the first step takes", first, "share"),)
    why = "Ftrl's first step takes the initial weights away, and units that are alike stay alike; Adam's does not."
    return adam_instead(log, finding, why, (*taken, *finding.evidence[:2]))


def adam_rate(log: RunLog) -> float:
    """Adam's usual rate, or the one whose first step moves the median kernel as healthy trainings do, if that is more.

    The first step changes every weight by the rate (Kingma & Ba 2015, section 2.1), which is less of the large weights
    of a narrow layer than of the small ones of a wide one.
    """
    wanted = ADAM_START * (usual_weight(log) or 0.0)
    return float(number(min(max(wanted, ADAM_RATE), LARGEST_RATE)))


def usual_weight(log: RunLog) -> float | None:
    """The root mean square of the first weights of the median kernel; `None` where it is not known.

    Weights count as no larger than He's: larger ones are sick.
    """
    kernels = signals.kernels(log)
    if "weight_norm" not in log or not kernels:
        return None
    variables = [log.structure.variables[i] for i in kernels]
    spreads = log["weight_norm"][0, kernels] / np.sqrt([each.size for each in variables])
    sound = np.sqrt([2.0 / each.fans[0] for each in variables])
    return float(np.median(np.minimum(np.nan_to_num(spreads), sound))) or None


def _surer(log: RunLog, rate: float) -> Effect | None:
    """The root mean square of a weight's change per step: as measured, and at most the rate under Adam."""
    kernels = signals.kernels(log)
    if "update_norm" not in log or not kernels:
        return None
    sizes = np.array([log.structure.variables[i].size for i in kernels], dtype=float)
    moved = log["update_norm"][:, kernels] / np.sqrt(sizes)
    moved = moved[np.isfinite(moved)]
    if not len(moved):
        return None
    source = "Kingma & Ba 2015, section 2.1: the rate bounds Adam's step"
    return Effect("change of a weight per step", float(np.median(moved)), rate, "weight", source)


def prescribe_perturbation(log: RunLog, finding: Finding) -> Prescription | None:
    """A small random push of all weights, once, where the run sits at a saddle.

    At the saddle itself the gradient is zero; a push has a share along the escaping direction with probability 1, and
    from there descent leaves (Jin et al. 2017, "How to Escape Saddle Points Efficiently"). A hundredth of each
    weight's own size leaves what was learned in place.
    """
    return Prescription(
        knob="optimizer",
        target=("weights",),
        before=f"weights at a saddle, after {len(log)} steps",
        after=f"weights moved by {100 * _PUSH:g} % of their size at random",
        why="At a saddle the gradient is zero; a random push has a share along the direction that leads out.",
        code=(
            "for weight in model.trainable_weights:\n"
            f"    size = {_PUSH} * keras.ops.norm(weight) / float(keras.ops.size(weight)) ** 0.5\n"
            "    weight.assign_add(size * keras.random.normal(weight.shape))"
        ),
        finding=finding.rule,
        evidence=(Evidence("size of the push", _PUSH, "weight sizes"), *finding.evidence[:1]),
        settings={"perturbation": _PUSH},
    )
