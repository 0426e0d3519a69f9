"""`apply`: the model as the prescriptions would have it."""

import random
from collections.abc import Sequence
from typing import Any

import keras

from kgrad.prescription.prescription import Prescription
from kgrad.treatment.arguments import check_model, chosen_of, whole_number
from kgrad.treatment.compiling import compile_like
from kgrad.treatment.copying import Copy, fresh_copy, kept_randomness, through_config
from kgrad.treatment.errors import TreatmentError
from kgrad.treatment.knobs import plan_of
from kgrad.treatment.places import is_graph
from kgrad.treatment.plan import Plan
from kgrad.treatment.rewiring import rewired


def apply(
    model: keras.Model,
    prescriptions: Prescription | Sequence[Prescription],
    *,
    seed: int | None = None,
    keep_weights: bool = False,
    x: Any = None,
) -> keras.Model:
    """A new model, compiled and freshly initialized, with the changes made; the given one is not touched.

    The same seed gives the same weights, and to layers that no prescription changes the same weights as without any:
    `apply(model, [], seed=0)` and `apply(model, prescription, seed=0)` differ by the prescription alone. Weights
    whose initializer has a seed of its own in the model keep that one. Nothing but the configuration of the optimizer
    is carried over: it starts at step 0. How long to train and in which batches is no part of a model: of a
    prescription that joins several, `fit_arguments` has that.

    Args:
        model: a built and compiled Sequential or Functional model.
        prescriptions: what to change; none makes a plain copy.
        seed: of the new weights; by default drawn, as Keras does, from Python's `random`.
        keep_weights: give layers that are not changed the present weights of the model instead of new ones.
        x: inputs, or a dataset, for the one change that needs some: a `Normalization` in front.

    Raises:
        TreatmentError: a prescription cannot be applied as a whole; the message says why. Nothing is changed.
    """
    check_model(model)
    chosen = chosen_of(prescriptions)
    _check(model, chosen)
    own_seed = random.getrandbits(32) if seed is None else whole_number("seed", seed, 0)
    with kept_randomness():  # whoever makes an initializer, a layer or an optimizer may draw
        plan = plan_of(model, chosen)
        copy = _copied(model, plan, own_seed, _code(chosen))
        if keep_weights:
            _keep_weights(copy, plan)
        treated = through_config(rewired(copy.model, plan, x)) if plan.rewires else copy.model
        compile_like(model, treated, plan)
    return treated


def _copied(model: keras.Model, plan: Plan, seed: int, code: str) -> Copy:
    try:
        return fresh_copy(model, plan.layers, plan.places, seed, plan.classes)
    except TreatmentError as error:
        raise TreatmentError(f"{error}{_by_hand(code)}") from error


def _by_hand(code: str) -> str:
    if code:
        return f"\nMake the change by hand:\n{code}"
    return " Train it with kgrad.GradientMonitor: the report says what to change there by hand."


def _code(prescriptions: tuple[Prescription, ...]) -> str:
    return "\n".join(prescription.code for prescription in prescriptions)


def _keep_weights(copy: Copy, plan: Plan) -> None:
    made_anew = [path for path, arguments in plan.layers.items() if arguments.keys() - {"trainable"}]
    changed = {id(plan.places[path].holder) for path in (*made_anew, *plan.classes)}
    for layer, own in copy.pairs:
        if id(layer) not in changed and isinstance(layer, keras.layers.Layer):  # an operation has no weights
            own.set_weights(layer.get_weights())


def _check(model: keras.Model, prescriptions: tuple[Prescription, ...]) -> None:
    code = _code(prescriptions)
    if not is_graph(model):
        raise TreatmentError(
            f"{model.name!r} is a subclassed model ({type(model).__name__}): only its own code knows how its layers "
            f"are connected.{_by_hand(code)}"
        )
    if not model.built or not model.compiled:
        missing = "compiled" if model.built else "built"
        raise TreatmentError(f"{model.name!r} is not {missing} yet; build and compile it before it is treated.")
    if type(model).compile is not keras.Model.compile:
        raise TreatmentError(
            f"{type(model).__name__} has a compile() of its own, which kgrad cannot call for it.{_by_hand(code)}"
        )
