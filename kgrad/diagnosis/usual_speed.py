"""How fast plain descent goes as a rule, and how much slower batches of a few rows must be."""

from kgrad.log.batch import WHOLE
from kgrad.log.present_optimizer import present_optimizer
from kgrad.log.run_log import RunLog

# The largest rate with which the usual momentum is usual; 0.01 typically works for standard multi-layer networks
# (Bengio 2012, section 3.1.1).
USUAL_RATE, USUAL_MOMENTUM = 0.01, 0.9
USUAL_SPEED = USUAL_RATE / (1 - USUAL_MOMENTUM)
# Batches of fewer rows are small ones (own choice; the usual ones have 32).
_FEW_ROWS = 16


def small_batch_factor(log: RunLog) -> float:
    """What a usual learning rate is multiplied by for the rows that an update sees: 1, and less for a few.

    The noise of descent goes with the rate over the rows (Smith & Le 2018, "A Bayesian Perspective on Generalization
    and Stochastic Gradient Descent", section 4; Goyal et al. 2017, section 2.1: the linear scaling rule). A batch that
    holds all rows there are has no such noise.
    """
    if log.data is not None and log.data.source == WHOLE and log.data.rows <= (log.batch_rows or 0):
        return 1.0
    accumulated = int(present_optimizer(log).config.get("gradient_accumulation_steps") or 1)
    return min(1.0, (log.batch_rows or _FEW_ROWS) * accumulated / _FEW_ROWS)


def usual_speed(log: RunLog) -> float:
    """The usual rate over `1 - momentum`, for the rows of these batches."""
    return USUAL_SPEED * small_batch_factor(log)
