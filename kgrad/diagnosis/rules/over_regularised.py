"""The rule `over-regularised`."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from kgrad.diagnosis import signals
from kgrad.diagnosis.finding import Evidence, Finding, power
from kgrad.diagnosis.loss_curve import loss_curve
from kgrad.diagnosis.rule import Limit, NotApplicable, rule
from kgrad.diagnosis.skill import constant_answer, harm, learned
from kgrad.log.present_optimizer import present_optimizer
from kgrad.log.run_log import RunLog
from kgrad.log.structure import Variable

PENALTY = Limit(
    "penalty at the start over the loss of a constant answer",
    1.0,
    "1",
    "beyond this the optimizer gains more by shrinking the weights to nothing than by all there is to learn.",
)
DROPPED = Limit("rate of dropout", 0.8, "share", "of ten units two are left: Srivastava et al. (2014) use 0.2 to 0.5.")
SHRUNK = Limit(
    "share of the initial weights that is left",
    0.1,
    "share",
    "with a tenth of its weights a layer hands on a tenth of its signal (own choice); sound decay leaves weights near "
    'their size (Kosson et al. 2023, "Rotational Equilibrium").',
)
NOT_LEARNED = Limit("learned", 0.3, "share", "as in the rule plateau.")

# Mean of |w| over the root mean square: 1 for a constant, 0.80 for a normal, 0.87 for a uniform distribution.
_MEAN_OVER_ROOT = math.sqrt(2 / math.pi)


@rule(
    columns=("loss", "weight_norm"),
    optional=("learning_rate",),
    limits=(PENALTY, DROPPED, SHRUNK, NOT_LEARNED),
)
def over_regularised(log: RunLog) -> Finding | None:
    """The penalty on the weights outweighs the data: what is trained is their smallness.

    Measured: the L1 and L2 penalties of the kernels from the norms of the first step (L2 exactly; L1 as for normally
    distributed weights), against the loss of a constant answer; the rates of dropout, inside of recurrent layers too;
    and what the weight decay of the optimizer takes from the weights over the run, where they did shrink to a tenth. A
    disease only where little was learned.

    Blind spot: regularizers of one's own, and penalties on activities, cannot be computed from norms.
    """
    penalties, dropped, left = dict(_penalties(log)), _dropped(log), _left_by_decay(log)
    if not penalties and not dropped and left is None:
        raise NotApplicable("the model has neither penalties on weights nor dropout, and its optimizer no weight decay")
    reached = learned(log)
    if reached >= NOT_LEARNED.value:
        return None
    expected = constant_answer(log) or _data_loss(log, sum(penalties.values()))
    total = sum(penalties.values()) / expected if expected else 0.0
    rate = max(dropped.values(), default=0.0)
    if total >= PENALTY.value:
        text = f"The penalty on the weights begins at {power(total)} times the loss of a constant answer"
        kind, layers, seen = "penalty", tuple(penalties), Evidence(PENALTY.name, total, "1", PENALTY.value)
    elif rate >= DROPPED.value:
        text = f"Dropout takes {100 * rate:.0f} % of the units away"
        kind, layers = "dropout", tuple(name for name, each in dropped.items() if each >= DROPPED.value)
        seen = Evidence("largest rate of dropout", rate, "share", DROPPED.value)
    elif left is not None and left < SHRUNK.value:
        text = f"The weight decay of the optimizer shrank the weights to {100 * left:.2g} % of what they were"
        kind, layers, seen = "decay", (), Evidence(SHRUNK.name, left, "share", SHRUNK.value)
    else:
        return None
    return Finding(
        rule="over-regularised",
        severity=harm(log),
        summary=f"{text}: next to it the data hardly count, and little was learned.",
        layers=layers,
        first_step=int(log.steps[0]),
        last_step=int(log.steps[-1]),
        evidence=(seen, Evidence("learned", reached, "share", NOT_LEARNED.value)),
        confidence=0.85,
        details={"kind": kind, "penalty": total, "factor": 0.01 / max(total, 1e-9)},
    )


def _dropped(log: RunLog) -> dict[str, float]:
    """The largest rate of dropout of each layer that has one."""
    rates = {layer.name: layer.dropout_rates for layer in log.structure.layers}
    dropouts = {layer.name for layer in log.structure.layers if "Dropout" in layer.class_name}
    return {name: max(each.values(), default=0.0) for name, each in rates.items() if each or name in dropouts}


def _left_by_decay(log: RunLog) -> float | None:
    """The share of the median kernel that is left at the end, and that decay alone explains; `None` without decay.

    Keras takes `rate * weight_decay` of every weight away in each step, whatever the optimizer.
    """
    decay = present_optimizer(log).weight_decay
    if not decay or "learning_rate" not in log:
        return None
    every = (int(log.steps[-1]) - int(log.steps[0]) + 1) / len(log)
    taken = float(np.nansum(log["learning_rate"])) * every * decay
    columns = signals.kernels(log)
    begun, ended = log["weight_norm"][0, columns], log["weight_norm"][-1, columns]
    shares = ended[begun > 0] / begun[begun > 0]
    measured = float(np.median(shares)) if len(shares) else math.nan
    return max(measured, math.exp(-taken)) if math.isfinite(measured) else None


def _penalties(log: RunLog) -> Iterator[tuple[str, float]]:
    """The penalty of each layer at the first step."""
    for place, variable in enumerate(log.structure.variables):
        config = log.structure.layer(variable.layer).config if _has_layer(log, variable) else {}
        regularizer = config.get(f"{variable.role}_regularizer")
        norm = float(log["weight_norm"][0, place])
        if isinstance(regularizer, Mapping) and np.isfinite(norm):
            yield variable.layer, _penalty(regularizer, norm, variable.size)


def _has_layer(log: RunLog, variable: Variable) -> bool:
    return any(layer.name == variable.layer for layer in log.structure.layers)


def _penalty(regularizer: Mapping[str, Any], norm: float, size: int) -> float:
    inner = regularizer.get("config")
    config: Mapping[str, Any] = inner if isinstance(inner, Mapping) else {}
    kind = str(regularizer.get("class_name", ""))
    l1 = float(config.get("l1") or 0.0) if kind in ("L1", "L1L2") else 0.0
    l2 = float(config.get("l2") or 0.0) if kind in ("L2", "L1L2") else 0.0
    return l1 * _MEAN_OVER_ROOT * math.sqrt(size) * norm + l2 * norm**2


def _data_loss(log: RunLog, penalty: float) -> float:
    """The loss of the start without its penalty, where the constant answer is not known."""
    start = loss_curve(log).start
    return max(start - penalty, 0.05 * start) if np.isfinite(start) else 0.0
