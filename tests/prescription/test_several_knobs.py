"""Knobs that choose between answers, several answers at once, and what is tried when none helps."""

from dataclasses import replace

import numpy as np
import pytest

import kgrad
from kgrad.diagnosis.finding import Finding
from kgrad.log.batch import WHOLE, BatchFacts, TensorFacts
from kgrad.log.structure import Layer, Variable
from kgrad.prescription import prescribe
from kgrad.prescription.initializer import prescribe_bounded_start
from kgrad.prescription.rectifier import born_dead, rectifier
from kgrad.prescription.sound import sound_changes

from ..diagnosis.rules.cases import deep
from .test_knobs import LABELS, VALUES, named, runs_as_pasted


def wide(log, units):
    layers = tuple(replace(layer, units=units) for layer in log.structure.layers)
    return replace(log, structure=replace(log.structure, layers=layers))


def test_relu_is_not_prescribed_where_it_is_born_dead():
    narrow = deep(layers=9, activation="sigmoid")  # eight hidden layers of eight units
    assert born_dead(narrow) == pytest.approx(1 - (1 - 2**-8) ** 8)
    assert rectifier(narrow).name == "elu"
    first = named("vanishing-gradient", narrow)[0]
    assert (first.knob, first.settings["activation"]) == ("activation", "elu")
    few = wide(deep(layers=5, activation="sigmoid"), 64)
    assert named("vanishing-gradient", few)[0].settings["activation"] == rectifier(few).name == "relu"


def test_layers_side_by_side_make_no_depth():
    log = wide(deep(layers=8, activation="sigmoid"), 64)
    first, *hidden, last = log.structure.layers
    beside = (first, *(replace(each, inbound=()) for each in hidden), replace(last, inbound=(hidden[0].name,)))
    assert rectifier(log).name == "elu"
    assert rectifier(replace(log, structure=replace(log.structure, layers=beside))).name == "relu"


def test_in_more_than_five_layers_elu_is_the_better_rectifier():
    assert rectifier(wide(deep(layers=6, activation="sigmoid"), 64)).name == "elu"


def test_a_narrow_relu_stack_gets_another_activation_and_a_wide_one_does_not():
    narrow = deep(layers=9, activation="relu", weight_norm=np.full((200, 18), 1e-3))
    assert named("poor-initialization", narrow)[0].knob == "activation"
    assert named("poor-initialization", wide(narrow, 64))[0].knob == "initializer"


def test_units_that_a_large_step_killed_get_smaller_steps_first():
    log = deep(weight_norm=np.ones((200, 16)), update_norm=np.full((200, 16), 0.5))
    finding = {"layers": ("dense_1",)}
    offered = named("dead-units", wide(log, 64), **finding)
    assert [each.knob for each in offered] == ["learning_rate", "activation", "learning_rate"]
    by_start, by_all = (each.settings["learning_rate"] for each in offered if each.knob == "learning_rate")
    assert by_start == pytest.approx(10 * by_all, rel=0.05)  # 3 % for the first step, 0.3 % for the usual one
    calm = deep(weight_norm=np.ones((200, 16)), update_norm=np.full((200, 16), 5e-3))
    assert [each.knob for each in named("dead-units", wide(calm, 64), **finding)] == ["activation", "learning_rate"]


def test_many_steps_at_the_very_start_that_add_up_kill_units_too():
    log = wide(deep(weight_norm=np.ones((200, 16)), update_norm=np.full((200, 16), 0.08)), 64)
    diagnosis = kgrad.diagnose(log)

    def first(step):
        finding = Finding("dead-units", "high", "they are dead.", layers=("dense_1",), first_step=step)
        dead = kgrad.diagnosis.Outcome("dead-units", "found", finding=finding)
        return prescribe(log, replace(diagnosis, outcomes=(dead,)))[0].knob

    assert first(5) == "learning_rate"  # 5 steps of 8 % at the start of 200
    assert first(1) == "activation"
    assert first(60) == "activation"


def scaled(log, x, y=LABELS, **info):
    facts = BatchFacts.of("given", {"": x}, {"": y}).to_dict()
    return replace(log, info={**log.info, **info, "batch": facts})


def test_flat_pixels_share_one_scale_and_a_rate_made_for_raw_inputs_is_raised():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 100)).astype("float32")
    optimizer = {"class_name": "SGD", "config": {"learning_rate": 1e-6}}
    log = scaled(deep(), pixels, optimizer=optimizer)
    (offered,) = named("unscaled-inputs", log, fix={"layer": "Normalization"})
    assert offered.settings["layer"] == "Rescaling"
    assert offered.settings["learning_rate"] == pytest.approx(0.01)
    assert "learning_rate=0.01" in offered.code
    adam = {"class_name": "Adam", "config": {"learning_rate": 1e-6}}
    (offered,) = named("unscaled-inputs", scaled(log, pixels, optimizer=adam), fix={"layer": "Normalization"})
    assert "learning_rate" not in offered.settings


@pytest.mark.parametrize(("most", "layer"), [(255.0, "Rescaling"), (90.0, "Normalization")])
def test_flat_pictures_that_were_enlarged_fill_the_byte(most, layer):
    """Their numbers are no whole ones, and by its own spread each pixel of a nearly constant rim would be blown up."""
    shares = np.random.default_rng(0).beta(0.3, 0.6, (64, 100))
    pictures = (most * (shares - shares.min()) / np.ptp(shares)).astype("float32")
    assert not np.array_equal(pictures, np.round(pictures))
    (offered,) = named("unscaled-inputs", scaled(deep(), pictures), fix={"layer": "Normalization"})
    assert offered.settings["layer"] == layer


@pytest.mark.parametrize(
    ("shape", "are"),
    [((8, 8), True), ((28, 28, 3), True), ((64,), True), ((30, 2), False), ((40, 2), False), ((9,), False)],
)
def test_a_picture_has_rows_and_columns_enough(shape, are):
    whole = np.random.default_rng(0).integers(0, 256, (16, *shape)).astype("float32")
    assert TensorFacts.of("", whole).are_pixels is are
    assert not TensorFacts.of("", whole / 2.3).are_pixels  # parts of whole numbers, up to 111


def test_inputs_and_targets_that_are_both_far_off_are_scaled_together():
    log = scaled(deep(), 100 * VALUES, (1e4 * VALUES[:, :4]).astype("float32"))
    log = replace(log, info={**log.info, "loss": "mean_squared_error"})
    (offered,) = named("unscaled-inputs", log, fix={"layer": "Normalization"})
    assert offered.settings["targets"] == "standardise"
    assert offered.settings["std"] == pytest.approx(1e4, rel=0.2)


def test_a_few_updates_an_epoch_are_made_more_by_smaller_batches():
    x = np.zeros((200, 3))
    log = scaled(deep(), x, np.zeros(200), fit={"epochs": 50, "steps_per_epoch": 2})
    first = named("slow-convergence", log, path=0.1)[0]
    assert first.settings == {"batch_size": 32}
    assert "200 rows" in first.before
    many = scaled(deep(), x, np.zeros(200), fit={"epochs": 5, "steps_per_epoch": 50})
    assert named("slow-convergence", many, path=0.1)[0].knob == "epochs"


@pytest.mark.parametrize(
    ("size", "rate", "all_rows", "offered"),
    [
        (1, 0.008, 675, True),
        (128, float(np.float32(0.01)), 675, False),
        (1, 0.0005, 675, False),
        (1, 0.1, 675, False),
        (1, 0.008, 90, False),
    ],
    ids=["too fast for so few", "large batches", "slow enough", "too fast for all", "few rows in all"],
)
def test_descent_too_fast_for_a_few_rows_alone_may_get_more_of_them(size, rate, all_rows, offered):
    log = deep()
    facts = BatchFacts.of(WHOLE, {"": np.zeros((all_rows, 3))}, {"": np.zeros(all_rows)}).to_dict()
    optimizer = {"class_name": "SGD", "config": {"learning_rate": rate, "momentum": 0.9}}
    info = {**log.info, "optimizer": optimizer, "data": facts, "fit": {"batch_size": size, "epochs": 10}}
    given = named("learning-rate-too-high", replace(log, info=info), suggested=0.0006, learning_rate=rate)
    larger = [each for each in given if each.knob == "batch_size"]
    assert bool(larger) is offered
    if offered:
        settings = {"batch_size": 32, "epochs": 28, "monitor": "loss", "patience": 10}  # 22 updates each
        assert larger[0].settings == settings
        assert given[0].knob == "learning_rate"
        runs_as_pasted(larger[0])


def two_causes(second_severity="high"):
    fix = {"activation": "softmax", "loss": "sparse_categorical_crossentropy"}
    details = {"output": "dense_7", "activation": "linear", "loss": "mse", "fix": fix}
    findings = (
        Finding("vanishing-gradient", "high", "it vanishes."),
        Finding("output-loss-mismatch", second_severity, "it does not fit.", details=details),
    )
    log = deep(activation="sigmoid")
    outcomes = tuple(kgrad.diagnosis.Outcome(each.rule, "found", finding=each) for each in findings)
    diagnosis = replace(kgrad.diagnose(log), outcomes=outcomes)
    return log, diagnosis


def test_several_causes_are_answered_together_first():
    offered = prescribe(*two_causes())
    assert offered[0].knob == "several"
    assert [part["knob"] for part in offered[0].settings["parts"]] == ["output", "activation"]
    assert offered[0].code.count("model.compile(") == 1
    assert {each.knob for each in offered[1:]} >= {"activation", "output"}
    runs_as_pasted(offered[0])


def test_a_note_is_no_second_cause():
    assert "several" not in {each.knob for each in prescribe(*two_causes("low"))}


@pytest.mark.parametrize(("severity", "epochs", "knobs"), [("low", 2, {"activation", "epochs"}), ("low", 20, set())])
def test_what_slowed_a_run_of_few_updates_is_answered_with_more_of_them(severity, epochs, knobs):
    log, diagnosis = two_causes()
    slowed = kgrad.diagnosis.Outcome(
        "vanishing-gradient", "found", finding=Finding("vanishing-gradient", severity, ".")
    )
    log = replace(log, info={**log.info, "fit": {"epochs": epochs, "steps_per_epoch": 50}})
    first = prescribe(log, replace(diagnosis, outcomes=(slowed,)))[0]
    assert {part["knob"] for part in first.settings.get("parts", ())} == knobs


def test_where_the_loss_is_wrong_a_vanishing_that_the_activations_make_is_answered_too():
    log, diagnosis = two_causes()
    quiet = tuple(
        replace(each, finding=replace(each.finding, severity="info", details={"root": True}))
        if each.rule == "vanishing-gradient"
        else each
        for each in diagnosis.outcomes
    )
    assert prescribe(log, replace(diagnosis, outcomes=quiet))[0].knob == "several"


def test_sound_practice_keeps_the_exact_answers_and_adds_to_them():
    log, diagnosis = two_causes()
    changes = sound_changes(log, diagnosis, prescribe(log, diagnosis))
    assert len(changes) >= 3
    adam = {"class_name": "Adam", "config": {"learning_rate": 1e-3}}
    given, other = (
        sound_changes(each, diagnosis, ()) for each in (replace(log, info={**log.info, "optimizer": adam}), log)
    )
    alone = [[change for change in found if change[0].after == "Adam(learning_rate=0.001)"] for found in (given, other)]
    assert [len(found) for found in alone] == [0, 1]  # what the run has is no change
    for change in changes:
        assert change[0].knob == "output"
        assert change[-1].settings["optimizer"] == "Adam"
    assert {change[-1].settings["learning_rate"] for change in changes} == {1e-3, 1e-2}
    assert sound_changes(log, replace(diagnosis, outcomes=()), ()) == ()


def test_every_other_knob_runs_as_pasted():
    chain = deep(layers=12, activation="tanh")
    offered = named("vanishing-gradient", chain)
    fewer = next(each for each in offered if "remove" in each.settings)
    assert len(fewer.settings["remove"]) == 8
    orthogonal = next(each for each in offered if "Orthogonal" in each.after)
    runs_as_pasted(orthogonal)
    selu = next(each for each in offered if "selu" in each.after)
    assert "lecun_normal" in selu.after
    runs_as_pasted(selu)
    (push,) = [each for each in named("saddle-point", chain) if "perturbation" in each.settings]
    runs_as_pasted(push)
    log = replace(chain, info={**chain.info, "fit": {"epochs": 5, "steps_per_epoch": 40}})
    details = {"kind": "overshoot", "learning_rate": 0.01, "suggested": 1e-3}
    (warm,) = [each for each in named("learning-rate-too-high", log, **details) if "cosine" in each.after]
    rate = runs_as_pasted(warm)["optimizer"].learning_rate
    assert float(rate) == pytest.approx(0.0)


def test_recurrent_layers_get_a_bounded_state_and_an_open_forget_gate():
    log = deep(layers=2)
    config = {"units": 8, "unit_forget_bias": False}
    recurrent = Layer("rnn", "LSTM", 0, "relu", 8, config=config)
    variables = (Variable("rnn/kernel", "rnn", "kernel", (4, 32)), *log.structure.variables[1:])
    structure = replace(log.structure, layers=(recurrent, *log.structure.layers[1:]), variables=variables)
    log = replace(log, structure=structure)
    bounded = next(each for each in named("exploding-gradient", log) if each.knob == "activation")
    assert bounded.settings["activation"] == "tanh"
    runs_as_pasted(bounded)
    opened = next(each for each in named("vanishing-gradient", log) if "unit_forget_bias" in each.after)
    assert "unit_forget_bias=True" in opened.code
    runs_as_pasted(opened)


def test_a_state_that_grows_gets_a_bound_with_all_new_weights():
    log = deep(layers=3)
    rnn = Layer("rnn", "SimpleRNN", 0, "relu", 8, config={"units": 8})
    lstm = Layer("lstm", "LSTM", 1, "relu", 4, config={"units": 4})
    kernels = (
        Variable("rnn/recurrent_kernel", "rnn", "recurrent_kernel", (8, 8)),
        Variable("dense_1/kernel", "dense_1", "kernel", (4, 4)),
        Variable("dense_2/kernel", "dense_2", "kernel", (4, 4)),
    )
    structure = replace(log.structure, layers=(rnn, lstm, *log.structure.layers[1:]), variables=kernels)
    size = np.array([8 * 3.0, 4 * 3.0, 1.0])
    log = replace(log, structure=structure, columns={**log.columns, "weight_norm": np.tile(size, (len(log), 1))})
    finding = Finding("poor-initialization", "high", "it grows.", layers=("rnn",), details={"kind": "recurrent"})
    first = prescribe_bounded_start(log, finding)
    assert first.settings["layers"] == {"rnn": {"activation": "tanh"}}
    other = replace(rnn, name="back")  # the other direction: as wrong, and not named
    more = (*kernels, Variable("back/recurrent_kernel", "back", "recurrent_kernel", (8, 8)))
    both = replace(structure, layers=(rnn, other, *structure.layers[1:]), variables=more)
    norms = {"weight_norm": np.tile([*size, 8 * 3.0], (len(log), 1))}
    log_of_both = replace(log, structure=both, columns={**log.columns, **norms})
    assert set(prescribe_bounded_start(log_of_both, finding).settings["layers"]) == {"rnn", "back"}
    assert set(first.settings["initializers"]) >= {"rnn"}
    assert 'activation="tanh"' in first.code
    assert 'recurrent_initializer="orthogonal"' in first.code
    assert "lstm" not in first.code
    assert first.finding == "poor-initialization"


def test_clipping_of_all_variables_together_and_inside_a_loss_scale():
    norms = np.linspace(0.5, 1.5, 200)
    optimizer = {
        "class_name": "LossScaleOptimizer",
        "config": {
            "initial_scale": 1024.0,
            "inner_optimizer": {"class_name": "SGD", "config": {"learning_rate": 0.01}},
        },
    }
    log = deep(gradient_norm=np.tile(norms[:, None], (1, 16)), global_norm=4 * norms)
    log = replace(log, info={**log.info, "optimizer": optimizer})
    phases = (kgrad.diagnosis.Phase("healthy", 0, 199),)
    finding = Finding("exploding-gradient", "high", "it explodes.", first_step=100, last_step=199)
    outcomes = (kgrad.diagnosis.Outcome("exploding-gradient", "found", finding=finding),)
    offered = prescribe(log, replace(kgrad.diagnose(log), phases=phases, outcomes=outcomes))
    together = next(each for each in offered if "global_clipnorm" in each.settings)
    assert together.settings["global_clipnorm"] == pytest.approx(5.6)
    made = runs_as_pasted(together)["optimizer"]
    assert type(made).__name__ == "LossScaleOptimizer"
    assert made.inner_optimizer.global_clipnorm == pytest.approx(5.6)
    assert made.initial_scale == 1024


def planned(log, epochs=5, steps_per_epoch=10, **info):
    return replace(log, info={**log.info, "fit": {"epochs": epochs, "steps_per_epoch": steps_per_epoch}, **info})


def test_where_few_updates_were_planned_the_first_answer_says_how_long_to_train():
    log = deep(layers=9, activation="sigmoid")
    first, second = named("vanishing-gradient", planned(log))[:2]
    assert first.knob == "several"
    assert [part["knob"] for part in first.settings["parts"]] == ["activation", "epochs"]
    assert first.settings["parts"][1]["settings"]["epochs"] == 60
    assert (first.target, second.knob) == (second.target, "activation")
    assert "50 updates are few" in first.why
    assert 'monitor="loss", patience=10' in first.code
    runs_as_pasted(first)
    long = named("vanishing-gradient", planned(log, 60))
    assert "several" not in {each.knob for each in long}
    assert "several" not in {each.knob for each in named("vanishing-gradient", planned(log, 5, None))}


def test_a_generator_s_updates_are_counted_by_its_first_epoch():
    log = planned(deep(layers=9, activation="sigmoid"), 5, None)
    log = replace(log, epochs={"epoch": np.arange(5.0), "last_step": 40.0 * np.arange(1, 6) - 1})
    assert named("vanishing-gradient", log)[0].settings["parts"][1]["settings"]["epochs"] == 15


def test_with_validation_data_it_is_their_loss_that_ends_the_training():
    log = replace(planned(deep(layers=9, activation="sigmoid")), epochs={"val_loss": np.ones(5)})
    first = named("vanishing-gradient", log)[0]
    assert (
        'validation_data=(x_val, y_val), callbacks=[\n    keras.callbacks.EarlyStopping(monitor="val_loss"'
        in first.code
    )


def test_smaller_batches_of_few_rows_go_with_more_epochs():
    log = scaled(deep(), np.zeros((200, 3)), np.zeros(200), fit={"epochs": 5, "steps_per_epoch": 1})
    first = named("slow-convergence", log, path=0.1)[0]
    assert first.settings["batch_size"] == 32
    assert first.settings["epochs"] == 86  # 7 updates each
    runs_as_pasted(first)


def test_rows_of_a_large_batch_are_those_that_fit_was_given():
    log = scaled(deep(), np.zeros((256, 3)), np.zeros(256), fit={"epochs": 5, "steps_per_epoch": 2})
    assert "256 rows or more" in named("slow-convergence", log, path=0.1)[0].before
    whole = BatchFacts.of(WHOLE, {"": np.zeros((2000, 3))}, {"": np.zeros(2000)}).to_dict()
    fit = {"epochs": 5, "steps_per_epoch": 2, "batch_size": 1000}
    first = named("slow-convergence", replace(log, info={**log.info, "data": whole, "fit": fit}), path=0.1)[0]
    assert "1000 rows" in first.before
    assert first.settings["epochs"] == 10  # 63 updates each


def test_what_an_optimizer_is_changed_to_is_compiled():
    log = deep(weight_norm=np.ones((200, 16)), update_norm=np.full((200, 16), 0.5))
    for each in prescribe(log, kgrad.diagnose(log)):
        if "optimizer = " in each.code:
            assert "model.compile(optimizer=optimizer" in each.code


def test_weights_to_one_side_of_zero_are_what_keeps_units_dead():
    norms = np.tile([2.0, 0.0], (200, 4))  # biases begin at zero, as usual
    log = deep(layers=4, zero_fraction=np.ones((200, 8)), weight_norm=norms)
    leaning = {"class_name": "RandomUniform", "config": {"minval": 0, "maxval": 0.3}}
    variables = tuple(replace(v, initializer=leaning) if v.role == "kernel" else v for v in log.structure.variables)
    log = wide(replace(log, structure=replace(log.structure, variables=variables)), 64)
    first = named("dead-units", log, layers=("dense_1", "dense_2"))[0]
    assert (first.knob, first.target) == ("initializer", tuple(f"dense_{i}" for i in range(4)))  # all that lie so
    assert first.effect.before == pytest.approx(3**0.5)
    runs_as_pasted(first)
    around = {"class_name": "RandomUniform", "config": {"minval": -0.3, "maxval": 0.3}}
    variables = tuple(replace(v, initializer=around) if v.role == "kernel" else v for v in log.structure.variables)
    log = replace(log, structure=replace(log.structure, variables=variables))
    assert named("dead-units", log, layers=("dense_1",))[0].knob != "initializer"


def test_a_rate_that_sigmoids_bore_is_too_large_for_rectifiers():
    log = wide(deep(layers=6, activation="sigmoid"), 64)
    fast = {"class_name": "SGD", "config": {"learning_rate": 0.05, "momentum": 0.9}}
    first = named("vanishing-gradient", replace(log, info={**log.info, "optimizer": fast}))[0]
    assert first.settings["learning_rate"] == pytest.approx(0.01)
    assert "learning_rate=0.01, momentum=0.9" in first.code
    runs_as_pasted(first)
    plain = {"class_name": "SGD", "config": {"learning_rate": 0.1}}
    first = named("vanishing-gradient", replace(log, info={**log.info, "optimizer": plain}))[0]
    assert "learning_rate" not in first.settings


def test_an_orthogonal_kernel_with_a_gain_is_not_the_plain_one():
    log = deep(layers=2)
    gained = {"class_name": "Orthogonal", "config": {"gain": 1.8}}
    recurrent = Layer("rnn", "SimpleRNN", 0, "relu", 4, config={"units": 4})
    kernel = Variable("rnn/kernel", "rnn", "kernel", (4, 4))
    state = Variable("rnn/recurrent", "rnn", "recurrent_kernel", (4, 4), initializer=gained)
    structure = replace(
        log.structure,
        layers=(recurrent, *log.structure.layers[1:]),
        variables=(kernel, state, *log.structure.variables[2:]),
    )
    norms = np.full((200, 4), 2.0)
    norms[:, 1] = 1.8 * 2
    log = replace(log, structure=structure, columns={**log.columns, "weight_norm": norms})
    offered = next(each for each in named("poor-initialization", log) if each.knob == "initializer")
    assert "recurrent_initializer" in offered.settings["initializers"]["rnn"]
