"""The architecture knob: a way for the gradient around the layers, or a gated cell."""

from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.log.run_log import RunLog
from kgrad.prescription.code import comment_of
from kgrad.prescription.gains import gain
from kgrad.prescription.prescription import Prescription

_FEWEST = 8
_JOINS = ("Add", "Average", "Concatenate", "Multiply")


def prescribe_residual(log: RunLog, finding: Finding) -> Prescription | None:
    """Residual connections around the layers of a deep plain chain: the identity passes the gradient unchanged.

    Source: He et al. 2016, "Deep Residual Learning" and "Identity Mappings in Deep Residual Networks". Each of `n`
    branches gets an `n`-th of the usual variance, so that their sum does not grow with depth (Hanin & Rolnick 2018,
    "How to Start Training", section 5.2).
    """
    if any(layer.class_name in _JOINS for layer in log.structure.layers):
        return None
    square = {v.layer for v in log.structure.variables if v.role == "kernel" and v.shape[0] == v.shape[-1]}
    hidden = [each for each in log.structure.weighted_layers[:-1] if each.class_name == "Dense" and each.name in square]
    widths = {layer.units for layer in hidden}
    if len(hidden) < _FEWEST or len(widths) != 1:
        return None
    width, activation = hidden[0].units, hidden[0].activation or "relu"
    wanted = activation if activation not in ("sigmoid", "hard_sigmoid") else "relu"
    scale = float(f"{gain(wanted) ** 2 / len(hidden):.2g}")
    branch = f'keras.layers.Dense({width}, activation="{wanted}", kernel_initializer=branch)'
    return Prescription(
        knob="architecture",
        target=tuple(layer.name for layer in hidden),
        before=f"{len(hidden)} layers in a chain",
        after="a residual connection around each",
        why=f"The gradient has to pass {len(hidden)} layers one by one; around each of them it passes unchanged.",
        code=(
            f'branch = keras.initializers.VarianceScaling({scale}, mode="fan_in")  # 1/{len(hidden)} of the usual\n'
            f"# in place of each of {comment_of([layer.name for layer in hidden])}, x being its input:\n"
            f"x = keras.layers.Add()([x, {branch}(x)])"
        ),
        finding=finding.rule,
        evidence=(Evidence("layers in a chain", float(len(hidden)), "layers", float(_FEWEST)),),
        settings={
            "residual": True,
            "arguments": {"activation": wanted, "kernel_initializer": {"scale": scale, "mode": "fan_in"}},
        },
    )


def prescribe_gated_cell(log: RunLog, finding: Finding) -> Prescription | None:
    """LSTM in place of a plain recurrent layer: its state passes the gradient through time without a product.

    Source: Hochreiter & Schmidhuber 1997; Pascanu et al. 2013 for why the plain one vanishes or explodes.
    """
    plain = [layer for layer in log.structure.weighted_layers if layer.class_name == "SimpleRNN"]
    if not plain:
        return None
    lines = [
        f"keras.layers.LSTM({layer.units}"
        + (", return_sequences=True" if layer.config.get("return_sequences") else "")
        + f")  # {comment_of([layer.name])}"
        for layer in plain
    ]
    return Prescription(
        knob="architecture",
        target=tuple(layer.name for layer in plain),
        before="SimpleRNN",
        after="LSTM",
        why="A plain recurrent layer multiplies the gradient by one matrix per time step; the LSTM's state adds.",
        code="\n".join(lines),
        finding=finding.rule,
        evidence=finding.evidence[:1],
        settings={"class_name": "LSTM"},
    )
