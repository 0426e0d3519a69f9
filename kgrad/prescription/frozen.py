"""The architecture knob: layers that were frozen are trained."""

from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.log.run_log import RunLog
from kgrad.prescription.layer_code import comment_of
from kgrad.prescription.prescription import Prescription


def prescribe_unfrozen(log: RunLog, finding: Finding) -> Prescription | None:
    """Frozen layers trained as well, where nothing is learned with the weights that they hold.

    What frozen layers hand on is all that those behind them learn from; where that says little of the task, more of
    the layers have to be trained (Yosinski et al. 2014, "How transferable are features in deep neural networks?").
    """
    frozen = [layer.name for layer in log.structure.layers if not layer.trainable and layer.parameters]
    if not frozen:
        return None
    shut = sum(layer.parameters for layer in log.structure.layers if layer.name in frozen)
    trained = sum(variable.size for variable in log.structure.variables)
    return Prescription(
        knob="architecture",
        target=tuple(frozen),
        before=f"{comment_of(frozen)} frozen",
        after=f"{comment_of(frozen)} trained",
        why=f"{100 * shut / (shut + trained):.0f} % of the weights are frozen, and they teach the rest nothing.",
        code="\n".join(f'model.get_layer("{name}").trainable = True' for name in frozen)
        + "\nmodel.compile(optimizer=optimizer, loss=loss)",
        finding=finding.rule,
        evidence=(Evidence("frozen weights", shut / (shut + trained), "share"),),
        settings={"layers": {name: {"trainable": True} for name in frozen}},
    )
