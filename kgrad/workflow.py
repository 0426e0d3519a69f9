"""Load, diagnose, prescribe, render: the one way through the house, for the CLI, the callback and people."""

import html
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kgrad.diagnosis import Diagnosis, diagnose
from kgrad.errors import KgradError
from kgrad.log.proofs import read_proofs
from kgrad.log.reader import read_run
from kgrad.log.run_log import RunLog
from kgrad.log.store import Store
from kgrad.log.strict_json import strict
from kgrad.prescription import Prescription, prescribe

if TYPE_CHECKING:
    from kgrad.comparison import Comparison

__all__ = [
    "COMPARISON_FORMATS",
    "FORMATS",
    "Examination",
    "examine",
    "export",
    "export_when_done",
    "read_run",
    "render",
    "render_comparison",
    "targets_of",
    "write_comparison",
    "write_report",
    "write_text",
]

FORMATS = ("html", "json", "text")
COMPARISON_FORMATS = ("html", "json", "csv")

_logger = logging.getLogger("kgrad")


@dataclass(frozen=True)
class Examination:
    """A run with all that kgrad has to say of it.

    Attributes:
        log: the run.
        diagnosis: what is wrong.
        prescriptions: what to change, the best first.
        dry_runs: what they do to the gradients before any training, as plain types: `kgrad.treatment.prove` fills it.
        trials: what short trainings showed of them, as plain types.
    """

    log: RunLog
    diagnosis: Diagnosis
    prescriptions: tuple[Prescription, ...]
    dry_runs: tuple[Mapping[str, Any], ...] = ()
    trials: tuple[Mapping[str, Any], ...] = ()

    def _repr_html_(self) -> str:
        """The report in a frame of its own: what a notebook shows."""
        return (
            f'<iframe srcdoc="{html.escape(render(self))}" title="kgrad: {html.escape(self.log.name)}" '
            'style="width: 100%; height: 760px; border: 0"></iframe>'
        )

    def to_dict(self) -> dict[str, Any]:
        """Diagnosis and prescriptions as plain JSON types: what `diagnosis.json` holds; and what was tried, if any."""
        tried = {"dry_runs": list(self.dry_runs), "trials": list(self.trials)}
        return {
            "diagnosis": self.diagnosis.to_dict(),
            "prescriptions": [prescription.to_dict() for prescription in self.prescriptions],
            **{name: strict(each) for name, each in tried.items() if each},
        }


def examine(run: RunLog | str | os.PathLike[str] | Store) -> Examination:
    """Diagnoses a run and prescribes for it; what was tried of the prescriptions is taken from its folder.

    Args:
        run: a run, the folder that holds one, or the store it is written to.

    Raises:
        RunFolderError: the folder cannot be read.
    """
    log = run if isinstance(run, RunLog) else read_run(run)
    diagnosis = diagnose(log)
    dry_runs, trials = read_proofs(log.path) if log.path else ((), ())
    return Examination(log, diagnosis, prescribe(log, diagnosis), dry_runs, trials)


def render(examination: Examination, format: str = "html") -> str:
    """The report as a string.

    Args:
        examination: what `examine` gave.
        format: one of `FORMATS`.

    Raises:
        KgradError: the format is unknown.
    """
    parts = (examination.log, examination.diagnosis, examination.prescriptions)
    if format == "html":
        from kgrad.reporters.html import render_html

        return render_html(*parts, examination.trials, examination.dry_runs)
    if format == "json":
        from kgrad.reporters.json import render_json

        return render_json(*parts)
    if format == "text":
        from kgrad.reporters.text import render_text

        return render_text(*parts)
    raise KgradError(f"unknown format {format!r}; expected one of: {', '.join(FORMATS)}")


def render_comparison(comparison: "Comparison", format: str = "html") -> str:
    """A comparison of runs as a string.

    Args:
        comparison: what `kgrad.compare` gave.
        format: one of `COMPARISON_FORMATS`; csv has one row per run.

    Raises:
        KgradError: the format is unknown.
    """
    if format == "html":
        from kgrad.reporters.comparison_page import render_comparison_html

        return render_comparison_html(comparison)
    if format == "json":
        return json.dumps(comparison.to_dict(), indent=1, ensure_ascii=False, allow_nan=False, default=str)
    if format == "csv":
        return str(comparison.to_pandas().to_csv(index=False))
    raise KgradError(f"unknown format {format!r}; expected one of: {', '.join(COMPARISON_FORMATS)}")


def write_comparison(comparison: "Comparison", place: str | os.PathLike[str]) -> Path:
    """Writes a comparison, as the file's ending says (`.json`, `.csv`, otherwise HTML), and returns where.

    Raises:
        KgradError: the file cannot be written.
    """
    ending = Path(place).suffix.lstrip(".").lower()
    return write_text(place, render_comparison(comparison, ending if ending in COMPARISON_FORMATS else "html"))


def write_report(examination: Examination, place: str | os.PathLike[str]) -> Path:
    """Writes the HTML report and returns where.

    Raises:
        KgradError: the file cannot be written.
    """
    return write_text(place, render(examination))


def write_text(place: str | os.PathLike[str], text: str) -> Path:
    """Writes a file, with the folders above it, and returns where.

    Raises:
        KgradError: the file cannot be written.
    """
    path = Path(place)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise KgradError(f"cannot write {str(path)!r}: {error.strerror or error}") from error
    return path


def export(
    run: Examination | RunLog | str | os.PathLike[str],
    to: str,
    place: str | os.PathLike[str] | None = None,
    *,
    columns: Sequence[str] | None = None,
    every: int = 1,
) -> str:
    """Hands a run over to TensorBoard, MLflow or W&B, with its diagnosis and its report.

    Args:
        run: a run, the folder that holds one, or what `examine` gave.
        to: `"tensorboard"`, `"mlflow"` or `"wandb"`.
        place: TensorBoard: the log directory, `logs` by default. MLflow: the tracking URI. W&B: the folder that
            gets its `wandb` folder. For the last two, an active run is used where no place is given.
        columns: statistics per variable to hand over, `["gradient_norm"]`; the most telling ones by default.
        every: hand over one recorded step in so many.

    Returns:
        Where it is now, and how to look at it.

    Raises:
        KgradError: the target is unknown, `every` is less than 1, or the target's client could not write.
        MissingDependencyError: the target's client is not installed; the message names the extra.
        MissingColumnError: the run has no such statistic.
    """
    from kgrad.exporters.gather import gather
    from kgrad.exporters.targets import require, write

    require(to)
    if every < 1:
        raise KgradError(f"every={every!r}: hand over one step in how many? expected a whole number from 1 on")
    seen = run if isinstance(run, Examination) else examine(run)
    record = gather(seen.log, seen.diagnosis, render(seen, "text"), render(seen), columns, every)
    return write(record, to, os.fspath(place) if place is not None else None)


def targets_of(**wanted: bool | str | os.PathLike[str]) -> dict[str, str | None]:
    """Where a run is to be exported when it is done, checked now, while a mistake still costs nothing.

    Args:
        wanted: by target: `False` for not at all, `True` for its usual place, or the place.

    Raises:
        KgradError: there is no such target.
        MissingDependencyError: its client is not installed; the message names the extra.

    >>> targets_of(tensorboard=False)
    {}
    """
    from kgrad.exporters.targets import require

    chosen = {name: place for name, place in wanted.items() if place is not False}
    for name in chosen:
        require(name)
    return {name: None if place is True else os.fspath(place) for name, place in chosen.items()}


def export_when_done(run: Examination, targets: Mapping[str, str | None]) -> list[str]:
    """Exports a run to each of its targets and returns where it is now.

    A target that cannot take the run is a warning in the log `kgrad`, with the command that tries again: the training
    is done and its run folder whole.

    Args:
        run: what `examine` gave.
        targets: what `targets_of` gave.
    """
    done = []
    for name, place in targets.items():
        try:
            done.append(export(run, name, place))
        except KgradError as error:
            again = f"kgrad export {run.log.path or run.log.name} --to {name}" + (f" -o {place}" if place else "")
            _logger.warning("%s; try again: %s", error, again)
    return done
