"""The log that the same training would have left under another loss, precision or width."""

from dataclasses import replace

import numpy as np

from kgrad.log.run_log import RunLog
from kgrad.log.structure import Variable

# float16 keeps eleven bits.
_HALF = 2.0**-11


def with_loss_times(log: RunLog, factor: float) -> RunLog:
    """The run with its loss multiplied, under an optimizer whose updates do not depend on it."""
    by_loss = {"loss", "gradient_norm", "gradient_mean", "gradient_std", "gradient_max", "global_norm"}
    by_loss |= {"applied_global_norm"}
    columns = {name: values * factor if name in by_loss else values for name, values in log.columns.items()}
    tables = dict(log.tables)
    if "curvature" in tables:
        counts = ("step", "products")
        tables["curvature"] = {k: v if k in counts else v * factor for k, v in tables["curvature"].items()}
    epochs = {name: values * factor if "loss" in name else values for name, values in log.epochs.items()}
    info = {**log.info, "loss_weights": factor * (log.info.get("loss_weights") or 1.0)}
    layers = tuple(replace(layer, config=_penalty_times(layer.config, factor)) for layer in log.structure.layers)
    model = replace(log.structure, layers=layers)
    return replace(log, columns=columns, tables=tables, epochs=epochs, info=info, structure=model)


def _penalty_times(config, factor):
    def times(value):
        inner = {k: v * factor if k in ("l1", "l2") else v for k, v in value["config"].items()}
        return {**value, "config": inner}

    return {k: times(v) if k.endswith("_regularizer") and v else v for k, v in config.items()}


def in_float16(log: RunLog, seed: int = 0) -> RunLog:
    """The run in float16: two steps overflow while a loss scale is found, and the gradients are rounded."""
    generator = np.random.default_rng(seed)
    rounded = {"gradient_norm", "gradient_mean", "gradient_std", "gradient_max", "global_norm", "applied_global_norm"}
    begin = np.zeros(2)
    columns = {}
    for name, values in log.columns.items():
        noise = 1 + _HALF * generator.uniform(-1, 1, values.shape) if name in rounded else 1.0
        first = np.full((2, *values.shape[1:]), np.nan) if name in rounded else np.repeat(values[:1], 2, axis=0)
        columns[name] = np.concatenate([first, values * noise])
    sizes = np.array([variable.size for variable in log.structure.variables], float)
    columns["nonfinite_count"][:2] = sizes
    columns["update_norm"][:2] = 0.0
    columns["skipped"] = np.concatenate([begin + 1, log["skipped"]])
    columns["loss_scale"] = np.concatenate([[2.0**15, 2.0**14], np.full(len(log), 2.0**13)])
    tables = {k: {**table, "step": table["step"] + (table["step"] > 0) * 2} for k, table in log.tables.items()}
    optimizer = {"class_name": "LossScaleOptimizer", "config": {"inner_optimizer": log.info["optimizer"]}}
    info = {**log.info, "optimizer": optimizer, "dtype_policy": "mixed_float16"}
    return replace(log, info=info, columns=columns, tables=tables, steps=np.concatenate([[0, 1], log.steps + 2]))


def twice_as_wide(log: RunLog, adaptive: bool) -> RunLog:
    """The run of a model whose hidden layers have twice the units, with the same relative signals.

    The initial weights follow the fan-in, so a kernel's norm grows with the root of its outputs. Its gradient is the
    outer product of what comes in and what comes back, whose norms grow with the root of the inputs and not at all.
    An adaptive optimizer moves each weight as far as before; SGD follows the gradient.
    """
    kernels = [i for i, variable in enumerate(log.structure.variables) if variable.is_kernel]
    variables = tuple(
        _wider(variable, first=i <= kernels[0], last=i >= kernels[-1])
        for i, variable in enumerate(log.structure.variables)
    )
    fans = np.array([variable.fans for variable in log.structure.variables], float)
    size = np.array([variable.size for variable in log.structure.variables], float)
    inputs, outputs = (np.array([variable.fans for variable in variables], float) / fans).T
    every = np.array([variable.size for variable in variables], float) / size
    gradient = np.sqrt(inputs)
    old = np.nansum(log["gradient_norm"] ** 2, axis=1)
    whole = np.sqrt(np.nansum((log["gradient_norm"] * gradient) ** 2, axis=1) / np.where(old > 0, old, 1.0))
    whole = np.where(np.isfinite(whole) & (old > 0), whole, 1.0)
    factors = {
        "weight_norm": np.sqrt(outputs),
        "gradient_norm": gradient,
        "update_norm": np.sqrt(every) if adaptive else gradient,
        "global_norm": whole,
        "applied_global_norm": whole,
    }
    columns = {name: values * factors.get(name, 1.0) for name, values in log.columns.items()}
    units = {each.name: each.units for each in log.structure.layers if each.units}
    last = log.structure.weighted_layers[-1].name
    layers = tuple(
        replace(each, units=2 * each.units) if each.name in units and each.inbound and each.name != last else each
        for each in log.structure.layers
    )
    return replace(log, columns=columns, structure=replace(log.structure, variables=variables, layers=layers))


def _wider(variable: Variable, first: bool, last: bool) -> Variable:
    if not variable.is_kernel:
        return variable if last else replace(variable, shape=tuple(2 * n for n in variable.shape))
    *field, inputs, outputs = variable.shape
    return replace(variable, shape=(*field, inputs if first else 2 * inputs, outputs if last else 2 * outputs))
