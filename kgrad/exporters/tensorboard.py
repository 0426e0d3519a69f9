"""TensorBoard: event files, written by tensorboardX, which needs neither TensorFlow nor TensorBoard."""

import logging
from pathlib import Path

import numpy as np
from tensorboardX import SummaryWriter

from kgrad.exporters.record import Histogram, Record, clean_names

# Ends the name of every event file of ours, so that a second export replaces the first.
_SUFFIX = ".kgrad"
# It warns of each NaN on its own; a NaN here is a fact of the run, which TensorBoard marks.
_chatter = logging.getLogger("tensorboardX.x2num")
_ILLEGAL = r"[^-/\w.]"


def write(record: Record, place: str | None = None) -> str:
    """Writes scalars, histograms, the diagnosis and the settings.

    The time of an event is the run's time shared out evenly over its steps.

    Args:
        record: the run.
        place: the log directory, `logs` by default; the run gets a folder of its own in it. Event files that an
            earlier export left in that folder are replaced, those of others stay.
    """
    directory = (place or "logs").rstrip("/") or "/"
    folder = f"{directory}/{clean_names([record.name], _ILLEGAL)[record.name]}"
    for earlier in Path(folder).glob(f"events.out.tfevents.*{_SUFFIX}"):
        earlier.unlink()
    writer = SummaryWriter(folder, max_queue=1000, filename_suffix=_SUFFIX)
    was, _chatter.disabled = _chatter.disabled, True
    try:
        _write_series(writer, record)
        _write_histograms(writer, record)
        _write_texts(writer, record)
    finally:
        _chatter.disabled = was
        writer.close()
    return f"{folder} (tensorboard --logdir {directory})"


def _write_series(writer: SummaryWriter, record: Record) -> None:
    tags = clean_names((series.tag for series in record.series), _ILLEGAL)
    for series in record.series:
        moments = record.moments(series.steps)
        times = [None] * len(series.steps) if moments is None else moments.tolist()
        for step, value, time in zip(series.steps.tolist(), series.values.tolist(), times, strict=True):
            writer.add_scalar(tags[series.tag], value, step, walltime=time)


def _write_histograms(writer: SummaryWriter, record: Record) -> None:
    tags = clean_names((histogram.tag for histogram in record.histograms), _ILLEGAL)
    for histogram in record.histograms:
        moments = record.moments(np.array([histogram.step]))
        writer.add_histogram_raw(
            tags[histogram.tag],
            **_moments_of(histogram),
            bucket_limits=histogram.edges[1:].tolist(),
            bucket_counts=histogram.counts.tolist(),
            global_step=histogram.step,
            walltime=None if moments is None else float(moments[0]),
        )


def _moments_of(histogram: Histogram) -> dict[str, float]:
    """What TensorBoard keeps of a histogram beside its bins, every element taken for the middle of its bin."""
    middles = (histogram.edges[1:] + histogram.edges[:-1]) / 2
    return {
        "min": float(histogram.edges[0]),
        "max": float(histogram.edges[-1]),
        "num": int(histogram.counts.sum()),
        "sum": float((histogram.counts * middles).sum()),
        "sum_squares": float((histogram.counts * middles**2).sum()),
    }


def _write_texts(writer: SummaryWriter, record: Record) -> None:
    begin = None if record.span is None else record.span[0]
    as_code = "\n".join(f"    {line}" for line in record.text.splitlines())  # Markdown's way to say: as it stands
    writer.add_text("diagnosis", as_code, 0, walltime=begin)
    rows = "\n".join(f"| {_plain(key)} | {_plain(str(value))} |" for key, value in record.settings.items())
    writer.add_text("settings", f"| setting | value |\n|---|---|\n{rows}", 0, walltime=begin)


def _plain(text: str) -> str:
    """The text with what Markdown would take for markup made harmless."""
    for sign in "\\`*_|[]<>#":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("\n", " ")
