"""Runs every rule over a log and puts what they say into one `Diagnosis`."""

import html
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from kgrad.diagnosis.calibration import COUNTS, calibrated
from kgrad.diagnosis.finding import SEVERITIES, Finding
from kgrad.diagnosis.phases import Phase, layer_phases, model_phases
from kgrad.diagnosis.rule import NotApplicable, Rule, all_rules
from kgrad.log.run_log import RunLog, expect_run


@dataclass(frozen=True)
class Outcome:
    """What one rule said of one run.

    Attributes:
        rule: the rule's id.
        status: `"found"`, `"clear"`, `"not applicable"` or `"error"`.
        reason: why, where it is not applicable or an error.
        finding: the disease, where it was found.
    """

    rule: str
    status: str
    reason: str = ""
    finding: Finding | None = None


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with a run, and what was looked at.

    Attributes:
        run: the run's name.
        verdict: one sentence.
        outcomes: one for every rule, by id.
        phases: spans of steps of the whole model, in order.
        layer_phases: the same per layer, by the layer's name.
    """

    run: str
    verdict: str
    outcomes: tuple[Outcome, ...]
    phases: tuple[Phase, ...]
    layer_phases: Mapping[str, tuple[Phase, ...]]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The diseases: causes before symptoms, the gravest first; notes (`"info"`) last."""
        found = [outcome.finding for outcome in self.outcomes if outcome.finding]
        return tuple(sorted(found, key=_rank))

    @property
    def severity(self) -> str | None:
        """The gravest severity found, `None` for a healthy run."""
        found = [finding.severity for finding in self.findings if finding.severity != "info"]
        return max(found, key=SEVERITIES.index) if found else None

    @property
    def is_healthy(self) -> bool:
        """Whether no disease was found (notes do not count)."""
        return self.severity is None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Diagnosis":
        """The diagnosis as `to_dict` wrote it."""
        outcomes = tuple(
            Outcome(**{**item, "finding": Finding.from_dict(item["finding"]) if item["finding"] else None})
            for item in data["outcomes"]
        )
        phases = tuple(Phase(**item) for item in data["phases"])
        layers = {name: tuple(Phase(**p) for p in items) for name, items in data["layer_phases"].items()}
        return cls(data["run"], data["verdict"], outcomes, phases, layers)

    def to_dict(self) -> dict[str, Any]:
        """The diagnosis as plain JSON types."""
        return asdict(self)

    def _repr_html_(self) -> str:
        """What a notebook shows: the verdict and the findings."""
        rows = "".join(
            f"<tr><th>{html.escape(each.rule)}</th><td>{each.severity}</td><td>{html.escape(each.summary)}</td>"
            f"<td>{each.first_step:,} to {each.last_step:,}</td></tr>"
            for each in self.findings
        )
        head = "<tr><th>finding</th><th>severity</th><th>what</th><th>steps</th></tr>"
        said = f"<p><strong>{html.escape(self.verdict)}</strong></p>"
        return f"{said}<table>{head}{rows}</table>" if rows else said


def diagnose(
    log: RunLog,
    rules: Iterable[Rule] | None = None,
    *,
    layers: bool = True,
    counts: Mapping[str, tuple[int, int]] = COUNTS,
) -> Diagnosis:
    """The diagnosis of a run. Pure: the same log gives the same diagnosis.

    Args:
        log: the run.
        rules: the rules to ask; all of them by default.
        layers: whether to find the phases of every layer too, which is half the work in a deep network.
        counts: how often each rule was right on other trainings, which corrects its confidence.

    Raises:
        KgradError: `log` is no run that was read.
    """
    expect_run(log)
    asked = tuple(rules) if rules is not None else all_rules()
    outcomes = _explain(tuple(_calibrate(each, counts) for each in _ask_all(asked, log)), asked)
    diagnosis = Diagnosis(log.name, "", outcomes, model_phases(log), layer_phases(log) if layers else {})
    return replace(diagnosis, verdict=_verdict(log, diagnosis))


def _ask_all(asked: tuple[Rule, ...], log: RunLog) -> tuple[Outcome, ...]:
    """What each rule says, in their order; those of last resort after all others."""
    said = {each.id: _ask(each, log) for each in asked if not each.last_resort}
    is_explained = any(o.finding is not None and o.finding.severity != "info" for o in said.values())
    for each in asked:
        if each.last_resort:
            unasked = Outcome(each.id, "not applicable", "another rule found what is wrong")
            said[each.id] = unasked if is_explained else _ask(each, log)
    return tuple(said[each.id] for each in asked)


def _ask(each: Rule, log: RunLog) -> Outcome:
    missing = [column for column in each.columns if column not in log]
    if missing:
        return Outcome(each.id, "not applicable", f"the run has no {', '.join(missing)}")
    if not len(log):
        return Outcome(each.id, "not applicable", "the run has no recorded step")
    try:
        finding = each.check(log.only(each.columns + each.optional))
    except NotApplicable as reason:
        return Outcome(each.id, "not applicable", str(reason))
    except Exception as error:  # a broken rule must not hide what the others found
        return Outcome(each.id, "error", f"{type(error).__name__}: {error}")
    return Outcome(each.id, "found", finding=finding) if finding else Outcome(each.id, "clear")


def _calibrate(outcome: Outcome, counts: Mapping[str, tuple[int, int]]) -> Outcome:
    """The same with the confidence that the rule's record bears out; a note keeps the rule's own."""
    finding = outcome.finding
    if finding is None or finding.severity == "info":
        return outcome
    return replace(outcome, finding=replace(finding, confidence=calibrated(finding.rule, finding.confidence, counts)))


def _explain(outcomes: tuple[Outcome, ...], rules: tuple[Rule, ...]) -> tuple[Outcome, ...]:
    """Marks each finding that another finding explains as that one's symptom."""
    by_rule = {each.id: each for each in rules}
    found = [o.finding for o in outcomes if o.finding and o.finding.severity != "info"]
    diseases = frozenset[str]().union(*(each.names for each in found))

    def marked(outcome: Outcome) -> Outcome:
        if outcome.finding is None or outcome.finding.caused_by or outcome.finding.details.get("root"):
            return outcome
        mine = f"{outcome.rule}:{outcome.finding.details.get('kind')}"  # what is named by its kind causes what names it
        causes = (c for c in by_rule[outcome.rule].symptom_of if c in diseases)
        cause = next((c for c in causes if mine not in by_rule[c.split(":")[0]].symptom_of), None)
        return replace(outcome, finding=replace(outcome.finding, caused_by=cause and cause.split(":")[0]))

    return tuple(marked(outcome) for outcome in outcomes)


def _rank(finding: Finding) -> tuple[bool, bool, int, float, str]:
    return (
        finding.severity == "info",
        finding.caused_by is not None,
        -SEVERITIES.index(finding.severity),
        -finding.confidence,
        finding.rule,
    )


def _verdict(log: RunLog, diagnosis: Diagnosis) -> str:
    if not len(log):
        return "Nothing to judge: no training step was recorded."
    diseases = [f for f in diagnosis.findings if f.severity != "info"]
    if not diseases:
        return f"Healthy: no disease found in {len(log):,} recorded steps."
    first = diseases[0]
    name = first.rule.replace("-", " ").capitalize()
    return f"{name}: {first.summary[:1].lower()}{first.summary[1:]}"
