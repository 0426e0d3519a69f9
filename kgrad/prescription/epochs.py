"""The epochs knob: training until there have been updates enough, with an end when nothing gets better."""

import math

from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.log.present_optimizer import present_optimizer
from kgrad.log.run_log import RunLog
from kgrad.prescription.code import fit_code
from kgrad.prescription.effect import Effect
from kgrad.prescription.prescription import Prescription

# A path of about the weights' own size is where sound runs of small networks have learned their task.
_PATH = 1.0
# Nine in ten of the 57 healthy trainings of benchmarks/corpus (seed 0; 120 to 2,700 updates were planned) had made 95 %
# of the way from a constant answer's loss, or their own start, to their lowest after 570 updates, half of them after
# 180. It is the number of updates that tells how far a training gets, not that of epochs (Hoffer et al. 2017, "Train
# longer, generalize better").
ENOUGH_UPDATES = 600
# A training a little shorter than that is left as it was planned (own choice).
_WORTHWHILE = 1.5
_MOST = 50.0
_PATIENCE = 10
_ACCUMULATION = "gradient_accumulation_steps"


def prescribe_more_epochs(log: RunLog, finding: Finding, speed: float = 1.0) -> Prescription | None:
    """So many more epochs that the weights travel their own size and updates are enough, with an end to it.

    The end is early stopping: when the loss, or that on the validation data, gets no better, the best weights are
    taken back.

    Args:
        log: the run.
        finding: what was found.
        speed: how many times as far a step goes by what is prescribed besides.
    """
    epochs = (log.info.get("fit") or {}).get("epochs")
    path = float(finding.details.get("path") or 0.0)
    if not epochs or path <= 0:
        return None
    planned = epochs * (updates_per_epoch(log) or ENOUGH_UPDATES)
    factor = min(max(_PATH / (path * speed), ENOUGH_UPDATES / planned, 2.0), _MOST)
    wanted = math.ceil(epochs * factor)
    steps = f"{factor:.2g} times as many" + (f", each {speed:.2g} times as large," if speed != 1 else "")
    why = f"{len(log)} steps moved the weights by {path:.2g} of their size; {steps} are due."
    travelled = Evidence("path of the weights over the run", path, "weight sizes", _PATH)
    effect = Effect(travelled.label, path, path * factor * speed, travelled.unit, "steps times their size")
    return _longer(log, finding, epochs, wanted, why, travelled, effect)


def prescribe_enough_updates(log: RunLog, finding: Finding) -> Prescription | None:
    """More epochs where the planned updates are few even for a training without a flaw, whatever else is wrong.

    A run whose cause is mended begins anew, and has learned nothing until then: the updates that were planned are all
    that it has. With far less than what healthy trainings of small networks took (`ENOUGH_UPDATES`) it is told to go on
    to that many, with early stopping, so that a task that needs fewer takes hardly longer.
    """
    epochs, per_epoch = (log.info.get("fit") or {}).get("epochs"), updates_per_epoch(log)
    if not epochs or not per_epoch or not _are_few(epochs * per_epoch):
        return None
    planned, wanted = epochs * per_epoch, math.ceil(ENOUGH_UPDATES / per_epoch)
    why = (
        f"{planned} updates are few: nine in ten healthy trainings of small networks had learned their task after "
        f"{ENOUGH_UPDATES}, and half after 180."
    )
    seen = Evidence("planned updates", float(planned), "steps", float(ENOUGH_UPDATES))
    effect = Effect("updates, at most", float(planned), float(wanted * per_epoch), "steps", "epochs times batches")
    return _longer(log, finding, epochs, wanted, why, seen, effect)


def updates_per_epoch(log: RunLog) -> int | None:
    """Optimizer steps of an epoch as `fit` planned them, or as the first one took them; `None`: not known."""
    batches = (log.info.get("fit") or {}).get("steps_per_epoch")
    planned = batches and max(1, batches // int(present_optimizer(log).config.get(_ACCUMULATION) or 1))
    if planned or "last_step" not in log.epochs or log.epochs["epoch"][0] != 0:
        return planned or None
    return int(log.epochs["last_step"][0]) + 1


def planned_updates(log: RunLog) -> int | None:
    """Updates of the whole training, as planned or as `prescribe_enough_updates` has it; `None`: not known."""
    epochs, per_epoch = (log.info.get("fit") or {}).get("epochs"), updates_per_epoch(log)
    if not epochs or not per_epoch:
        return None
    planned = int(epochs * per_epoch)
    return ENOUGH_UPDATES if _are_few(planned) else planned


def _are_few(planned: int) -> bool:
    return _WORTHWHILE * planned <= ENOUGH_UPDATES


def early_stopping(log: RunLog, epochs: int) -> dict[str, str | int]:
    """What to watch for the end, and how many epochs without anything better are waited for."""
    watched = "val_loss" if "val_loss" in log.epochs else "loss"
    return {"monitor": watched, "patience": min(max(_PATIENCE, epochs // 10), max(1, epochs // 2))}


def _longer(
    log: RunLog, finding: Finding, epochs: int, wanted: int, why: str, seen: Evidence, effect: Effect
) -> Prescription:
    settings = {"epochs": wanted, **early_stopping(log, wanted)}
    return Prescription(
        knob="epochs",
        target=("fit",),
        before=f"{epochs} epochs",
        after=f"up to {wanted} epochs",
        why=why,
        code=fit_code(settings),
        finding=finding.rule,
        evidence=(seen,),
        settings=settings,
        effect=effect,
    )
