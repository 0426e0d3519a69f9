"""The initializer knob on the output: it begins at the mean of the targets."""

from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.log.objective import sole_objective
from kgrad.log.run_log import RunLog
from kgrad.prescription.code import plain_code
from kgrad.prescription.effect import Effect
from kgrad.prescription.layer_code import layers_code
from kgrad.prescription.prescription import Prescription
from kgrad.prescription.snippet import snippet

# Targets whose mean is so many times their spread make four fifths of the first squared error by their mean alone.
_OFFSET = 2.0
# What a first step that is too large does.
_THROWN = frozenset(
    {"dead-units", "exploding-gradient:growth", "exploding-gradient:weights", "learning-rate-too-high:overshoot"}
)


def prescribe_output_bias(log: RunLog, finding: Finding) -> Prescription | None:
    """The mean of the targets as the first bias of the output, beside the cure of what a first step too large did.

    A squared error of targets far from zero is mostly their mean squared, and so is its gradient: the first steps push
    every layer to where the mean is, and may throw units away. A bias takes it without any step (Goodfellow et al.
    2016, "Deep Learning", section 8.4: biases of outputs that match the marginal statistics of the targets).
    """
    output = sole_objective(log)
    if not finding.names & _THROWN or output is None or output.target is None or output.loss is None:
        return None
    plain = output.loss.name == "mean_squared_error" and output.activations == () and output.units == 1
    of_output = {v.role: v for v in log.structure.variables if v.layer == output.layer}
    bias = of_output.get("bias") if set(of_output) == {"kernel", "bias"} else None  # those of a state add up over time
    if not plain or bias is None or (bias.initializer or {}).get("class_name") != "Zeros":
        return None
    mean, spread = output.target.mean or 0.0, output.target.std or 0.0
    if not 0 < _OFFSET * spread <= abs(mean):
        return None
    shown = plain_code(mean)
    change = {"bias_initializer": f"keras.initializers.Constant({shown})"}
    share = mean**2 / (mean**2 + spread**2)
    return Prescription(
        knob="initializer",
        target=(output.layer,),
        before=f"{output.layer} begins at 0",
        after=f"{output.layer} begins at {shown}",
        why=f"{100 * share:.0f} % of the first squared error are the mean of the targets, {shown}, which a bias "
        "has without a step.",
        code=snippet(layers_code([(log.structure.layer(output.layer), change)])),
        finding=finding.rule,
        evidence=(Evidence("mean of the targets over their standard deviation", abs(mean) / spread, "1", _OFFSET),),
        settings={"initializers": {output.layer: change}},
        effect=Effect(
            "squared error of the first answers", mean**2 + spread**2, spread**2, "1", "the variance of the targets"
        ),
    )
