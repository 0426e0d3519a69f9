"""The verdict does not depend on what means nothing: a factor on the loss, float16, the width."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers

import kgrad
from kgrad.diagnosis import diagnose

from .rules.cases import deep, scaled
from .rules.test_learning_rate_too_high import thrown
from .rules.test_learning_rate_too_low import creeping
from .rules.test_plateau import CONVERGED, LEFT, NEVER, run

MADE = {
    "healthy": deep(loss=np.geomspace(2.3, 0.1, 200)),
    "vanishing": deep(
        decades=6.0, loss=np.full(200, 2.3), update_norm=np.geomspace(1e-7, 1e-2, 16) * np.ones((200, 1))
    ),
    "small but moving": deep(decades=6.0, loss=np.geomspace(2.3, 0.1, 200), update_norm=np.full((200, 16), 0.02)),
    "plateau, left": run(LEFT),
    "never": run(NEVER),
    "converged": run(CONVERGED),
    "thrown": thrown(),
    "creeping": creeping(),
}


def said(log):
    return [(finding.rule, finding.severity, finding.caused_by) for finding in diagnose(log).findings]


@pytest.mark.parametrize("factor", [1e-4, 1e4])
@pytest.mark.parametrize("name", MADE)
def test_a_factor_on_the_loss(name, factor):
    assert said(scaled(MADE[name], factor)) == said(MADE[name])


@pytest.mark.parametrize("name", MADE)
def test_loss_scaling_of_float16(name):
    """The log holds unscaled gradients; the scale is a column of its own."""
    log = MADE[name]
    policy = {**log.info, "dtype_policy": "mixed_float16"}
    scale = {**log.columns, "loss_scale": np.full(len(log), 2.0**15)}
    assert said(replace(log, info=policy, columns=scale)) == said(log)


@pytest.mark.parametrize("name", ["healthy", "vanishing", "small but moving", "never"])
def test_twice_the_width(name):
    """Four times the parameters of the same spread: norms of weights, gradients and updates grow alike."""
    log = MADE[name]
    wide = {"gradient_norm", "weight_norm", "update_norm", "global_norm", "applied_global_norm"}
    columns = {key: values * 2 if key in wide else values for key, values in log.columns.items()}
    variables = tuple(
        replace(variable, shape=tuple(2 * axis for axis in variable.shape)) for variable in log.structure.variables
    )
    assert said(replace(log, columns=columns, structure=replace(log.structure, variables=variables))) == said(log)


def test_a_small_gradient_that_is_no_trouble_is_a_note_at_most():
    found = diagnose(MADE["small but moving"])
    assert found.is_healthy
    assert {finding.severity for finding in found.findings} <= {"info"}


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_real_trainings(activation, tmp_path):
    """The same network on the same data under Adam: the loss as it is, 1e-4 and 1e4 of it, and twice the width."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(512, 16)).astype("float32")
    y = (x @ generator.normal(size=(16, 3))).argmax(axis=1)

    def cause(factor=1.0, width=16):
        keras.utils.set_random_seed(1)
        hidden = [layers.Dense(width, activation=activation) for _ in range(10 if activation == "sigmoid" else 3)]
        model = keras.Sequential([keras.Input((16,)), *hidden, layers.Dense(3, activation="softmax")])
        optimizer = keras.optimizers.Adam(3e-3, epsilon=1e-30)

        def loss(truth, predicted):
            return factor * keras.losses.sparse_categorical_crossentropy(truth, predicted)

        model.compile(optimizer, loss)
        monitor = kgrad.GradientMonitor(
            tmp_path / f"{factor:g}-{width}", report=False, verbose=0, strict=True, curvature="never"
        )
        model.fit(x, y, batch_size=32, epochs=6, verbose=0, callbacks=[monitor])
        diagnosis = monitor.examination.diagnosis
        return [finding.rule for finding in diagnosis.findings if finding.severity != "info"][:1]

    expected = cause()
    assert bool(expected) is (activation == "sigmoid")
    assert cause(1e-4) == expected
    assert cause(1e4) == expected
    assert cause(width=32) == expected
