"""The normalization knob: signals brought back to scale at every layer."""

from kgrad.diagnosis.finding import Finding
from kgrad.log.run_log import RunLog
from kgrad.prescription.code import comment_of, layer_code
from kgrad.prescription.prescription import Prescription

_WIDE = ("Dense", "Conv1D", "Conv2D", "Conv3D", "SeparableConv2D", "DepthwiseConv2D")
_FEWEST = 4


def prescribe_normalization(log: RunLog, finding: Finding) -> Prescription | None:
    """Batch normalization between the weights and the activation of each hidden layer.

    It fixes mean and variance of what goes into each activation, so neither signal nor gradient can shrink or grow
    layer by layer (Ioffe & Szegedy 2015, who put it before the activation, as here). Not where the model has some.
    """
    if any("Normalization" in layer.class_name for layer in log.structure.layers if layer.parameters):
        return None
    hidden = [
        layer
        for layer in log.structure.weighted_layers[:-1]
        if layer.class_name in _WIDE and layer.activation not in (None, "linear", "softmax")
    ]
    if len(hidden) < _FEWEST:
        return None
    first = hidden[0]
    names = [layer.name for layer in hidden]
    changes = {"activation": "None", "use_bias": "False"}
    return Prescription(
        knob="normalization",
        target=tuple(names),
        before="no normalization",
        after="BatchNormalization before each activation",
        why=f"{len(hidden)} hidden layers in a row pass their scale on; normalization resets it at each of them.",
        code=(
            f"# in place of each of {comment_of(names)}:\n"
            f"{layer_code(first, **changes)},\n"
            "keras.layers.BatchNormalization(),\n"
            f'keras.layers.Activation("{first.activation}"),'
        ),
        finding=finding.rule,
        evidence=finding.evidence[:1],
        settings={"layer": "BatchNormalization", "place": "before the activation"},
    )
