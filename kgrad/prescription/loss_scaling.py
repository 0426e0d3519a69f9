"""The loss-scaling knob: a float16 gradient that neither overflows nor vanishes."""

from kgrad.diagnosis.finding import Finding
from kgrad.log.run_log import RunLog
from kgrad.prescription.code import optimizer_code
from kgrad.prescription.prescription import Prescription


def prescribe_loss_scaling(log: RunLog, finding: Finding) -> Prescription | None:
    """Mixed precision in bfloat16, which has float32's range and needs no loss scale; or a scaled loss in float16.

    Source: Micikevicius et al. 2018, "Mixed Precision Training", for the scale; Kalamkar et al. 2019 for bfloat16.
    """
    return Prescription(
        knob="loss_scaling",
        target=("optimizer",),
        before="float16",
        after="bfloat16, or a LossScaleOptimizer of its own",
        why="bfloat16 has the range of float32, so gradients neither overflow nor vanish for want of digits.",
        code=(
            'keras.config.set_dtype_policy("mixed_bfloat16")  # before the model is built\n'
            "# in float16, instead: "
            f"optimizer = keras.optimizers.LossScaleOptimizer({optimizer_code(log.info)}, initial_scale=1024.0)"
        ),
        finding=finding.rule,
        evidence=finding.evidence,
        settings={"dtype_policy": "mixed_bfloat16"},
    )
