"""Ways of distributing that cannot be recorded are refused with what to do instead, and the training goes on."""

import keras
import pytest
from keras import layers

import kgrad
from kgrad.capture import replicas
from kgrad.errors import CaptureError


class TPUStrategyV2:
    """Stands for the strategy of that name, which needs the hardware to be made."""

    num_replicas_in_sync = 8
    cluster_resolver = None


class ParameterServerStrategyV2(TPUStrategyV2):
    """Stands for the strategy of that name, which needs a cluster to be made."""

    num_replicas_in_sync = 1


class MirroredStrategy(TPUStrategyV2):
    """Stands for several devices of one machine."""

    num_replicas_in_sync = 2


@pytest.mark.parametrize("kind", [TPUStrategyV2, ParameterServerStrategyV2])
def test_tpu_and_parameter_servers_are_refused_by_name(kind):
    with pytest.raises(CaptureError, match=rf"under {kind.__name__}; train under MirroredStrategy or on one device"):
        replicas.refuse_unsupported(kind(), keras.optimizers.SGD())


@pytest.mark.parametrize(
    ("optimizer", "advice"),
    [
        (lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD()), "use mixed_bfloat16"),
        (lambda: keras.optimizers.SGD(gradient_accumulation_steps=2), "use larger batches"),
    ],
)
def test_what_aggregates_inside_a_branch_is_refused_on_several_replicas_only(optimizer, advice):
    with pytest.raises(CaptureError, match=advice):
        replicas.refuse_unsupported(MirroredStrategy(), optimizer())
    alone = MirroredStrategy()
    alone.num_replicas_in_sync = 1
    replicas.refuse_unsupported(alone, optimizer())


def test_a_refusal_is_logged_and_the_training_goes_on(vectors, tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise CaptureError("gradients cannot be recorded under TPUStrategyV2")

    monkeypatch.setattr(replicas, "refuse_unsupported", refuse)
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((12,)), layers.Dense(3)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    watch = kgrad.GradientMonitor(tmp_path / "run", report=False, verbose=0)
    history = model.fit(*vectors, verbose=0, epochs=2, callbacks=[watch])
    assert len(history.history["loss"]) == 2
    assert sum("under TPUStrategyV2" in record.message for record in caplog.records) == 1
    assert not (tmp_path / "run").exists()
    strict = kgrad.GradientMonitor(tmp_path / "run", report=False, verbose=0, strict=True)
    with pytest.raises(CaptureError, match="TPUStrategyV2"):
        model.fit(*vectors, verbose=0, callbacks=[strict])
