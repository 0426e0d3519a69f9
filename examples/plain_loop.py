"""A batch of experiments in a plain loop: activation x initializer x seed on real handwritten digits.

uv run python examples/plain_loop.py
"""

import argparse
import itertools

import keras
from sklearn.datasets import load_digits

import kgrad


def build(activation: str, initializer: str) -> keras.Model:
    hidden = [keras.layers.Dense(32, activation=activation, kernel_initializer=initializer) for _ in range(6)]
    model = keras.Sequential([keras.Input((64,)), *hidden, keras.layers.Dense(10, activation="softmax")])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def main(runs: str, trials: int) -> None:
    x, y = load_digits(return_X_y=True)
    settings = itertools.product(range(3), ("sigmoid", "relu"), ("glorot_uniform", "he_normal"))
    for seed, activation, initializer in itertools.islice(settings, trials):
        keras.utils.set_random_seed(seed)
        monitor = kgrad.GradientMonitor(
            f"{runs}/{activation}-{initializer}-{seed}", report=False, tags={"seed": seed}, verbose=0
        )
        model = build(activation, initializer)
        model.fit(x / 16, y, batch_size=64, epochs=5, validation_split=0.2, verbose=0, callbacks=[monitor])
        if monitor.examination is not None:
            print(f"{activation}, {initializer}, seed {seed}: {monitor.examination.diagnosis.verdict}")
    print(f"\nkgrad compare {runs}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", default="runs/plain_loop", help="the folder that gets the run folders")
    parser.add_argument("--trials", type=int, default=12, help="how many of the twelve settings to train")
    options = parser.parse_args()
    main(options.runs, options.trials)
