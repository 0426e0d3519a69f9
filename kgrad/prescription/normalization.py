"""The normalization knob: signals brought back to scale at every layer, before or after the activation."""

import numpy as np

from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.log.run_log import RunLog
from kgrad.log.structure import Layer
from kgrad.prescription.effect import Effect
from kgrad.prescription.layer_code import comment_of, layer_code
from kgrad.prescription.prescription import Prescription
from kgrad.prescription.snippet import snippet

_WIDE = ("Dense", "Conv1D", "Conv2D", "Conv3D", "SeparableConv2D", "DepthwiseConv2D")
_FEWEST = 4
# A normal signal of unit spread leaves a ReLU with a mean of 0.68 of its spread, a sigmoid with one of 2.4. From 1 on
# most of what the next layer gets is the offset.
_OFFSET = 1.0
# Batch statistics of fewer rows are noise (Wu & He 2018, "Group Normalization", figure 1).
_FEWEST_ROWS = 8


def prescribe_normalization(log: RunLog, finding: Finding) -> Prescription | None:
    """Normalization of each hidden layer, before its activation, or after where what it puts out is mostly offset.

    Before the activation it fixes mean and variance of what goes into it, so that neither signal nor gradient can
    shrink or grow layer by layer (Ioffe & Szegedy 2015). Where the activations' outputs lie far to one side of zero, as
    those of sigmoid and softplus do, that offset is what makes the next layer steep, and only a normalization behind
    the activation takes it away (LeCun et al. 1998, "Efficient BackProp", sections 4.3 and 4.4). Statistics of the
    batch, or of each row where batches are small (Ba et al. 2016). Not where the model has some.
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
    offset = _offset(log, hidden)
    after = offset is not None and offset > _OFFSET
    kind = "LayerNormalization" if log.batch and 0 < log.batch.rows < _FEWEST_ROWS else "BatchNormalization"
    measured = () if offset is None else (Evidence("mean of a layer's output over its spread", offset, "1", _OFFSET),)
    return Prescription(
        knob="normalization",
        target=tuple(layer.name for layer in hidden),
        before="no normalization",
        after=f"{kind} {'after' if after else 'before'} each activation",
        why=_why(len(hidden), after),
        code=snippet(_code(hidden, kind, after)),
        finding=finding.rule,
        evidence=(*finding.evidence[:1], *measured),
        settings={"layer": kind, "place": f"{'after' if after else 'before'} the activation"},
        effect=Effect("mean of a layer's output over its spread", offset, 0.0, "1", "LeCun et al. 1998, section 4.3")
        if after and offset is not None
        else None,
    )


def _why(count: int, after: bool) -> str:
    if after:
        return f"What {count} hidden layers hand on is mostly one offset; normalization behind each takes it away."
    return f"{count} hidden layers in a row pass their scale on; normalization resets it at each of them."


def _offset(log: RunLog, hidden: list[Layer]) -> float | None:
    """The mean of what a hidden layer puts out over its spread, the median layer at the start; `None`: not taken."""
    if "activations" not in log.tables or not len(log.table("activations")["step"]):
        return None
    table = log.table("activations")
    named = np.isin(np.asarray(table["layer"]).astype(str), [layer.name for layer in hidden])
    start = named & (table["step"] == np.min(table["step"]))
    spread = np.asarray(table["std"], dtype=float)[start]
    mean = np.abs(np.asarray(table["mean"], dtype=float)[start])
    known = np.isfinite(mean) & np.isfinite(spread) & (spread > 0)
    return float(np.median(mean[known] / spread[known])) if known.any() else None


def _code(hidden: list[Layer], kind: str, after: bool) -> str:
    first, names = hidden[0], [layer.name for layer in hidden]
    head = f"# in place of each of {comment_of(names)}:\n"
    if after:
        return f"{head}{layer_code(first)},\nkeras.layers.{kind}(),"
    unbiased = {"use_bias": "False"} if kind == "BatchNormalization" else {}
    changes = {"activation": "None", **unbiased}
    return (
        f'{head}{layer_code(first, **changes)},\nkeras.layers.{kind}(),\nkeras.layers.Activation("{first.activation}"),'
    )
