"""Another activation in the layers that have this one."""

from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.log.run_log import RunLog
from kgrad.prescription.code import optimizer_code
from kgrad.prescription.compile_code import compiled_code
from kgrad.prescription.effect import Effect
from kgrad.prescription.gains import initializer
from kgrad.prescription.layer_code import comment_of, layers_code
from kgrad.prescription.prescription import Prescription
from kgrad.prescription.snippet import snippet

RECURRENT = ("SimpleRNN", "LSTM", "GRU")


def hidden_with(log: RunLog, activations: tuple[str, ...]) -> list[str]:
    """Layers with one of these activations that feed another layer with weights; the state of recurrent ones is apart.

    A state must stay bounded (see `recurrent_state`): no rectifier is for it.
    """
    weighted = [each for each in log.structure.weighted_layers[:-1] if each.class_name not in RECURRENT]
    return [layer.name for layer in weighted if log.structure.effective_activation(layer.name) in activations]


def kinds_of(log: RunLog, names: list[str]) -> list[str]:
    """The different activations of these layers."""
    return list(dict.fromkeys(log.structure.effective_activation(name) or "linear" for name in names))


def swap(
    log: RunLog,
    finding: Finding,
    names: list[str],
    activation: str,
    why: str,
    evidence: tuple[Evidence, ...],
    effect: Effect | None = None,
    rate: float | None = None,
) -> Prescription:
    """Another activation, with its initialization, for these layers.

    Args:
        log: the run.
        finding: what it is prescribed for.
        names: the layers, whose activations may be in layers of their own.
        activation: the new one.
        why: one sentence.
        evidence: numbers of this run.
        effect: what theory expects.
        rate: the learning rate that the change needs; `None` for the present one.
    """
    weights = {"kernel_initializer": initializer(activation)}
    holders = {name: log.structure.activation_layer(name) for name in names}
    with_kernel = {variable.layer for variable in log.structure.variables if variable.role == "kernel"}
    set_in = {
        name: {
            **({"activation": f'"{activation}"'} if holder.name == name else {}),
            **(weights if name in with_kernel else {}),
        }
        for name, holder in holders.items()
    }
    lines = [layers_code((log.structure.layer(name), change) for name, change in set_in.items() if change)]
    behind = list(dict.fromkeys(holder.name for name, holder in holders.items() if holder.name != name))
    lines += [f'keras.layers.Activation("{activation}")  # {comment_of(behind)}'] if behind else []
    compiled = "" if rate is None else compiled_code(log.info, optimizer_code(log.info, learning_rate=rate))
    return Prescription(
        knob="activation",
        target=tuple(names),
        before=", ".join(kinds_of(log, names)),
        after=f"{activation} with {initializer(activation)}" + ("" if rate is None else f", learning rate {rate}"),
        why=why,
        code=snippet("\n".join(lines), compiled),
        finding=finding.rule,
        evidence=evidence,
        settings={
            "activation": activation,
            "kernel_initializer": initializer(activation),
            **({} if rate is None else {"learning_rate": rate}),
        },
        effect=effect,
    )
