"""`dry_run`: what the prescriptions do to gradients and activations before any training."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import keras

from kgrad.prescription.prescription import Prescription
from kgrad.treatment.apply import apply
from kgrad.treatment.arguments import check_data, check_model, fitting_data
from kgrad.treatment.batches import probe_batch
from kgrad.treatment.depth_profile import depth_profile

_ROWS = 256


@dataclass(frozen=True)
class LayerChange:
    """One layer with trainable weights, before and after the change.

    Attributes:
        layer: its name in the run.
        gradient_before: L2 norm of the gradient of its weights in the unchanged model.
        gradient_after: the same in the changed one.
        activation_before: standard deviation of its output in the unchanged model.
        activation_after: the same in the changed one.
    """

    layer: str
    gradient_before: float
    gradient_after: float
    activation_before: float
    activation_after: float


@dataclass(frozen=True)
class DryRun:
    """The depth profile of one batch at initialization, before and after.

    Attributes:
        layers: the layers with trainable weights, from the input on.
        seed: of the initial weights of both models.
    """

    layers: tuple[LayerChange, ...]
    seed: int

    @property
    def spread_before(self) -> float:
        """Decades between the largest and the smallest gradient of a layer, in the unchanged model."""
        return _decades([layer.gradient_before for layer in self.layers])

    @property
    def spread_after(self) -> float:
        """Decades between the largest and the smallest gradient of a layer, in the changed model."""
        return _decades([layer.gradient_after for layer in self.layers])

    @property
    def changes_the_start(self) -> bool:
        """Whether the prescriptions show before training; a learning rate, for one, does not."""
        return any(
            (layer.gradient_before, layer.activation_before) != (layer.gradient_after, layer.activation_after)
            for layer in self.layers
        )

    def to_dict(self) -> dict[str, Any]:
        """The dry run as plain JSON types."""
        derived = ("spread_before", "spread_after", "changes_the_start")
        return {**asdict(self), **{name: getattr(self, name) for name in derived}}


def dry_run(
    model: keras.Model,
    prescriptions: Prescription | Sequence[Prescription],
    x: Any,
    y: Any = None,
    *,
    seed: int = 0,
) -> DryRun:
    """One batch through the unchanged and the changed model, both freshly initialized from the same seed.

    Costs a forward and a backward pass each. The model itself is not touched.

    Args:
        model: a built and compiled Sequential or Functional model.
        prescriptions: what to change.
        x: inputs, of which up to 256 rows, evenly spaced, are taken; or a `tf.data.Dataset`, for its first batch.
        y: targets.
        seed: of the initial weights.

    Raises:
        TreatmentError: the prescriptions cannot be applied, or the data do not fit.
    """
    check_model(model)
    changed = apply(model, prescriptions, seed=seed, x=x)
    check_data(model, x, y)
    batch = probe_batch(x, y, _ROWS)
    with fitting_data(model):
        before, after = (depth_profile(each, batch) for each in (apply(model, (), seed=seed), changed))
    return DryRun(
        tuple(
            LayerChange(
                path,
                before[path].gradient_norm,
                after[path].gradient_norm,
                before[path].activation_std,
                after[path].activation_std,
            )
            for path in before
            if path in after
        ),
        seed,
    )


def _decades(norms: list[float]) -> float:
    """`log10(largest / smallest)`; infinite where a gradient is 0 or not finite."""
    if not norms or min(norms) <= 0 or not all(math.isfinite(norm) for norm in norms):
        return math.inf if norms else 0.0
    return math.log10(max(norms) / min(norms))
