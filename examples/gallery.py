"""Trains every story, tries its prescriptions and writes its report to reports/, with an index to open after a clone.

uv run python examples/gallery.py
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader

import kgrad
from kgrad.demo.digits import load
from kgrad.demo.run import run_story
from kgrad.demo.stories import STORIES, Story
from kgrad.treatment.prove import prove

REPORTS = Path("reports")
# Short, since what a prescription of these small networks does shows early.
TRIAL = {"most": 3, "steps": 300, "seeds": 3}
TREATED, TREATED_EPOCHS = "vanishing", 10


@dataclass(frozen=True)
class Entry:
    """One card of the index."""

    page: str
    about: str
    head: str
    rest: str
    tone: str
    proof: str = ""


def main() -> None:
    entries = [told(story) for story in STORIES.values()]
    entries.append(treated(STORIES[TREATED]))
    study = (REPORTS / "initializer_study.html").exists()
    write_index(entries, study)


def told(story: Story) -> Entry:
    """Trains a story, tries what was prescribed and writes the report."""
    page = f"{story.name.replace('-', '_')}.html"
    shutil.rmtree(Path("runs") / Path(page).stem, ignore_errors=True)
    examination, _ = run_story(story, report=REPORTS / page)
    proof = ""
    if examination.prescriptions:
        examination = prove(examination, story.compiled(), *load(), **TRIAL)
        kgrad.write_report(examination, REPORTS / page)
        proven = [trial for trial in examination.trials if trial["verdict"] == "proven"]
        proof = f"{len(proven)} of {len(examination.trials)} prescriptions tried are proven" if proven else ""
    diagnosis = examination.diagnosis
    head, _, rest = diagnosis.verdict.partition(": ")
    return Entry(page, story.about, head, rest, diagnosis.severity or "healthy", proof)


def treated(story: Story) -> Entry:
    """Heals a story's network and writes how that went."""
    _, treatment = kgrad.treat(story.compiled(), *load(), epochs=TREATED_EPOCHS, batch_size=32)
    treatment.write_report(REPORTS / "treatment.html")
    head, _, rest = treatment.summary.partition(": ")
    about = f"{story.about}, given to kgrad.treat"
    return Entry("treatment.html", about, f"Treated: {head}", rest, "healthy" if head == "healthy" else "low")


def write_index(entries: list[Entry], study: bool) -> None:
    """The index: what each report says first."""
    templates = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, loader=FileSystemLoader("examples"))
    page = templates.get_template("gallery.html.j2").render(entries=entries, study=study)
    (REPORTS / "index.html").write_text(f"{page}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
