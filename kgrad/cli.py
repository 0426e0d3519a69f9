"""The command line: kgrad demo | report | export | diagnose | compare | rules | explain."""

import contextlib
import os
import sys
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kgrad import __version__, workflow
from kgrad.demo import STORY_NAMES
from kgrad.diagnosis.finding import SEVERITIES, at_least
from kgrad.diagnosis.rule import all_rules, find_rule
from kgrad.errors import KgradError

app = typer.Typer(
    help="The gradient doctor for Keras.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(highlight=False, soft_wrap=True)

Run = Annotated[str, typer.Argument(help="A run folder: a local path or any fsspec URL.", metavar="RUN")]
_COLOURS = {"high": "bold red", "medium": "red", "low": "yellow", "info": "dim"}


def main() -> None:
    """The program: a known error becomes one line on stderr and exit code 2."""
    try:
        app()
    except KgradError as error:
        print(f"kgrad: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"kgrad {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True)] = False,
) -> None:
    """The gradient doctor for Keras."""


@app.command()
def demo(
    story: Annotated[str, typer.Argument(help="vanishing, exploding, plateau, dead-relu or healthy.")] = "vanishing",
    open_report: Annotated[bool, typer.Option("--open/--no-open", help="Open the report in the browser.")] = True,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to write the report.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights and batches.")] = 0,
    prove: Annotated[
        bool, typer.Option("--prove/--no-prove", help="Try the first prescription in short trainings.")
    ] = True,
) -> None:
    """Train a small sick network on real handwritten digits, try the first cure and write the report."""
    if story not in STORY_NAMES:
        raise KgradError(f"there is no story {story!r}; the stories are: {', '.join(STORY_NAMES)}")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with _no_chatter():
            from kgrad.demo.run import run_story
            from kgrad.demo.stories import STORIES
    except ModuleNotFoundError as error:
        raise KgradError(
            f"the demo trains a network and needs {error.name}: pip install 'kgrad[tensorflow,demo]'"
        ) from error
    chosen = STORIES[story]
    console.print(f"[bold]{chosen.name}[/]: {chosen.about}, on 1,797 real handwritten digits")
    examination, report = run_story(chosen, report=output, seed=seed, trials=int(prove))
    _print_summary(examination)
    for trial in examination.trials:
        console.print(f"\n[bold]Tried[/]\n  {escape(str(trial['summary']))}")
    console.print(f"\nrun     {escape(examination.log.path)}\nreport  {escape(str(report))}")
    if open_report and _has_browser():
        webbrowser.open(report.resolve().as_uri())


@app.command()
def report(
    run: Run,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write; reports/<run>.html by default.")
    ] = None,
    format: Annotated[str, typer.Option(help="html, json or text.")] = "html",
) -> None:
    """Write the report of a run; json and text go to the terminal unless -o is given."""
    examination = workflow.examine(run)
    rendered = workflow.render(examination, format)
    if output is None and format != "html":
        sys.stdout.write(rendered if rendered.endswith("\n") else f"{rendered}\n")
        return
    place = output or Path("reports") / f"{examination.log.name}.html"
    workflow.write_text(place, rendered)
    console.print(escape(str(place)))


@app.command()
def export(
    run: Run,
    to: Annotated[str, typer.Option("--to", help="tensorboard, mlflow or wandb.")],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="TensorBoard: the log directory, logs by default. MLflow: the tracking URI. W&B: a folder.",
        ),
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help="Statistics per variable, as in gradient_norm,cosine; the telling ones if unset.")
    ] = None,
    every: Annotated[int, typer.Option(help="Hand over one recorded step in so many.")] = 1,
) -> None:
    """Hand a run over to TensorBoard, MLflow or W&B, with its diagnosis and report."""
    chosen = [name.strip() for name in columns.split(",")] if columns is not None else None
    console.print(escape(workflow.export(run, to, output, columns=chosen, every=every)))


@app.command()
def diagnose(
    run: Run,
    fail_on: Annotated[
        str | None,
        typer.Option("--fail-on", help="Exit with 1 for a finding this grave: low, medium or high."),
    ] = None,
) -> None:
    """Say what is wrong with a run; with --fail-on a gate for CI."""
    if fail_on is not None and fail_on not in SEVERITIES:
        raise KgradError(f"unknown severity {fail_on!r}; expected one of: {', '.join(SEVERITIES)}")
    examination = workflow.examine(run)
    _print_summary(examination)
    found = [finding.severity for finding in examination.diagnosis.findings]
    if fail_on is not None and any(at_least(severity, fail_on) for severity in found):
        raise typer.Exit(1)


@app.command()
def compare(
    runs: Annotated[
        list[str], typer.Argument(help="Run folders, folders of them, globs, fsspec URLs.", metavar="RUN...")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write; reports/comparison.html by default.")
    ] = None,
    by: Annotated[str, typer.Option(help="Settings that make a group, with commas; all that differ by default.")] = "",
    measure: Annotated[str | None, typer.Option(help="The metric to compare; val_loss or loss by default.")] = None,
    format: Annotated[str | None, typer.Option(help="html, json or csv; by the ending of -o, html otherwise.")] = None,
) -> None:
    """Compare runs: which are sick, what separates them, which differences are more than luck."""
    from kgrad.comparison import compare as compare_runs

    chosen = format or (output.suffix.lstrip(".").lower() if output and output.suffix else "html")
    if chosen not in workflow.COMPARISON_FORMATS:
        raise KgradError(f"unknown format {chosen!r}; expected one of: {', '.join(workflow.COMPARISON_FORMATS)}")
    comparison = compare_runs(runs, by=[name.strip() for name in by.split(",") if name.strip()], measure=measure)
    rendered = workflow.render_comparison(comparison, chosen)
    if output is None and chosen != "html":
        sys.stdout.write(rendered if rendered.endswith("\n") else f"{rendered}\n")
        return
    place = output or Path("reports") / "comparison.html"
    workflow.write_text(place, rendered)
    for sentence in comparison.verdict:
        console.print(escape(sentence))
    console.print(escape(str(place)))


@app.command()
def rules() -> None:
    """List the rules."""
    table = Table("rule", "what it means", box=None, pad_edge=False)
    for each in all_rules():
        table.add_row(each.id, each.meaning)
    console.print(table)


@app.command()
def explain(rule: Annotated[str, typer.Argument(help="A rule's id, as `kgrad rules` lists them.")]) -> None:
    """Explain a rule: what it means, how it is measured, its blind spot, its limits."""
    chosen = find_rule(rule)
    console.print(f"[bold]{chosen.title}[/]\n")
    console.print(escape(chosen.explanation))
    for limit in chosen.limits:
        console.print(
            f"\n[bold]{escape(limit.name)}[/] = {limit.value:g} {escape(limit.unit)}\n  {escape(limit.source)}"
        )


def _print_summary(examination: workflow.Examination) -> None:
    """Verdict, findings and first prescriptions, coloured where the terminal can."""
    diagnosis = examination.diagnosis
    colour = _COLOURS.get(diagnosis.severity or "", "bold green")
    console.print(f"\n[{colour}]{escape(diagnosis.verdict)}[/]")
    for finding in diagnosis.findings:
        cause = f" (caused by {finding.caused_by})" if finding.caused_by else ""
        console.print(f"  [{_COLOURS[finding.severity]}]{finding.severity:6}[/] {finding.rule}{cause}")
        console.print(f"         {escape(finding.summary)}")
    if examination.prescriptions:
        console.print("\n[bold]Try first[/]")
        first = examination.prescriptions[0]
        console.print(f"  {escape(first.why)}\n")
        console.print("\n".join(f"    {escape(line)}" for line in first.code.splitlines()))


@contextlib.contextmanager
def _no_chatter() -> Iterator[None]:
    """Keeps what TensorFlow's C++ part writes to stderr while it loads off the terminal."""
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _has_browser() -> bool:
    """Whether there is a screen to open a browser on."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True
