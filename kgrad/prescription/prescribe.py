"""Asks every knob that can answer a finding what it has to offer."""

from collections.abc import Callable, Sequence

from kgrad.diagnosis.diagnose import Diagnosis
from kgrad.diagnosis.finding import Finding
from kgrad.log.run_log import RunLog
from kgrad.prescription.activation import (
    prescribe_awake,
    prescribe_bounded_growth,
    prescribe_deep_rectifier,
    prescribe_leaky,
    prescribe_non_saturating,
    prescribe_non_saturating_chain,
    prescribe_nonlinearity,
    prescribe_self_normalizing,
)
from kgrad.prescription.architecture import prescribe_fewer_layers, prescribe_gated_cell, prescribe_residual
from kgrad.prescription.batch_size import prescribe_accumulation, prescribe_larger_batch, prescribe_smaller_batch
from kgrad.prescription.beside import at_their_pace, beside, units_beside
from kgrad.prescription.bias import prescribe_centred_weights, prescribe_zero_bias
from kgrad.prescription.clipping import prescribe_clipping, prescribe_global_clipping, prescribe_looser_clipping
from kgrad.prescription.conflicts import with_conflicts
from kgrad.prescription.data_cleaning import prescribe_finite_rows
from kgrad.prescription.epochs import prescribe_enough_updates, prescribe_more_epochs
from kgrad.prescription.frozen import prescribe_unfrozen
from kgrad.prescription.hidden_layer import prescribe_hidden_layer
from kgrad.prescription.hidden_sigmoids import prescribe_rectified_start
from kgrad.prescription.initializer import (
    prescribe_bounded_start,
    prescribe_forget_bias,
    prescribe_initializer,
    prescribe_orthogonal,
    prescribe_smaller_initializer,
)
from kgrad.prescription.input_scaling import prescribe_input_scaling
from kgrad.prescription.learning_rate import (
    prescribe_gentler_rate,
    prescribe_higher_rate,
    prescribe_lower_rate,
    prescribe_rate_of_a_start,
    prescribe_suggested_rate,
)
from kgrad.prescription.learning_rate_schedule import prescribe_decay, prescribe_lasting_rate, prescribe_warm_up
from kgrad.prescription.loss_scaling import prescribe_loss_scaling
from kgrad.prescription.momentum import prescribe_momentum, prescribe_usual_momentum
from kgrad.prescription.normalization import prescribe_normalization
from kgrad.prescription.optimizer import prescribe_optimizer, prescribe_perturbation, prescribe_without_ftrl
from kgrad.prescription.output import prescribe_output
from kgrad.prescription.prescription import Prescription
from kgrad.prescription.recurrent_state import prescribe_bounded_state
from kgrad.prescription.regularization import prescribe_regularization
from kgrad.prescription.residual import prescribe_normalized_branches, prescribe_scaled_branches
from kgrad.prescription.together import hides_harm, together
from kgrad.prescription.usual_rate import prescribe_calmer_rate
from kgrad.prescription.width import is_wider, prescribe_wider, widened

Knob = Callable[[RunLog, Finding, Diagnosis], Prescription | None]


def _plain(knob: Callable[[RunLog, Finding], Prescription | None]) -> Knob:
    """A knob that needs no more than the log and the finding."""
    return lambda log, finding, _: knob(log, finding)


def _all(*knobs: Callable[[RunLog, Finding], Prescription | None]) -> tuple[Knob, ...]:
    return tuple(_plain(knob) for knob in knobs)


# What keeps signals and gradients from growing, whatever it was that showed it.
_GROWING = _all(
    prescribe_bounded_growth,
    prescribe_normalized_branches,
    prescribe_scaled_branches,
    prescribe_smaller_initializer,
    prescribe_bounded_state,
    prescribe_usual_momentum,
)

# Which knobs answer which rule, or a kind of its findings, the one that goes to the root of it first.
KNOBS: dict[str, tuple[Knob, ...]] = {
    "vanishing-gradient": _all(
        prescribe_without_ftrl,
        prescribe_awake,
        prescribe_non_saturating,
        prescribe_initializer,
        prescribe_forget_bias,
        prescribe_gated_cell,
        prescribe_self_normalizing,
        prescribe_residual,
        prescribe_normalization,
        prescribe_orthogonal,
        prescribe_fewer_layers,
    ),
    # No bound on the gradient holds weights that grow with it.
    "exploding-gradient:weights": (
        *_GROWING,
        *_all(prescribe_rate_of_a_start, prescribe_calmer_rate, prescribe_lower_rate),
        prescribe_clipping,
        *_all(prescribe_gated_cell, prescribe_normalization),
    ),
    "exploding-gradient": (
        *_GROWING,
        *_all(prescribe_rate_of_a_start),
        prescribe_clipping,
        *_all(prescribe_lower_rate, prescribe_gated_cell, prescribe_normalization),
        prescribe_global_clipping,
    ),
    "nonfinite-gradient": (
        *_GROWING,
        *_all(prescribe_rate_of_a_start),
        prescribe_clipping,
        *_all(prescribe_lower_rate),
        prescribe_global_clipping,
    ),
    "nonfinite-gradient:inputs": _all(prescribe_finite_rows),
    "nonfinite-gradient:targets": _all(prescribe_finite_rows),
    "dead-units": _all(
        prescribe_without_ftrl,
        prescribe_zero_bias,
        prescribe_centred_weights,
        prescribe_gentler_rate,
        prescribe_awake,
        prescribe_leaky,
        prescribe_lower_rate,
    ),
    "saturated-activation": _all(
        prescribe_centred_weights, prescribe_initializer, prescribe_non_saturating, prescribe_normalization
    ),
    "poor-initialization": _all(
        prescribe_without_ftrl,
        prescribe_awake,
        prescribe_deep_rectifier,
        prescribe_normalized_branches,
        prescribe_scaled_branches,
        prescribe_rectified_start,
        prescribe_initializer,
        prescribe_normalization,
    ),
    # A state that grows over time needs a bound as well.
    "poor-initialization:recurrent": _all(prescribe_bounded_start, prescribe_bounded_state, prescribe_initializer),
    "output-loss-mismatch": _all(prescribe_output),
    "unscaled-inputs": _all(prescribe_input_scaling),
    "over-regularised": _all(prescribe_regularization),
    "learning-rate-too-high": _all(
        prescribe_usual_momentum, prescribe_suggested_rate, prescribe_larger_batch, prescribe_decay
    ),
    # The first step is the rate's doing alone.
    "learning-rate-too-high:overshoot": _all(
        prescribe_suggested_rate, prescribe_usual_momentum, prescribe_warm_up, prescribe_decay
    ),
    "learning-rate-too-low:idle": _all(prescribe_lasting_rate, prescribe_optimizer, prescribe_momentum),
    "learning-rate-too-low": _all(prescribe_optimizer, prescribe_suggested_rate, prescribe_momentum),
    "slow-convergence": _all(prescribe_smaller_batch, prescribe_more_epochs, prescribe_momentum),
    "underfitting": _all(
        prescribe_without_ftrl,
        prescribe_nonlinearity,
        prescribe_enough_updates,
        prescribe_more_epochs,
        prescribe_wider,
        prescribe_optimizer,
        prescribe_normalization,
    ),
    "noisy-gradient": _all(prescribe_accumulation),
    "clipping-too-tight": _all(prescribe_looser_clipping),
    "loss-scale-trouble": _all(prescribe_loss_scaling),
    "saddle-point": _all(
        prescribe_without_ftrl,
        prescribe_optimizer,
        prescribe_momentum,
        prescribe_initializer,
        prescribe_perturbation,
    ),
    "plateau": _all(
        prescribe_without_ftrl,
        prescribe_nonlinearity,
        prescribe_hidden_layer,
        prescribe_unfrozen,
        prescribe_non_saturating_chain,
        prescribe_optimizer,
        prescribe_gated_cell,
        prescribe_initializer,
        prescribe_non_saturating,
        prescribe_higher_rate,
    ),
}


def prescribe(log: RunLog, diagnosis: Diagnosis) -> tuple[Prescription, ...]:
    """The prescriptions for a run, the best first.

    Causes are treated before symptoms: a symptom whose cause has a prescription gets none of its own. Where
    several causes hold at once, what answers all of them together comes first; where the updates that were planned
    are few even for a healthy training, how long to train is part of the first.

    Args:
        log: the run.
        diagnosis: its diagnosis.
    """
    offered = _answers(log, diagnosis)
    further = beside(log, diagnosis, offered)
    joined = _joined(log, diagnosis, offered, further)
    wider = next((each for each in further if is_wider(each)), None)
    if joined is not None and wider is not None and wider.to_dict() in joined.settings["parts"]:
        # The code of its other parts has as many units.
        in_width = widened(log, wider)
        joined = _joined(in_width, diagnosis, _answers(in_width, diagnosis), further)
    return with_conflicts([joined, *offered] if joined is not None else offered)


def _joined(
    log: RunLog, diagnosis: Diagnosis, offered: list[Prescription], further: Sequence[Prescription]
) -> Prescription | None:
    """Several changes as one, with what goes beside them; `None` where one is enough."""
    at_pace = at_their_pace(log, diagnosis, offered, list(further))
    return together(at_pace, diagnosis, further, lambda cure: units_beside(log, diagnosis, offered, cure))


def _answers(log: RunLog, diagnosis: Diagnosis) -> list[Prescription]:
    """What every knob offers, by finding; of those that make the same change the first."""
    offered: list[Prescription] = []
    for finding in diagnosis.findings:
        answered = {prescription.finding for prescription in offered}
        noted = finding.severity == "info" and not hides_harm(finding, diagnosis)
        if noted or finding.caused_by in answered:
            continue
        kind = f"{finding.rule}:{finding.details.get('kind')}"
        answers = (knob(log, finding, diagnosis) for knob in KNOBS.get(kind, KNOBS.get(finding.rule, ())))
        offered += [answer for answer in answers if answer is not None]
    kept: dict[str, Prescription] = {}
    for prescription in offered:
        kept.setdefault(prescription.code, prescription)
    return list(kept.values())
