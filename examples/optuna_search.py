"""A search with Optuna on real handwritten digits: every trial leaves a run folder and its diagnosis.

uv run --group examples python examples/optuna_search.py
"""

import argparse

import keras
import optuna
from sklearn.datasets import load_digits

import kgrad


def objective(trial: optuna.Trial, runs: str) -> float:
    activation = trial.suggest_categorical("activation", ["sigmoid", "tanh", "relu"])
    initializer = trial.suggest_categorical("initializer", ["random_normal", "glorot_uniform", "he_normal"])
    depth = trial.suggest_int("depth", 2, 8)
    hidden = [keras.layers.Dense(32, activation=activation, kernel_initializer=initializer) for _ in range(depth)]
    model = keras.Sequential([keras.Input((64,)), *hidden, keras.layers.Dense(10, activation="softmax")])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy")

    x, y = load_digits(return_X_y=True)
    monitor = kgrad.GradientMonitor(f"{runs}/trial-{trial.number}", report=False, tags=trial.params, verbose=0)
    history = model.fit(x / 16, y, batch_size=64, epochs=5, validation_split=0.2, verbose=0, callbacks=[monitor])
    if monitor.examination is not None:
        trial.set_user_attr("diagnosis", monitor.examination.diagnosis.verdict)
    return min(history.history["val_loss"])


def main(runs: str, trials: int) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(lambda trial: objective(trial, runs), n_trials=trials, show_progress_bar=True)
    for trial in study.trials:
        print(f"{trial.params}: {trial.user_attrs.get('diagnosis')}")
    print(f"\nkgrad compare {runs}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", default="runs/optuna", help="the folder that gets the run folders")
    parser.add_argument("--trials", type=int, default=12)
    options = parser.parse_args()
    main(options.runs, options.trials)
