"""Lines of Keras code that compile a model with the run's own loss and metrics, as far as `run.json` knows them."""

import re
from collections.abc import Mapping
from typing import Any

from kgrad.prescription.code import plain_code

_LOSSES = {
    *(
        "BinaryCrossentropy",
        "BinaryFocalCrossentropy",
        "CTC",
        "CategoricalCrossentropy",
        "CategoricalFocalCrossentropy",
    ),
    *("CategoricalHinge", "Circle", "CosineSimilarity", "Dice", "Hinge", "Huber", "KLDivergence", "LogCosh"),
    *("MeanAbsoluteError", "MeanAbsolutePercentageError", "MeanSquaredError", "MeanSquaredLogarithmicError"),
    *("Poisson", "SparseCategoricalCrossentropy", "SquaredHinge", "Tversky"),
}
_METRICS = {
    *("AUC", "Accuracy", "BinaryAccuracy", "BinaryCrossentropy", "BinaryIoU", "CategoricalAccuracy"),
    *("CategoricalCrossentropy", "CategoricalHinge", "ConcordanceCorrelation", "CosineSimilarity", "F1Score"),
    *("FBetaScore", "FalseNegatives", "FalsePositives", "Hinge", "IoU", "KLDivergence", "LogCoshError"),
    *("Mean", "MeanAbsoluteError", "MeanAbsolutePercentageError", "MeanIoU", "MeanSquaredError"),
    *("MeanSquaredLogarithmicError", "OneHotIoU", "OneHotMeanIoU", "PearsonCorrelation", "Poisson", "Precision"),
    *("PrecisionAtRecall", "R2Score", "Recall", "RecallAtPrecision", "RootMeanSquaredError"),
    *("SensitivityAtSpecificity", "SparseCategoricalAccuracy", "SparseCategoricalCrossentropy"),
    *("SparseTopKCategoricalAccuracy", "SpecificityAtSensitivity", "SquaredHinge", "Sum", "TopKCategoricalAccuracy"),
    *("TrueNegatives", "TruePositives"),
}
# Their default is no axis, and not the last one.
_OTHER_AXIS = ("Dice", "Tversky")
# Keras' own `get_config` of these leaves an argument out: how they were made is not known without it.
_UNSAID = {"Huber": "delta", "CosineSimilarity": "axis"}
# Keras chooses what these are by the shapes of targets and answers.
_BY_SHAPE = {"accuracy", "acc", "crossentropy", "ce"}
_SHORT = {"mse", "mae", "mape", "msle", "bce", "kld", "logcosh", "kl_divergence"}
# Keras' defaults of the arguments of losses and metrics: what equals them is not worth a word.
_DEFAULTS: dict[str, Any] = {
    "reduction": "sum_over_batch_size",
    "from_logits": False,
    "label_smoothing": 0.0,
    "axis": -1,
    "ignore_class": None,
    "num_thresholds": 200,
    "curve": "ROC",
    "summation_method": "interpolation",
    "multi_label": False,
    "num_labels": None,
    "label_weights": None,
    "thresholds": None,
    "top_k": None,
    "class_id": None,
}


def compile_code(info: Mapping[str, Any], loss: str | None = None, *, other_units: bool = False) -> str:
    """The call of `compile` with `optimizer`; a loss that is not Keras' own is the one the model was compiled with.

    Metrics of one's own are left out.

    Args:
        info: `run.json`.
        loss: code of another loss; `None` for the run's.
        other_units: whether the answers have another shape than before, which not every metric suits.
    """
    if loss is None:
        loss = loss_code(info["loss"]) if is_known_loss(info) else "model.loss"
    given = [f"loss={loss}"] if loss is not None else []
    weights = info.get("loss_weights")
    given += [f"loss_weights={plain_code(weights)}"] if weights is not None else []
    for name in ("metrics", "weighted_metrics"):
        known = _metrics(info.get(name), _BY_SHAPE if other_units else None)
        given += [f"{name}={known}"] if known else []
    return f"model.compile({', '.join(['optimizer=optimizer', *given])})"


def compiled_code(info: Mapping[str, Any], optimizer: str) -> str:
    """The lines that make this optimizer and compile the model with it; a loop of one's own compiles nothing."""
    made = f"optimizer = {optimizer}"
    return f"{made}\n{compile_code(info)}" if is_compiled(info) else made


def is_compiled(info: Mapping[str, Any]) -> bool:
    """Whether `fit` trained the model; of a loop of one's own (`GradientRecorder`) no optimizer is known."""
    return "optimizer" in info


def is_known_loss(info: Mapping[str, Any]) -> bool:
    """Whether code can make what the run was compiled with: losses of Keras' own, or none at all."""
    return "loss" in info and (info["loss"] is None or loss_code(info["loss"]) is not None)


def loss_code(loss: Any) -> str | None:
    """A loss as `run.json` holds it, or those of several outputs; `None` where one of them is not Keras' own.

    >>> loss_code({"class_name": "BinaryCrossentropy", "config": {"from_logits": True}})
    'keras.losses.BinaryCrossentropy(from_logits=True)'
    >>> loss_code({"0": "mse", "1": "mae"}), loss_code({"age": "mse"}), loss_code("my_own")
    ('["mse", "mae"]', '{"age": "mse"}', None)
    """
    if not isinstance(loss, Mapping) or "class_name" in loss:
        return _code("losses", loss, _LOSSES)
    made = {name: "None" if each is None else _code("losses", each, _LOSSES) for name, each in loss.items()}
    if None in made.values():
        return None
    if list(made) == [str(place) for place in range(len(made))]:
        return f"[{', '.join(str(each) for each in made.values())}]"
    return f"{{{', '.join(f'{plain_code(name)}: {each}' for name, each in made.items())}}}"


def _metrics(entry: Any, only: set[str] | None) -> str | None:
    """The metrics that are Keras' own, in the lists and dictionaries that they were given in; `None` for none."""
    if isinstance(entry, (list, tuple)):
        inside = [_metrics(each, only) for each in entry]
        if any(isinstance(each, (list, tuple)) for each in entry):  # one list an output: its place counts
            return f"[{', '.join(each or '[]' for each in inside)}]" if any(inside) else None
        return f"[{', '.join(each for each in inside if each)}]" if any(inside) else None
    if isinstance(entry, Mapping) and "class_name" not in entry:
        named = {name: _metrics(each, only) for name, each in entry.items()}
        pairs = ", ".join(f"{plain_code(name)}: {each}" for name, each in named.items() if each)
        return f"{{{pairs}}}" if pairs else None
    return _code("metrics", entry, _METRICS) if only is None or entry in only else None


def _code(room: str, entry: Any, known: set[str]) -> str | None:
    """A loss or metric by its name or as an object; `None` for one's own, and for what code cannot say."""
    name = entry.get("config") if isinstance(entry, Mapping) and entry["class_name"] == "function" else entry
    if isinstance(name, str):
        is_own = isinstance(entry, Mapping) and not str(entry.get("module", "builtins")).startswith(
            ("builtins", "keras.")
        )
        names = {*known, *map(_snake, known), *_SHORT, *_BY_SHAPE}
        return None if is_own or not {name, name.lower()} & names else plain_code(name)
    if not isinstance(entry, Mapping) or entry["class_name"] not in known or "module" in entry:
        return None
    config = {key: value for key, value in (entry.get("config") or {}).items() if key != "dtype"}
    if _UNSAID.get(entry["class_name"], "name") not in {"name", *config}:
        return None
    if any(isinstance(value, Mapping) for value in config.values()):
        return None
    name = str(config.pop("name", ""))
    if room == "metrics" and re.sub(r"_\d+$", "", name) not in (_snake(entry["class_name"]), ""):  # the history's keys
        config["name"] = name
    said = {key: value for key, value in config.items() if _DEFAULTS.get(key, config) != value}
    if entry["class_name"] in _OTHER_AXIS and config.get("axis") is not None:
        said["axis"] = config["axis"]
    if room == "losses" and "from_logits" in config:  # what people mistake is said in any case
        said["from_logits"] = config["from_logits"]
    given = [f"{key}={plain_code(value)}" for key, value in said.items()]
    return f"keras.{room}.{entry['class_name']}({', '.join(given)})"


def _snake(name: str) -> str:
    """A class's other name, as Keras makes it."""
    parted = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", parted).lower()
