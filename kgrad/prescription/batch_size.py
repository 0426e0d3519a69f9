"""The batch-size knob: batches large enough for the gradient to stand out of its noise."""

import math
from typing import Any

from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.diagnosis.usual_speed import USUAL_SPEED, small_batch_factor
from kgrad.log.batch import WHOLE
from kgrad.log.present_optimizer import present_optimizer
from kgrad.log.run_log import RunLog
from kgrad.prescription.code import fit_code, optimizer_code
from kgrad.prescription.compile_code import compiled_code
from kgrad.prescription.effect import Effect
from kgrad.prescription.epochs import ENOUGH_UPDATES, early_stopping
from kgrad.prescription.prescription import Prescription

_MOST = 64
# Masters & Luschi 2018, "Revisiting Small Batch Training": the best results come with 2 to 32 rows.
_SMALL = 32
# With fewer updates an epoch than this, a smaller batch makes more of them from the same data.
_FEW_UPDATES = 20
# With fewer batches in all the data, batches of a few rows are what there is.
_FEW_BATCHES = 4
# A run keeps the facts of so many rows of a batch.
_MOST_KEPT = 256


def prescribe_smaller_batch(log: RunLog, finding: Finding) -> Prescription | None:
    """Batches of 32 rows where an epoch of large ones is only a few updates; more epochs too where those stay few.

    It is the number of updates that training takes, and below the critical batch size that of rows: a batch a fourth
    as large makes four times as many of them for the same work (McCandlish et al. 2018; Shallue et al. 2019).
    """
    per_epoch = (log.info.get("fit") or {}).get("steps_per_epoch") or 0
    rows, is_known = _rows_of_a_batch(log)
    if not 0 < per_epoch < _FEW_UPDATES or rows < 4 * _SMALL:
        return None
    size = f"{rows} rows" if is_known else f"{rows} rows or more"
    least = -(-rows * per_epoch // _SMALL)
    why = f"In batches of {size} an epoch is {per_epoch} updates; in batches of {_SMALL} it is at least {least}."
    seen = Evidence("updates per epoch", float(per_epoch), "steps", float(_FEW_UPDATES))
    effect = Effect("updates per epoch, at least", float(per_epoch), float(least), "steps", "rows over batch size")
    return _in_usual_batches(log, finding, size, least if is_known else ENOUGH_UPDATES, why, seen, effect)


def prescribe_larger_batch(log: RunLog, finding: Finding) -> Prescription | None:
    """Batches of 32 rows in place of a few, under descent that is too fast for so few and no faster than usual.

    The noise of descent goes with the rate over the rows (see `small_batch_factor`): where the rate need not come down
    the rows go up, and an epoch takes as many times fewer steps. More epochs where updates get few.
    """
    optimizer, few, (rows, _) = present_optimizer(log), small_batch_factor(log), _rows_of_a_batch(log)
    whole = log.data if log.data is not None and log.data.source == WHOLE else None  # `batch_size` is for arrays
    if whole is None or whole.rows < _SMALL * _FEW_BATCHES or optimizer.config.get("gradient_accumulation_steps"):
        return None
    speed = optimizer.speed
    if speed is None or not 1.01 * few * USUAL_SPEED < speed <= 1.01 * USUAL_SPEED:
        return None
    size = "one row" if rows == 1 else f"{rows} rows"
    why = f"Steps that follow {size} carry the noise of single rows; batches of {_SMALL} bear the present rate."
    seen = Evidence("rows of a batch", float(rows), "rows", float(_SMALL))
    effect = Effect("learning rate over rows", speed / rows, speed / _SMALL, "1", "Smith & Le 2018, section 4")
    return _in_usual_batches(log, finding, size, -(-whole.rows // _SMALL), why, seen, effect)


def _in_usual_batches(
    log: RunLog, finding: Finding, size: str, per_epoch: int, why: str, seen: Evidence, effect: Effect
) -> Prescription:
    """Batches of 32 rows, of which an epoch has so many, and more epochs where those planned are few updates."""
    settings: dict[str, Any] = {"batch_size": _SMALL}
    after = f"{_SMALL} rows per batch"
    epochs = (log.info.get("fit") or {}).get("epochs") or 0
    if 0 < epochs * per_epoch < ENOUGH_UPDATES:
        wanted = math.ceil(ENOUGH_UPDATES / per_epoch)
        settings |= {"epochs": wanted, **early_stopping(log, wanted)}
        after += f", up to {wanted} epochs"
    return Prescription(
        knob="batch_size",
        target=("fit",),
        before=f"{size} per batch",
        after=after,
        why=why,
        code=fit_code(settings),
        finding=finding.rule,
        evidence=(seen,),
        settings=settings,
        effect=effect,
    )


def _rows_of_a_batch(log: RunLog) -> tuple[int, bool]:
    """Rows of a batch, and whether that is all of them: of a large one only the first rows are kept."""
    size = (log.info.get("fit") or {}).get("batch_size")
    if size and log.data is not None and log.data.source == WHOLE:
        return min(int(size), log.data.rows), True
    rows = log.batch.rows if log.batch else 0
    return rows, rows < _MOST_KEPT


def prescribe_accumulation(log: RunLog, finding: Finding) -> Prescription | None:
    """Gradients averaged over several batches before each update.

    Noise over signal falls with the batch: `n` batches make it `1/n`. Beyond the gradient noise scale (where they are
    equal) a larger batch gains little (McCandlish et al. 2018, section 2.2), so no more than that is prescribed.
    """
    ratio = float(finding.details.get("ratio") or 0.0)
    if ratio <= 1:
        return None
    steps = min(_MOST, 2 ** math.ceil(math.log2(math.sqrt(ratio))))
    batch = finding.details.get("batch")
    size = f"batch_size={int(batch) * steps}" if batch else f"a batch {steps} times as large"
    return Prescription(
        knob="batch_size",
        target=("optimizer",),
        before="one batch per update",
        after=f"{steps} batches per update, or {size}",
        why=f"The noise is {ratio:.2g} times the signal (squared); over {steps} batches, {ratio / steps:.2g} times.",
        code=compiled_code(log.info, optimizer_code(log.info, gradient_accumulation_steps=steps)),
        finding=finding.rule,
        evidence=finding.evidence,
        settings={"gradient_accumulation_steps": steps},
        effect=Effect("noise over signal, squared", ratio, ratio / steps, "1", "McCandlish et al. 2018, section 2.2"),
    )
