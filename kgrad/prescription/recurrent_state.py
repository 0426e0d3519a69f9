"""The activation knob of recurrent layers: a state that cannot grow."""

from kgrad.diagnosis.finding import Finding
from kgrad.log.run_log import RunLog
from kgrad.prescription.prescription import Prescription
from kgrad.prescription.swap import RECURRENT, kinds_of, swap

_UNBOUNDED = ("relu", "linear", "elu", "selu", "leaky_relu", "gelu", "silu", "softplus", "exponential")


def prescribe_bounded_state(log: RunLog, finding: Finding) -> Prescription | None:
    """A squashed state, by tanh, in recurrent layers whose activation has no bound: it cannot grow over time.

    Keras' own default. With ReLU or a linear activation the state grows as the powers of the recurrent kernel do
    (Pascanu et al. 2013, "On the difficulty of training recurrent neural networks", section 2).
    """
    names = unbounded_states(log)
    if not names:
        return None
    why = f"{', '.join(kinds_of(log, names))} in {len(names)} recurrent layers lets the state grow at every time step."
    return swap(log, finding, names, "tanh", why, finding.evidence[:2])


def unbounded_states(log: RunLog) -> list[str]:
    """The recurrent layers whose state has no bound."""
    recurrent = [layer for layer in log.structure.weighted_layers if layer.class_name in RECURRENT]
    return [layer.name for layer in recurrent if (layer.activation or "linear") in _UNBOUNDED]
