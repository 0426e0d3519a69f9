"""Trains a story under watch and shows what came of it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from kgrad import workflow
from kgrad.capture.monitor import GradientMonitor
from kgrad.demo.digits import load
from kgrad.demo.stories import Story
from kgrad.treatment import prove

# Three epochs of the digits: enough for a cure to show, and some seconds.
_TRIAL_STEPS = 170


class _Bar(keras.callbacks.Callback):
    """A progress bar over epochs, with the loss."""

    def __init__(self, progress: Progress, story: Story) -> None:
        super().__init__()
        self._progress = progress
        self._task = progress.add_task(f"training '{story.name}'", total=story.epochs, loss="")

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Moves the bar."""
        loss = f"loss {float((logs or {}).get('loss', float('nan'))):.3f}"
        self._progress.update(self._task, completed=epoch + 1, loss=loss)


def run_story(
    story: Story,
    folder: str | os.PathLike[str] = "runs",
    report: str | os.PathLike[str] | None = None,
    seed: int = 0,
    trials: int = 0,
) -> tuple[workflow.Examination, Path]:
    """Trains the story's network on the digits, with the one callback, and tries what is prescribed.

    Args:
        story: what to train.
        folder: where run folders go.
        report: where the report goes; `reports/<run>.html` by default.
        seed: seed of weights and batches.
        trials: of so many prescriptions short trainings show what they do; 0 tries nothing.

    Returns:
        The examination and the path of the report.
    """
    x, y = load()
    model = story.compiled(seed)
    # On a schedule, so that a slow machine tells the same story: on a stall it depends on what time allows.
    place = Path(folder) / story.name.replace("-", "_")
    monitor = GradientMonitor(place, report=False, verbose=0, strict=True, curvature=50)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as progress:
        bar = _Bar(progress, story)
        model.fit(x, y, batch_size=32, epochs=story.epochs, verbose=0, callbacks=[monitor, bar])
    examination = monitor.examination
    assert examination is not None
    if trials and examination.prescriptions:
        examination = prove(examination, story.compiled(seed), x, y, most=trials, steps=_TRIAL_STEPS)
    place = Path(report) if report else Path("reports") / f"{examination.log.name}.html"
    return examination, workflow.write_report(examination, place)
