"""The input-scaling knob: inputs and targets of unit scale, which initial weights assume."""

from typing import Any

from kgrad.diagnosis.finding import Finding
from kgrad.log.run_log import RunLog
from kgrad.prescription.prescription import Prescription


def prescribe_input_scaling(log: RunLog, finding: Finding) -> Prescription | None:
    """A layer in front that brings the inputs to scale, or standardised targets.

    Source: LeCun et al. 1998, "Efficient BackProp", section 4.3: inputs of mean 0 and variance 1 make the loss as
    steep in all directions, so that one learning rate suits all weights.
    """
    fix: dict[str, Any] = dict(finding.details.get("fix") or {})
    if "targets" in fix:
        mean, std = float(fix.get("mean") or 0.0), float(fix.get("std") or 1.0)
        code = (
            f"y = (y - {mean:.6g}) / {std:.6g}  # and back for a prediction: {std:.6g} * model.predict(x) + {mean:.6g}"
        )
        before, after = f"mean {mean:.3g}, standard deviation {std:.3g}", "mean 0, standard deviation 1"
    elif fix.get("layer") == "Rescaling":
        code = f"model = keras.Sequential([keras.layers.Rescaling({_scale(fix['scale'])}), model])"
        before, after = "raw pixels", "pixels from 0 to 1"
    elif fix.get("layer") == "Normalization":
        code = (
            "normalization = keras.layers.Normalization()\n"
            "normalization.adapt(x)\n"
            "model = keras.Sequential([normalization, model])"
        )
        before, after = _range(log), "each feature of mean 0 and standard deviation 1"
    else:
        return None
    return Prescription(
        knob="input_scaling",
        target=finding.layers,
        before=before,
        after=after,
        why=f"{finding.summary.rstrip('.')}: initial weights assume unit scale.",
        code=code if "targets" in fix else f"{code}\nmodel.compile(optimizer=optimizer, loss=loss)",
        finding=finding.rule,
        evidence=finding.evidence,
        settings=fix,
    )


def _range(log: RunLog) -> str:
    known = [facts for facts in (log.batch.inputs if log.batch else ()) if facts.minimum is not None]
    return ", ".join(f"inputs from {facts.minimum:.3g} to {facts.maximum:.3g}" for facts in known) or "as they are"


def _scale(scale: float) -> str:
    return "1 / 255" if abs(scale * 255 - 1) < 1e-9 else repr(scale)
