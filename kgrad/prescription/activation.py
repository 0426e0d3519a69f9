"""The activation knob: units that let the gradient through."""

from dataclasses import replace

from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.diagnosis.reach import RECTIFIERS
from kgrad.log.run_log import RunLog
from kgrad.prescription.effect import Effect
from kgrad.prescription.feed_forward import is_feed_forward
from kgrad.prescription.prescription import Prescription
from kgrad.prescription.rectifier import BORN_DEAD, DEEP, born_dead, dense_chain, rectifier
from kgrad.prescription.swap import hidden_with, kinds_of, swap
from kgrad.prescription.usual_rate import calmer_rate

# The largest slope of a saturating activation: what a layer at best leaves of the gradient.
_LARGEST_SLOPE = {"sigmoid": 0.25, "hard_sigmoid": 1 / 6, "tanh": 1.0, "softsign": 1.0}
_SLOPES = "the chain rule; the slope of a rectifier that is on is 1 (Glorot, Bordes & Bengio 2011)"
_EXPLOSIVE = ("exponential",)
# From so many dense layers on the sizes of signals drift enough for self-normalization to be worth it.
_DEEP = 4


def prescribe_non_saturating(log: RunLog, finding: Finding) -> Prescription | None:
    """ReLU (or ELU, see `rectifier`) with He initialization where hidden layers saturate.

    Source: Glorot, Bordes & Bengio 2011, "Deep Sparse Rectifier Neural Networks"; the slope of a
    sigmoid is at most 1/4, so `n` layers of it shrink the gradient by `4^-n` at least, at unit weights. A rate of plain
    descent that such a gradient bore is too large for what rectifiers pass on: it comes down to the usual one.
    """
    hidden = hidden_with(log, tuple(_LARGEST_SLOPE))
    if not hidden:
        return None
    before = kinds_of(log, hidden)
    slope = max(_LARGEST_SLOPE[name] for name in before)
    wanted = rectifier(log, hidden)
    return swap(
        log,
        finding,
        hidden,
        wanted.name,
        f"{', '.join(before)} in {len(hidden)} hidden layers passes at most {slope:g} of the gradient on per layer; "
        f"{wanted.reason}.",
        (Evidence("largest slope of the present activation", slope),),
        Effect(f"gradient that {len(hidden)} activations pass on, at most", slope ** len(hidden), 1.0, "1", _SLOPES)
        if slope < 1
        else None,
        calmer_rate(log),
    )


def prescribe_non_saturating_chain(log: RunLog, finding: Finding) -> Prescription | None:
    """The same for several layers only: one alone holds no gradient back, and seldom is why a loss stands."""
    return prescribe_non_saturating(log, finding) if len(hidden_with(log, tuple(_LARGEST_SLOPE))) > 1 else None


def prescribe_deep_rectifier(log: RunLog, finding: Finding) -> Prescription | None:
    """The same, with its weights, where weights too small or too large are those of many layers that saturate.

    Sound weights for tanh still lose a little at each of its layers, and a chain of more than five passes little on.
    """
    hidden = hidden_with(log, tuple(_LARGEST_SLOPE))
    if len(hidden) <= DEEP or not set(finding.layers) <= set(hidden):
        return None
    made = prescribe_non_saturating(log, finding)
    kinds, wanted = ", ".join(kinds_of(log, hidden)), rectifier(log, hidden)
    why = f"The first weights are off, and {len(hidden)} layers of {kinds} pass little on with sound ones too; "
    return None if made is None else replace(made, why=f"{why}{wanted.reason}.", effect=None)


def prescribe_bounded_growth(log: RunLog, finding: Finding) -> Prescription | None:
    """A rectifier with He initialization where an activation grows faster than its input.

    A few layers of `exp(x)` one behind the other leave the range of float32, `exp(exp(5))` being 10^64; an
    activation of slope 1 passes signal and gradient on as large as they are.
    """
    hidden = hidden_with(log, _EXPLOSIVE)
    if not hidden:
        return None
    wanted = rectifier(log).name
    kinds = ", ".join(kinds_of(log, hidden))
    why = f"{kinds} in {len(hidden)} hidden layers grows faster than its input; {wanted} does not."
    return swap(log, finding, hidden, wanted, why, finding.evidence[:2])


def prescribe_awake(log: RunLog, finding: Finding) -> Prescription | None:
    """ELU with He initialization in place of ReLU in a stack so deep and narrow that ReLU is likely born dead."""
    hidden, chance = hidden_with(log, RECTIFIERS), born_dead(log)
    if not hidden or chance <= BORN_DEAD:
        return None
    why = (
        f"In {len(dense_chain(log))} layers this narrow some layer of ReLU is dead from the start for "
        f"{100 * chance:.2g} % of the inputs; ELU has a slope everywhere."
    )
    seen = Evidence("chance that some layer of ReLU is born dead", chance, "share", BORN_DEAD)
    source = "Lu et al. 2020, section 3; ELU is never flat (Clevert et al. 2016)"
    effect = Effect("inputs for which a whole layer is dead at the start", chance, 0.0, "share", source)
    return swap(log, finding, hidden, "elu", why, (seen, *finding.evidence[:2]), effect)


def prescribe_leaky(log: RunLog, finding: Finding) -> Prescription | None:
    """Leaky ReLU where units have died: its slope is never zero, so they can come back; GELU in a transformer's branch.

    Source: Maas, Hannun & Ng 2013, "Rectifier Nonlinearities Improve Neural Network Acoustic Models"; Hendrycks &
    Gimpel 2016, "Gaussian Error Linear Units", which passes a gradient on below zero too, fading with distance.
    """
    dead = [name for name in finding.layers if log.structure.effective_activation(name) in RECTIFIERS]
    if not dead:
        return None
    if all(is_feed_forward(log.structure, name) for name in dead):
        said = f"Units of {len(dead)} feed-forward layers get no gradient at all; GELU passes some on below zero too."
        return swap(log, finding, dead, "gelu", said, finding.evidence[:3])
    why = f"Units of {len(dead)} layers get no gradient at all; a leak of 0.2 lets them come back."
    effect = Effect("slope of a unit that is off", 0.0, 0.2, "1", "Maas, Hannun & Ng 2013; Keras' leak is 0.2")
    return swap(log, finding, dead, "leaky_relu", why, finding.evidence[:3], effect)


def prescribe_nonlinearity(log: RunLog, finding: Finding) -> Prescription | None:
    """ReLU where the hidden layers have no activation and the model is therefore one linear map, or have a softmax.

    Source: Leshno et al. 1993, "Multilayer feedforward networks with a nonpolynomial activation function can
    approximate any function": the non-linearity is what more layers need to be more than one. The slope of a softmax is
    `p (1 - p)` at most (Bishop 2006, equation 4.106).
    """
    kind, hidden, wanted = finding.details.get("kind"), list(finding.layers), rectifier(log)
    if kind == "linear":
        why = (
            f"{len(hidden)} hidden layers without activation are one linear map; with {wanted.name} between they are "
            f"not, and {wanted.reason}."
        )
    elif kind == "softmax":
        why = (
            "A softmax shares a sum of 1 out among its units, so that each hands on little and passes at most 1/4 of "
            f"the gradient back; {wanted.reason}."
        )
    else:
        return None
    return swap(log, finding, hidden, wanted.name, why, finding.evidence[:2])


def prescribe_self_normalizing(log: RunLog, finding: Finding) -> Prescription | None:
    """SELU with LeCun-normal weights where hidden dense layers saturate: it keeps mean 0 and variance 1 by itself.

    Source: Klambauer et al. 2017, "Self-Normalizing Neural Networks", made for deep chains of dense layers.
    """
    dense = {layer.name for layer in dense_chain(log)}
    hidden = [name for name in hidden_with(log, (*_LARGEST_SLOPE, *RECTIFIERS)) if name in dense]
    if len(hidden) < _DEEP or len(hidden) < len(log.structure.weighted_layers) - 1:
        return None
    why = f"{len(hidden)} dense layers with SELU bring their outputs back to mean 0 and variance 1 at each of them."
    return swap(log, finding, hidden, "selu", why, finding.evidence[:2])
