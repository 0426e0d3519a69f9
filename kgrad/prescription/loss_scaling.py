"""The loss-scaling knob: a float16 gradient that neither overflows nor vanishes."""

from kgrad.diagnosis.finding import Finding
from kgrad.log.run_log import RunLog
from kgrad.prescription.code import unscaled_code
from kgrad.prescription.compile_code import compiled_code
from kgrad.prescription.prescription import Prescription


def prescribe_loss_scaling(log: RunLog, finding: Finding) -> Prescription | None:
    """Mixed precision in bfloat16, which has float32's range and needs no loss scale; or a scaled loss in float16.

    Source: Micikevicius et al. 2018, "Mixed Precision Training", for the scale; Kalamkar et al. 2019 for bfloat16.
    """
    policy = str(log.info.get("dtype_policy", "float16"))
    if not policy.endswith("float16") or "bfloat16" in policy:
        return _unscaled(log, finding, policy)
    return Prescription(
        knob="loss_scaling",
        target=("optimizer",),
        before="float16",
        after="bfloat16, or a LossScaleOptimizer of its own",
        why="bfloat16 has the range of float32, so gradients neither overflow nor vanish for want of digits.",
        code=(
            'keras.config.set_dtype_policy("mixed_bfloat16")  # before the model is built\n'
            "# in float16, instead: "
            f"optimizer = keras.optimizers.LossScaleOptimizer({unscaled_code(log.info)}, initial_scale=1024.0)"
        ),
        finding=finding.rule,
        evidence=finding.evidence,
        settings={"dtype_policy": "mixed_bfloat16"},
    )


def _unscaled(log: RunLog, finding: Finding, policy: str) -> Prescription:
    """No loss scale where gradients have the range of float32: nothing is lost that it could save."""
    return Prescription(
        knob="loss_scaling",
        target=("optimizer",),
        before=f"a scaled loss in {policy}",
        after="no loss scale",
        why=f"Gradients in {policy} need no loss scale: they have the range of float32.",
        code=compiled_code(log.info, unscaled_code(log.info, loss_scale_factor=None)),
        finding=finding.rule,
        evidence=finding.evidence,
    )
