"""A search with KerasTuner on real handwritten digits: it copies the one monitor for every training.

uv run --group examples python examples/kerastuner_search.py
"""

import argparse
import tempfile

import keras
import keras_tuner
from sklearn.datasets import load_digits

import kgrad


def build(hp: keras_tuner.HyperParameters) -> keras.Model:
    activation = hp.Choice("activation", ["sigmoid", "tanh", "relu"])
    initializer = hp.Choice("initializer", ["random_normal", "glorot_uniform", "he_normal"])
    hidden = [
        keras.layers.Dense(32, activation=activation, kernel_initializer=initializer)
        for _ in range(hp.Int("depth", 2, 8))
    ]
    model = keras.Sequential([keras.Input((64,)), *hidden, keras.layers.Dense(10, activation="softmax")])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy")
    return model


def main(runs: str, trials: int) -> None:
    x, y = load_digits(return_X_y=True)
    # What kgrad saw stays in the run folders; what KerasTuner keeps of its search may go.
    with tempfile.TemporaryDirectory() as kept:
        tuner = keras_tuner.RandomSearch(
            build, "val_loss", max_trials=trials, executions_per_trial=2, seed=0, directory=kept
        )
        # Every training gets a copy, and each copy a folder: trial, trial-2, trial-3, ...
        monitor = kgrad.GradientMonitor(f"{runs}/trial", report=False)
        tuner.search(x / 16, y, batch_size=64, epochs=5, validation_split=0.2, verbose=0, callbacks=[monitor])
    print(f"\nkgrad compare {runs}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", default="runs/kerastuner", help="the folder that gets the run folders")
    parser.add_argument("--trials", type=int, default=6, help="settings to try, each trained twice")
    options = parser.parse_args()
    main(options.runs, options.trials)
