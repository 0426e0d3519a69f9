"""The activation knob beside another cure: hidden sigmoids answer around a half, and pass little back."""

from dataclasses import replace

from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.diagnosis.skill import harm
from kgrad.log.run_log import RunLog
from kgrad.prescription.effect import Effect
from kgrad.prescription.prescription import Prescription
from kgrad.prescription.swap import hidden_with, swap
from kgrad.prescription.usual_rate import calmer_rate

# The largest slopes, at 0.
_SLOPES = {"sigmoid": 0.25, "hard_sigmoid": 1 / 6}
_SOURCE = "the slope of tanh at 0 is 1 (LeCun et al. 1998, section 4.4)"


def prescribe_zero_centred(log: RunLog, finding: Finding, new_optimizer: bool) -> Prescription | None:
    """Tanh in place of hidden sigmoids, where the run learned nothing: whatever else is mended, it gets further.

    Unless the cure brings an optimizer of its own (`new_optimizer`), a rate of descent that sigmoids bore is brought to
    the usual one, as for rectifiers.

    A sigmoid is a tanh of half the input, halved and lifted: what it hands on has a mean of a half, which the next
    layer must first learn to take away, and it passes a quarter of the gradient back at most (LeCun et al. 1998,
    "Efficient BackProp", section 4.4; Glorot & Bengio 2010, section 3.1). No rectifier: of a few units all may be dead,
    and a few layers of tanh hold nothing back.
    """
    hidden = hidden_with(log, tuple(_SLOPES))
    if not hidden or harm(log) != "high":
        return None
    slope = max(_SLOPES[str(log.structure.effective_activation(name))] for name in hidden)
    why = (
        f"Hidden sigmoids answer around 0.5 and pass {slope:.2g} of the gradient back at most; tanh is centred at 0, "
        "and its slope there is 1."
    )
    effect = Effect("largest slope of a hidden unit", slope, 1.0, "1", _SOURCE)
    rate = None if new_optimizer else calmer_rate(log)
    seen = (Evidence("largest slope of the present activation", slope),)
    return swap(log, finding, hidden, "tanh", why, seen, effect, rate)


def prescribe_centred_start(log: RunLog, finding: Finding) -> Prescription | None:
    """The same, with its weights, where those that are off are the weights of hidden sigmoids.

    Weights that make up for a slope of 1/4 are four times as large as those of tanh, and drive sigmoids to their ends.
    """
    of_sigmoids = set(finding.layers) <= set(hidden_with(log, tuple(_SLOPES)))
    made = prescribe_zero_centred(log, finding, new_optimizer=False) if of_sigmoids else None
    return None if made is None else replace(made, why=f"The first weights of sigmoids are off. {made.why}")
