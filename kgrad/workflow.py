"""Load, diagnose, prescribe, render: the one way through the house, for the CLI, the callback and people."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kgrad.diagnosis import Diagnosis, diagnose
from kgrad.errors import KgradError
from kgrad.log.reader import read_run
from kgrad.log.run_log import RunLog
from kgrad.prescription import Prescription, prescribe

if TYPE_CHECKING:
    from kgrad.comparison import Comparison

__all__ = [
    "COMPARISON_FORMATS",
    "FORMATS",
    "Examination",
    "examine",
    "read_run",
    "render",
    "render_comparison",
    "write_report",
    "write_text",
]

FORMATS = ("html", "json", "text")
COMPARISON_FORMATS = ("html", "json", "csv")


@dataclass(frozen=True)
class Examination:
    """A run with all that kgrad has to say of it.

    Attributes:
        log: the run.
        diagnosis: what is wrong.
        prescriptions: what to change, the best first.
    """

    log: RunLog
    diagnosis: Diagnosis
    prescriptions: tuple[Prescription, ...]

    def to_dict(self) -> dict[str, Any]:
        """Diagnosis and prescriptions as plain JSON types: what `diagnosis.json` holds."""
        return {
            "diagnosis": self.diagnosis.to_dict(),
            "prescriptions": [prescription.to_dict() for prescription in self.prescriptions],
        }


def examine(run: RunLog | str | os.PathLike[str]) -> Examination:
    """Diagnoses a run and prescribes for it.

    Args:
        run: a run, or the folder that holds one.

    Raises:
        RunFolderError: the folder cannot be read.
    """
    log = run if isinstance(run, RunLog) else read_run(run)
    diagnosis = diagnose(log)
    return Examination(log, diagnosis, prescribe(log, diagnosis))


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

        return render_html(*parts)
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
