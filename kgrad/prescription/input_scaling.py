"""The input-scaling knob: inputs and targets of unit scale, which initial weights assume."""

import math
from collections.abc import Mapping
from typing import Any

from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.diagnosis.usual_speed import USUAL_RATE, small_batch_factor
from kgrad.log.batch import TensorFacts
from kgrad.log.objective import sole_objective
from kgrad.log.present_optimizer import present_optimizer
from kgrad.log.run_log import RunLog
from kgrad.prescription.code import number, optimizer_code
from kgrad.prescription.compile_code import compile_code, is_compiled, is_known_loss
from kgrad.prescription.effect import Effect
from kgrad.prescription.prescription import Prescription

# As the rule `unscaled-inputs` has it; what is as small is lost in the noise of what first weights answer.
_LARGE_TARGETS = 100.0
# A root mean square within this factor of 1 is left alone.
_NEAR = 3.0


def prescribe_input_scaling(log: RunLog, finding: Finding) -> Prescription | None:
    """A layer in front that brings the inputs to scale, or standardised targets; both where both are far off.

    Source: LeCun et al. 1998, "Efficient BackProp", section 4.3: inputs of mean 0 and variance 1 make the loss as
    steep in all directions, so that one learning rate suits all weights. Pixels share one unit and get one scale,
    so that those that are nearly constant are not blown up. Of several inputs those off scale get a layer each. A
    learning rate of plain descent that was small enough for the raw inputs is too small for the scaled ones: it goes up
    with what their mean square comes down by, to the usual 0.01 at most.
    """
    fix: dict[str, Any] = dict(finding.details.get("fix") or {})
    facts = _inputs(log)
    large = finding.details.get("kind", "large-inputs") == "large-inputs"
    if large and fix.get("layer") == "Normalization" and len(facts) == 1 and facts[0].are_pixels:
        fix = {"layer": "Rescaling", "scale": 1 / 255}
    if "layer" in fix:
        fix |= _targets(log)
    if "layer" in fix and len(facts) > 1:
        fix = {**{key: value for key, value in fix.items() if key != "scale"}, "layer": "Normalization"}
        fix["inputs"] = [place for place, each in enumerate(facts) if _is_off(each)]
        if not fix["inputs"]:
            return None
    return _prescription(log, finding, fix, f"{finding.summary.rstrip('.')}: initial weights assume unit scale.")


def prescribe_target_scaling(log: RunLog, finding: Finding) -> Prescription | None:
    """Standardised targets beside a loss of values, where such a loss is prescribed for targets far from unit scale."""
    output = sole_objective(log)
    facts = output.target if output else None
    if (finding.details.get("fix") or {}).get("loss") != "mean_squared_error" or facts is None:
        return None
    fix = _standardised(facts)
    return _prescription(
        log, finding, fix, "A squared error and its gradient grow with the square of the targets' scale."
    )


def scaling_of(log: RunLog, finding: Finding) -> Prescription | None:
    """A `Normalization` in front of inputs that are not of about unit scale, whatever was found."""
    facts = _inputs(log)
    if len(facts) != 1 or "int" in facts[0].dtype or any(_absorbs(layer.class_name) for layer in log.structure.layers):
        return None
    if not _is_off(facts[0]):
        return None
    return _prescription(log, finding, {"layer": "Normalization"}, "Initial weights assume inputs of unit scale.")


def are_off_scale(log: RunLog) -> bool:
    """Whether one of the inputs has a root mean square far from 1, or none is known."""
    return not _inputs(log) or any(_is_off(facts) for facts in _inputs(log))


def _is_off(facts: TensorFacts) -> bool:
    """Whether numbers that are no places in a table have a root mean square far from 1."""
    size = math.hypot(facts.mean or 0.0, facts.std or 0.0)
    return "int" not in facts.dtype and size > 0 and not 1 / _NEAR < size < _NEAR


def _prescription(log: RunLog, finding: Finding, fix: dict[str, Any], why: str) -> Prescription | None:
    lines, before, after = [], [], []
    if "targets" in fix:
        mean, std = float(fix.get("mean") or 0.0), float(fix.get("std") or 1.0)
        lines.append(
            f"y = (y - {mean:.6g}) / {std:.6g}  # and back for a prediction: {std:.6g} * model.predict(x) + {mean:.6g}"
        )
        before.append(f"targets of mean {mean:.3g} and standard deviation {std:.3g}")
        after.append("targets of mean 0 and standard deviation 1")
    if "layer" in fix:
        lines += _layer_code(log, fix)
        pixels = fix["layer"] == "Rescaling"
        before.append("raw pixels" if pixels else _range(log))
        after.append("pixels from 0 to 1" if pixels else "each feature of mean 0 and standard deviation 1")
    if not lines:
        return None
    rate = _rate(log, fix) if "layer" in fix else None
    if rate is not None:
        fix["learning_rate"] = rate
        after.append(f"learning rate {number(rate)}")
    if "layer" in fix and is_compiled(log.info):
        lines = [*_made_before(log, rate), *lines, _compile_code(log)]
    return Prescription(
        knob="input_scaling",
        target=finding.layers,
        before=", ".join(before),
        after=", ".join(after),
        why=why,
        code="\n".join(lines),
        finding=finding.rule,
        evidence=(*finding.evidence, *(() if rate is None else (Evidence("learning rate for scaled inputs", rate),))),
        settings=fix,
        effect=_flatter(log, fix),
    )


def _made_before(log: RunLog, rate: float | None) -> list[str]:
    """Lines for what the new model is compiled with, made before it: it knows nothing of the old one's settings."""
    changes = {} if rate is None else {"learning_rate": rate}
    optimizer = f"optimizer = {optimizer_code(log.info, **changes)}"
    return [optimizer] if is_known_loss(log.info) else ["loss = model.loss", optimizer]


def _compile_code(log: RunLog) -> str:
    return compile_code(log.info, None if is_known_loss(log.info) else "loss")


def _flatter(log: RunLog, fix: Mapping[str, Any]) -> Effect | None:
    """The mean square of the inputs, which the steepness of the first layer goes with; else that of the targets."""
    if "layer" in fix:
        before, after = _squares(log, fix)
        source = "LeCun et al. 1998, section 4.3: the steepness of the first layer goes with it"
        return Effect("mean square of the inputs", before, after, "1", source) if before > 0 else None
    std = float(fix.get("std") or 1.0)
    return Effect("squared error of the mean as the answer", std**2, 1.0, "1", "the variance of the targets")


def _squares(log: RunLog, fix: Mapping[str, Any]) -> tuple[float, float]:
    """The mean square of the one input, as it is and scaled; zeros where it is not known."""
    facts = _inputs(log)
    if len(facts) != 1:
        return 0.0, 0.0
    square = (facts[0].mean or 0.0) ** 2 + (facts[0].std or 0.0) ** 2
    return square, square * float(fix["scale"]) ** 2 if "scale" in fix else 1.0


def _layer_code(log: RunLog, fix: Mapping[str, Any]) -> list[str]:
    named = _are_outputs_named(log)
    if "inputs" in fix:
        return _several_inputs_code(fix["inputs"], named)
    if fix["layer"] == "Rescaling":
        lines, layer = [], f"keras.layers.Rescaling({_scale(fix['scale'])})"
    else:
        lines, layer = ["normalization = keras.layers.Normalization()", "normalization.adapt(x)"], "normalization"
    if not named:
        return [*lines, f"model = keras.Sequential([{layer}, model])"]
    inputs = "inputs = keras.Input(model.inputs[0].shape[1:], dtype=model.inputs[0].dtype, name=model.inputs[0].name)"
    return [*lines, inputs, *_named_outputs(f"{layer}(inputs)")]


def _are_outputs_named(log: RunLog) -> bool:
    """Whether losses, metrics or targets may be given by the names of the outputs."""
    given = [log.info.get(name) for name in ("loss", "loss_weights", "metrics", "weighted_metrics")]
    by_name = any(isinstance(each, Mapping) and "class_name" not in each for each in given)
    return by_name or len(log.data.targets if log.data else ()) > 1


def _named_outputs(scaled: str) -> list[str]:
    """The new model with the outputs of the old one under their names, which a model as a layer does not keep."""
    named = "keras.layers.Identity(name=name)(each) for name, each in zip(model.output_names, outputs)"
    return [
        f"outputs = keras.tree.flatten(model({scaled}))",
        f"model = keras.Model(inputs, [{named}])",
    ]


def _several_inputs_code(places: list[int], named: bool) -> list[str]:
    lines = [
        "inputs = [keras.Input(each.shape[1:], dtype=each.dtype, name=each.name) for each in model.inputs]",
        "scaled = list(inputs)",
    ]
    for place in places:
        lines += [
            "normalization = keras.layers.Normalization()",
            f"normalization.adapt(keras.tree.flatten(x)[{place}])",
            f"scaled[{place}] = normalization(inputs[{place}])",
        ]
    return [*lines, *(_named_outputs("scaled") if named else ["model = keras.Model(inputs, model(scaled))"])]


def _targets(log: RunLog) -> dict[str, Any]:
    """Mean and spread of the targets of the one squared error, where they are far from unit scale too."""
    output = sole_objective(log)
    if output is None or output.target is None or output.loss is None or output.loss.name != "mean_squared_error":
        return {}
    return _standardised(output.target)


def _standardised(facts: TensorFacts) -> dict[str, Any]:
    """How to standardise targets that are far from unit scale; nothing for others."""
    scale = max(facts.feature_std_maximum or 0.0, facts.feature_mean_maximum or 0.0)
    if not facts.std or 1 / _LARGE_TARGETS < scale < _LARGE_TARGETS:
        return {}
    return {"targets": "standardise", "mean": facts.mean, "std": facts.std}


def _absorbs(class_name: str) -> bool:
    return class_name in ("Embedding", "Rescaling", "Hashing", "Discretization") or "Normalization" in class_name


def _rate(log: RunLog, fix: Mapping[str, Any]) -> float | None:
    """The learning rate that plain descent on the scaled inputs allows, where it is higher than the present one.

    The steepness of the first layer goes with the mean square of its inputs (LeCun et al. 1998, section 4.3). The usual
    rate is for inputs of unit scale.
    """
    optimizer, (square, scaled) = present_optimizer(log), _squares(log, fix)
    present = optimizer.constant_rate
    if not optimizer.is_descent or present is None:
        return None
    wanted = min(present * square / scaled, USUAL_RATE * small_batch_factor(log)) if scaled else 0.0
    return float(number(wanted)) if wanted > 1.01 * present else None


def _inputs(log: RunLog) -> tuple[TensorFacts, ...]:
    return log.data.inputs if log.data else ()


def _range(log: RunLog) -> str:
    known = [facts for facts in _inputs(log) if facts.minimum is not None]
    return ", ".join(f"inputs from {facts.minimum:.3g} to {facts.maximum:.3g}" for facts in known) or "as they are"


def _scale(scale: float) -> str:
    return "1 / 255" if abs(scale * 255 - 1) < 1e-9 else repr(scale)
