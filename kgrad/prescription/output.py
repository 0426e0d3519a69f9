"""The output knob: the last activation, the number of units and the loss that fit the targets."""

from typing import Any

from kgrad.diagnosis.finding import Finding
from kgrad.log.objective import objectives
from kgrad.log.run_log import RunLog
from kgrad.prescription.layer_code import layer_code
from kgrad.prescription.prescription import Prescription

_SETTINGS = ("activation", "units", "loss", "from_logits", "remove")


def prescribe_output(log: RunLog, finding: Finding) -> Prescription | None:
    """The output activation, units and loss that the targets call for.

    Sigmoid with binary cross-entropy for two classes, softmax with categorical cross-entropy for several, a linear
    output with a squared error for values: the pairs that are maximum likelihood, and whose gradient at the
    pre-activation is the plain difference of answer and target (Bishop 2006, section 4.3.6).
    """
    fix: dict[str, Any] = dict(finding.details.get("fix") or {})
    name = str(finding.details.get("output", ""))
    layer = next((each for each in log.structure.layers if each.name == name), None)
    if layer is None or not fix.keys() & {"activation", "units", "loss", "from_logits", "targets", "remove"}:
        return None
    settings: dict[str, Any] = {key: fix[key] for key in _SETTINGS if key in fix}
    present: dict[str, Any] = {"activation": finding.details.get("activation"), "loss": finding.details.get("loss")}
    present |= {"remove": None, "units": layer.units, "from_logits": not fix.get("from_logits", False)}
    return Prescription(
        knob="output",
        target=(name,),
        before=_said({key: present[key] for key in settings} or {"targets": "as they are"}),
        after=_said(settings or {key: fix[key] for key in fix}),
        why=f"{finding.summary.rstrip('.')}: output, loss and targets are made to fit each other.",
        code="\n".join(_code(log, layer, fix)),
        finding=finding.rule,
        evidence=finding.evidence,
        settings=settings,
    )


def _code(log: RunLog, layer: Any, fix: dict[str, Any]) -> list[str]:
    lines = []
    if "remove" in fix:
        lines.append(f"# take the layer {layer.name!r} out: what feeds it is the output")
    changes = {}
    if "activation" in fix:
        changes["activation"] = f'"{fix["activation"]}"'
    if "units" in fix:
        changes["units"] = str(int(fix["units"]))
    if changes and layer.class_name in ("Activation", "Softmax", "ReLU"):
        lines.append(f"keras.layers.Activation({changes.get('activation', 'None')})  # {layer.name}")
    elif changes:
        lines.append(f"{layer_code(layer, **changes)}  # {layer.name}")
    if "targets" in fix:
        lines.append(_TARGETS[str(fix["targets"])])
    loss = fix.get("loss")
    if loss is None and "from_logits" in fix:
        present = next((each.loss for each in objectives(log) if each.loss), None)
        name = present.name if present else "categorical_crossentropy"
        made = "".join(part.capitalize() for part in name.split("_"))
        lines.append(f"loss = keras.losses.{made}(from_logits={fix['from_logits']})")
    elif loss is not None:
        lines.append(f'loss = "{loss}"')
    if loss is not None or "from_logits" in fix:
        lines.append("model.compile(optimizer=optimizer, loss=loss)")
    return lines


_TARGETS = {
    "integers": 'y = y.round().astype("int64")  # class numbers',
    "0/1": "y = (y + 1) / 2  # -1 and 1 become 0 and 1",
    "standardise": "y = (y - y.mean()) / y.std()",
}


def _said(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items())
