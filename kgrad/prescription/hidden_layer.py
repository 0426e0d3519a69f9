"""The architecture knob: a hidden layer for a model that has none."""

from kgrad.diagnosis.finding import Finding
from kgrad.log.run_log import RunLog
from kgrad.prescription.layer_code import layer_code
from kgrad.prescription.prescription import Prescription
from kgrad.prescription.snippet import snippet

# Half of 224 healthy small trainings have as many or more in their narrowest hidden layer (own choice).
_UNITS = 32
_HIDDEN = {"units": _UNITS, "activation": "relu", "kernel_initializer": "he_normal"}


def prescribe_hidden_layer(log: RunLog, finding: Finding) -> Prescription | None:
    """A hidden layer of rectifiers where the output is one weighted sum of the inputs, and nothing was learned by it.

    Such a model cannot answer what depends on inputs jointly, as XOR does (Minsky & Papert 1969, "Perceptrons"); with
    one hidden layer it can (Rumelhart et al. 1986; Hornik et al. 1989).
    """
    if finding.details.get("kind") != "no-hidden-layer":
        return None
    output = log.structure.layer(finding.layers[0])
    return Prescription(
        knob="architecture",
        target=(output.name,),
        before="no hidden layer",
        after=f"a hidden layer of {_UNITS} units with relu",
        why=f"{output.name} answers by one weighted sum of the inputs, which cannot tell what depends on them jointly.",
        code=snippet(
            f'# in front of {output.name}:\nkeras.layers.Dense({_UNITS}, activation="relu", '
            f'kernel_initializer="he_normal"),\n{layer_code(output)},'
        ),
        finding=finding.rule,
        evidence=finding.evidence[:1],
        settings={"hidden": dict(_HIDDEN)},
    )
