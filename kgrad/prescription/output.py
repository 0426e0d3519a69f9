"""The output knob: the last activation, the number of units and the loss that fit the targets."""

from collections.abc import Mapping
from typing import Any

from kgrad.diagnosis.finding import Finding
from kgrad.log.objective import objectives
from kgrad.log.run_log import RunLog
from kgrad.prescription.code import optimizer_code
from kgrad.prescription.compile_code import compile_code, is_compiled, loss_code
from kgrad.prescription.layer_code import layer_code
from kgrad.prescription.prescription import Prescription
from kgrad.prescription.snippet import snippet

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
        code=snippet("\n".join(_layer_lines(layer, fix)), "\n".join(_other_lines(log, name, fix))),
        finding=finding.rule,
        evidence=finding.evidence,
        settings=settings,
    )


def _layer_lines(layer: Any, fix: dict[str, Any]) -> list[str]:
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
    return lines


def _other_lines(log: RunLog, name: str, fix: dict[str, Any]) -> list[str]:
    lines = [_TARGETS[str(fix["targets"])]] if "targets" in fix else []
    if "loss" not in fix and "from_logits" not in fix:
        return lines
    lines.append(f"loss = {_loss(log, name, fix)}")
    if not is_compiled(log.info):
        return lines
    return [
        *lines,
        f"optimizer = {optimizer_code(log.info)}",
        compile_code(log.info, "loss", other_units="units" in fix),
    ]


def _loss(log: RunLog, name: str, fix: dict[str, Any]) -> str:
    """The new loss; of several outputs those of the others stay."""
    outputs = objectives(log)
    place = next((i for i, each in enumerate(outputs) if each.layer == name), 0)
    wanted: Any = fix.get("loss")
    if wanted is None:
        present = outputs[place].loss if outputs else None
        function = present.name if present else "categorical_crossentropy"
        kind = "".join(part.capitalize() for part in function.split("_"))
        config = {**(present.config if present else {}), "from_logits": fix["from_logits"]}
        wanted = {"class_name": kind, "config": config}
    losses = log.info.get("loss")
    if isinstance(losses, Mapping) and "class_name" not in losses:
        key = next((each for each in (name, str(place)) if each in losses), None)
        everything = loss_code({**losses, key: wanted}) if key is not None else None
        if everything is not None:
            return everything
    return str(loss_code(wanted))


_TARGETS = {
    "integers": 'y = y.round().astype("int64")  # class numbers',
    "0/1": "y = (y + 1) / 2  # -1 and 1 become 0 and 1",
    "standardise": "y = (y - y.mean()) / y.std()",
}


def _said(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items())
