"""The architecture knob: layers that were frozen are trained."""

import json

from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.log.run_log import RunLog
from kgrad.log.structure import Layer
from kgrad.prescription.code import optimizer_code
from kgrad.prescription.compile_code import compiled_code, is_compiled
from kgrad.prescription.layer_code import comment_of
from kgrad.prescription.prescription import Prescription


def prescribe_unfrozen(log: RunLog, finding: Finding) -> Prescription | None:
    """Frozen layers trained as well, where nothing is learned with the weights that they hold.

    What frozen layers hand on is all that those behind them learn from; where that says little of the task, more of
    the layers have to be trained (Yosinski et al. 2014, "How transferable are features in deep neural networks?"). Not
    those of a frozen model inside the model, of which only its owner knows how much to train.
    """
    shut_layers = [
        each for each in log.structure.layers if not each.trainable and each.parameters and _may_be_trained(each)
    ]
    frozen = [layer.name for layer in shut_layers]
    if not frozen:
        return None
    shut = sum(layer.parameters for layer in shut_layers)
    lines = [f"model.get_layer({json.dumps(name)}).trainable = True" for name in frozen]
    compiled = [compiled_code(log.info, optimizer_code(log.info))] if is_compiled(log.info) else []
    trained = sum(variable.size for variable in log.structure.variables)
    return Prescription(
        knob="architecture",
        target=tuple(frozen),
        before=f"{comment_of(frozen)} frozen",
        after=f"{comment_of(frozen)} trained",
        why=f"{100 * shut / (shut + trained):.0f} % of the weights are frozen, and they teach the rest nothing.",
        code="\n".join([*lines, *compiled]),
        finding=finding.rule,
        evidence=(Evidence("frozen weights", shut / (shut + trained), "share"),),
        settings={"layers": {name: {"trainable": True} for name in frozen}},
    )


def _may_be_trained(layer: Layer) -> bool:
    """Whether one line trains it: moving statistics stay as they are, and a frozen model around it freezes it again."""
    return "BatchNormalization" not in layer.class_name and not {"#", "/"} & set(layer.name)
