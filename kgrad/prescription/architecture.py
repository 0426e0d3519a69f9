"""The architecture knob: a way for the gradient around the layers, fewer of them, or a gated cell."""

from dataclasses import replace

from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.log.run_log import RunLog
from kgrad.prescription.effect import Effect
from kgrad.prescription.gains import gain
from kgrad.prescription.layer_code import comment_of, layers_code
from kgrad.prescription.prescription import Prescription
from kgrad.prescription.snippet import snippet

_FEWEST = 8
# Hidden layers that stay where the others are taken out: two make a universal approximator with room to spare.
_STAY = 3
_JOINS = ("Add", "Average", "Concatenate", "Multiply")


def prescribe_residual(log: RunLog, finding: Finding) -> Prescription | None:
    """Residual connections around the layers of a deep plain chain: the identity passes the gradient unchanged.

    Source: He et al. 2016, "Deep Residual Learning" and "Identity Mappings in Deep Residual Networks". Each of `n`
    branches gets an `n`-th of the usual variance, so that their sum does not grow with depth (Hanin & Rolnick 2018,
    "How to Start Training", section 5.2).
    """
    if _joins(log):
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
        code=snippet(
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
        effect=Effect(
            "of these layers on the shortest way back", float(len(hidden)), 0.0, "layers", "He et al. 2016, equation 5"
        ),
    )


def prescribe_fewer_layers(log: RunLog, finding: Finding) -> Prescription | None:
    """Three hidden layers in place of a deep chain of equal dense ones, where nothing passes through all of them.

    Each of `n` layers multiplies the gradient by its own Jacobian; fewer factors leave less to go wrong (Glorot &
    Bengio 2010). A network of one hidden layer already fits any continuous function (Hornik et al. 1989).
    """
    square = {v.layer for v in log.structure.variables if v.role == "kernel" and v.shape[0] == v.shape[-1]}
    hidden = [each for each in log.structure.weighted_layers[:-1] if each.class_name == "Dense"]
    spare = [each.name for each in hidden if each.name in square]
    if len(hidden) < _FEWEST or len({each.units for each in hidden}) != 1 or _joins(log):
        return None
    spare = spare[: len(hidden) - _STAY]
    return Prescription(
        knob="architecture",
        target=tuple(spare),
        before=f"{len(hidden)} hidden layers",
        after=f"{len(hidden) - len(spare)} hidden layers",
        why=f"The gradient has to pass {len(hidden)} layers one by one; {len(hidden) - len(spare)} leave it its size.",
        code=snippet(
            f"# take out the layers {comment_of(spare)}: what feeds the first of them feeds what follows the last"
        ),
        finding=finding.rule,
        evidence=(Evidence("layers in a chain", float(len(hidden)), "layers", float(_FEWEST)),),
        settings={"remove": spare},
        effect=_fewer_decades(finding, len(hidden) - len(spare)),
    )


def _fewer_decades(finding: Finding, stay: int) -> Effect | None:
    """Decades that are left to lose, each layer taking as many as the present ones do on average."""
    total, each = finding.details.get("total_decades"), finding.details.get("decades_per_layer")
    if not total or not each:
        return None
    source = "a product of Jacobians falls geometrically (Glorot & Bengio 2010)"
    return Effect("gradient lost through depth", float(total), float(each) * (stay - 1), "decades", source)


def _joins(log: RunLog) -> bool:
    return any(layer.class_name in _JOINS for layer in log.structure.layers)


def prescribe_gated_cell(log: RunLog, finding: Finding) -> Prescription | None:
    """LSTM in place of a plain recurrent layer: its state passes the gradient through time without a product.

    Source: Hochreiter & Schmidhuber 1997; Pascanu et al. 2013 for why the plain one vanishes or explodes.
    """
    plain = [layer for layer in log.structure.weighted_layers if layer.class_name == "SimpleRNN"]
    if not plain:
        return None
    own = ("activation", "recurrent_initializer")  # the LSTM's own suit it
    gated = [
        replace(
            layer,
            class_name="LSTM",
            activation=None,
            config={key: value for key, value in layer.config.items() if key not in own},
        )
        for layer in plain
    ]
    return Prescription(
        knob="architecture",
        target=tuple(layer.name for layer in plain),
        before="SimpleRNN",
        after="LSTM",
        why="A plain recurrent layer multiplies the gradient by one matrix per time step; the LSTM's state adds.",
        code=snippet("\n".join(layers_code([(layer, {})]) for layer in gated)),
        finding=finding.rule,
        evidence=finding.evidence[:1],
        settings={"class_name": "LSTM"},
    )
