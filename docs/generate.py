"""A hook of MkDocs: the pages on rules and knobs, made from the code, and the gallery of reports.

What it writes is never committed, so it cannot grow old.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from kgrad import prescription
from kgrad.diagnosis.rule import Limit, Rule, all_rules
from kgrad.prescription.prescribe import KNOBS

Knob = Callable[..., Any]

REPORTS = Path(__file__).parent.parent / "reports"


def on_files(files: Any, config: Any) -> Any:
    """Adds the generated pages to those of `docs/`."""
    from mkdocs.structure.files import File

    for name, content in {"rules.md": rules_page(), "knobs.md": knobs_page()}.items():
        files.append(File.generated(config, name, content=content))
    for report in sorted(REPORTS.glob("*.html")):
        files.append(File.generated(config, f"gallery/{report.name}", abs_src_path=str(report)))
    return files


def rules_page() -> str:
    """Every rule: what it means, how it is measured, its blind spot, its limits with their sources."""
    head = (
        "# Rules\n\nEach rule looks at one run and answers *found*, *clear*, *not applicable* (the run lacks what "
        "the rule needs) or *error*. `kgrad rules` lists them; `kgrad explain vanishing-gradient` prints what "
        "stands here. A limit is never taken from the air: beside each stands where it comes from.\n"
    )
    return head + "".join(_rule(each) for each in all_rules())


def _rule(rule: Rule) -> str:
    causes = [_cause(*cause.split(":")) for cause in rule.symptom_of]
    knobs = [f"[{_title(knob)}](knobs.md#{knob.__name__})" for knob in answers(rule.id)]
    reads = f"Reads {_code(rule.columns)}"
    if rule.optional:
        reads += f", and where the run has them {_code(rule.optional)}"
    lines = [f"\n## {rule.title} {{ #{rule.id} }}\n", rule.explanation, f"\n{reads}."]
    if causes:
        lines.append(f"\nA symptom where one of these is found: {', '.join(causes)}.")
    lines.append(f"\nAnswered by: {', '.join(knobs)}." if knobs else "\nNo knob answers it.")
    if rule.limits:
        lines += ["\n| limit | value | where it comes from |", "|---|---|---|", *map(_limit, rule.limits)]
    return "\n".join(lines) + "\n"


def _cause(rule: str, kind: str = "") -> str:
    return f"[{rule}](#{rule})" + (f" ({kind})" if kind else "")


def _limit(limit: Limit) -> str:
    unit = "" if limit.unit in ("1", "share") else f" {limit.unit}"
    return f"| {_cell(limit.name)} | {limit.value:g}{_cell(unit)} | {_cell(limit.source)} |"


def knobs_page() -> str:
    """Every knob: what it turns, how its value is found, which rules it answers."""
    head = (
        "# Knobs\n\nA prescription turns one knob, and its value comes from the numbers of the run. Every one carries "
        "its evidence and the code to paste; `kgrad.treatment.apply` makes the same change to a model, and "
        "`kgrad.treatment.trial` shows by training whether it helps.\n"
    )
    modules = pkgutil.walk_packages(prescription.__path__, f"{prescription.__name__}.")
    return head + "".join(_knob_file(importlib.import_module(module.name)) for module in modules)


def _knob_file(module: Any) -> str:
    knobs = [value for name, value in vars(module).items() if name.startswith("prescribe_") and _is_of(value, module)]
    if not knobs:
        return ""
    lines = [f"\n## {inspect.cleandoc(module.__doc__).splitlines()[0].removesuffix('.')}\n"]
    for knob in knobs:
        rules = dict.fromkeys(name.split(":")[0] for name in KNOBS if knob in answers(name))
        lines.append(f"### {_title(knob)} {{ #{knob.__name__} }}\n")
        lines.append(inspect.cleandoc(knob.__doc__ or "").split("\n\nArgs:")[0])
        answered = ", ".join(f"[{rule}](rules.md#{rule})" for rule in rules)
        lines.append(f"\nAnswers: {answered or 'no rule by itself; it goes with the first answer'}.\n")
    return "\n".join(lines)


def _is_of(value: Any, module: Any) -> bool:
    return inspect.isfunction(value) and value.__module__ == module.__name__


def answers(rule: str) -> list[Knob]:
    """The functions behind the knobs of a rule, or of a kind of its findings (plain ones are registered wrapped)."""
    return [inspect.getclosurevars(knob).nonlocals.get("knob", knob) for knob in KNOBS.get(rule, ())]


def _title(knob: Knob) -> str:
    return knob.__name__.removeprefix("prescribe_").replace("_", " ").capitalize()


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
