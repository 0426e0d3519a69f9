"""A search with Ray Tune on real handwritten digits: the one monitor is pickled to every worker.

uv run --group examples python examples/ray_tune_search.py
"""

import argparse
import os
import tempfile

import ray
from ray import tune

import kgrad


def train(config: dict, monitor: kgrad.GradientMonitor) -> None:
    import keras
    from sklearn.datasets import load_digits

    hidden = [
        keras.layers.Dense(32, activation=config["activation"], kernel_initializer=config["initializer"])
        for _ in range(config["depth"])
    ]
    model = keras.Sequential([keras.Input((64,)), *hidden, keras.layers.Dense(10, activation="softmax")])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy")
    x, y = load_digits(return_X_y=True)
    history = model.fit(x / 16, y, batch_size=64, epochs=5, validation_split=0.2, verbose=0, callbacks=[monitor])
    verdict = monitor.examination.diagnosis.verdict if monitor.examination else "not seen"
    tune.report({"val_loss": min(history.history["val_loss"]), "diagnosis": verdict})


def main(runs: str, trials: int) -> None:
    # Workers have a working folder of their own, so the place is given in full.
    monitor = kgrad.GradientMonitor(f"{os.path.abspath(runs)}/trial", report=False, verbose=0)
    space = {
        "activation": tune.choice(["sigmoid", "tanh", "relu"]),
        "initializer": tune.choice(["random_normal", "glorot_uniform", "he_normal"]),
        "depth": tune.randint(2, 9),
    }
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    with tempfile.TemporaryDirectory() as kept:
        results = tune.Tuner(
            tune.with_parameters(train, monitor=monitor),
            param_space=space,
            tune_config=tune.TuneConfig(num_samples=trials),
            run_config=tune.RunConfig(storage_path=kept, verbose=1),
        ).fit()
    ray.shutdown()
    for result in results:
        print(f"{result.config}: {result.metrics.get('diagnosis') if result.metrics else result.error}")
    print(f"\nkgrad compare {runs}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", default="runs/ray_tune", help="the folder that gets the run folders")
    parser.add_argument("--trials", type=int, default=6)
    options = parser.parse_args()
    main(options.runs, options.trials)
