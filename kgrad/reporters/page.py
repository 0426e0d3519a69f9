"""Everything the page says, ready to print: the templates only place it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kgrad.diagnosis import Diagnosis
from kgrad.log.run_log import RunLog
from kgrad.prescription.prescription import Prescription
from kgrad.reporters.cards import FindingCard, PrescriptionCard, finding_cards, known_rule
from kgrad.reporters.chart_data import chart_data, colour_scale, is_constant, is_wide
from kgrad.reporters.facts import ModelRow, events_of, facts_of, model_rows
from kgrad.reporters.gauges import Gauge, gauges
from kgrad.reporters.layer_table import LayerRow, layer_rows
from kgrad.reporters.pictures import Curve, Lines, Stretch, curve, has_trend, heatmap, lines, stretches, window
from kgrad.reporters.probe_tables import ProbeTable, probe_tables
from kgrad.reporters.proofs import Contrast, Proofs, TrialCard
from kgrad.reporters.step_table import StepTable, describe, step_table
from kgrad.reporters.view import View, look_at
from kgrad.reporters.wording import Names, clip, counted, number, steps_between, title_of

_TITLES = {"loss": "Loss of each step", "global_norm": "Global gradient norm", "learning_rate": "Learning rate"}
# Prescriptions named on the first screen beside the first one.
_MOST_FURTHER = 5
# Accuracies that lie closer are alike: what else speaks for a prescription then decides, which is its place.
_LIKE = 0.05


@dataclass(frozen=True)
class Picture:
    """A static curve with its words."""

    title: str
    curve: Curve
    says: str


@dataclass(frozen=True)
class Heatmap:
    """The layer x step picture."""

    image: str
    low: str
    high: str
    says: str


@dataclass(frozen=True)
class Audit:
    """What one rule said, where it found nothing."""

    title: str
    says: str


@dataclass(frozen=True)
class Page:
    """The whole report."""

    title: str
    verdict_head: str
    verdict_rest: str
    tone: str
    status: str
    subtitle: str
    ended_by: str
    gauges: tuple[Gauge, ...]
    first: FindingCard | None
    first_prescription: PrescriptionCard | None
    further: tuple[PrescriptionCard, ...]
    findings: tuple[FindingCard, ...]
    trials: tuple[TrialCard, ...]
    timeline: tuple[Stretch, ...]
    span: str
    first_step: str
    last_step: str
    pictures: tuple[Picture, ...]
    constants: tuple[str, ...]
    trend: str
    steps: StepTable
    heatmap: Heatmap | None
    profiles: tuple[str, ...]
    depth: Lines | None
    ends: tuple[str, str]
    layers: tuple[LayerRow, ...]
    has_updates: bool
    probes: tuple[ProbeTable, ...]
    thinned: str
    clear: tuple[Audit, ...]
    not_applicable: tuple[Audit, ...]
    errors: tuple[Audit, ...]
    facts: tuple[tuple[str, str], ...]
    events: tuple[str, ...]
    model: tuple[ModelRow, ...]
    data: dict[str, Any] | None


def make_page(
    log: RunLog,
    diagnosis: Diagnosis,
    prescriptions: Sequence[Prescription],
    trials: Sequence[object] = (),
    dry_runs: Sequence[object] = (),
) -> Page:
    """The page of a run."""
    view, names = look_at(log), Names.of(log.structure)
    places = {layer.name: place for place, layer in enumerate(log.structure.weighted_layers)}
    found = {finding.rule for finding in diagnosis.findings}
    proofs = Proofs.of([each for each in prescriptions if each.finding in found], dry_runs, trials, names)
    findings = finding_cards(diagnosis, prescriptions, proofs, names, places)
    first = findings[0] if findings and findings[0].severity != "info" else None
    cures = _cures(findings) if first else ()
    head, rest = _verdict(names.sentence(diagnosis.verdict))
    return Page(
        title=clip(log.name),
        verdict_head=head,
        verdict_rest=rest,
        tone=diagnosis.severity or ("healthy" if len(log) else "info"),
        status=clip(log.status),
        subtitle=f"{_model_name(log)}{counted(log.structure.parameters, 'parameter')} · "
        f"{counted(len(log.structure.weighted_layers), 'layer')} with weights · {counted(len(log), 'recorded step')}",
        ended_by=clip(str(log.info.get("error") or ""), 400),
        gauges=gauges(view, diagnosis, names),
        first=first,
        first_prescription=cures[0] if cures else None,
        further=cures[1:_MOST_FURTHER],
        findings=findings,
        trials=proofs.others,
        timeline=stretches(diagnosis.phases, view.bins),
        span=steps_between(int(log.steps[0]), int(log.steps[-1])) if len(log) else "no step",
        first_step=f"{log.steps[0]:,}" if len(log) else "",
        last_step=f"{log.steps[-1]:,}" if len(log) else "",
        pictures=_pictures(view),
        constants=_constants(view),
        trend=_trend(view),
        steps=step_table(view),
        heatmap=_heatmap(view),
        profiles=tuple(f"{profile.name}, {profile.says}" for profile in view.profiles),
        depth=lines([each.norms for each in view.profiles], logarithmic=True) if view.profiles else None,
        ends=_ends(log),
        layers=layer_rows(view),
        has_updates=view.update is not None,
        probes=probe_tables(log),
        thinned=_thinned(view),
        clear=_audits(diagnosis, "clear"),
        not_applicable=_audits(diagnosis, "not applicable"),
        errors=_audits(diagnosis, "error"),
        facts=facts_of(log),
        events=events_of(log),
        model=model_rows(log),
        data={**chart_data(view, diagnosis), "proofs": _drawn_proofs(cures, proofs.others)} if len(log) else None,
    )


def _verdict(sentence: str) -> tuple[str, str]:
    """The name of the disease and the sentence on it; no name where the verdict does not begin with one."""
    head, colon, rest = sentence.partition(": ")
    return (head, rest) if colon and len(head) < 60 else ("", sentence)


def _cures(findings: Sequence[FindingCard]) -> tuple[PrescriptionCard, ...]:
    """Every prescription, the one to try first in front: proven by a trial, else not convicted by one.

    Of the proven ones, those that stay behind the most accurate one come after the others. Losses are not compared:
    a change may be one of the loss itself.
    """
    cards = [card for finding in findings for card in finding.prescriptions]
    best = max((card.trial.accuracy for card in cards if card.trial and card.trial.state == "pass"), default=0.0)

    def rank(card: PrescriptionCard) -> tuple[int, bool]:
        if card.trial is None:
            return 1, False
        return {"pass": 0, "none": 1, "warn": 2, "fail": 3}[card.trial.state], card.trial.accuracy < best - _LIKE

    return tuple(sorted(cards, key=rank))


def _drawn_proofs(cures: Sequence[PrescriptionCard], others: Sequence[TrialCard]) -> dict[str, Any]:
    """The curves of trials and dry runs by the name of their chart."""
    drawn: dict[str, Contrast | None] = {f"trial-{card.number}": card.trial.contrast for card in cures if card.trial}
    drawn |= {f"dry-{card.number}": card.dry_run.contrast for card in cures if card.dry_run}
    drawn |= {f"trial-other-{place}": card.contrast for place, card in enumerate(others, 1)}
    return {name: contrast.to_dict() for name, contrast in drawn.items() if contrast}


def _model_name(log: RunLog) -> str:
    """The model's name where the run's own, in the line above, does not say it."""
    return "" if log.structure.name == log.name else f"{clip(log.structure.name)} · "


def _ends(log: RunLog) -> tuple[str, str]:
    layers = log.structure.weighted_layers
    return (clip(layers[0].name, 30), clip(layers[-1].name, 30)) if layers else ("", "")


def _constants(view: View) -> tuple[str, ...]:
    """The series that are one number: a sentence says it better than a line."""
    return tuple(
        f"{_TITLES[name]}: {number(float(view.series[name].middle[0]))} in every step."
        for name in _TITLES
        if name in view.series and name != "loss" and is_constant(view, name)
    )


def _trend(view: View) -> str:
    """What the smooth line over the loss is, empty where there is none."""
    if "loss" not in view.series or not has_trend(view.series["loss"].middle):
        return ""
    return f"median of {window(len(view.bins)) * view.bins.widest:,} steps"


def _pictures(view: View) -> tuple[Picture, ...]:
    shown = [name for name in _TITLES if name in view.series and (name == "loss" or not is_constant(view, name))]
    return tuple(
        Picture(
            f"{_TITLES[name]}{' (logarithmic)' if is_wide(view.log[name]) else ''}",
            curve(view.series[name], view.bins, is_wide(view.log[name])),
            describe(_TITLES[name], view.log[name]),
        )
        for name in shown
    )


def _heatmap(view: View) -> Heatmap | None:
    if view.gradient is None:
        return None
    low, high = colour_scale(view)
    layers = counted(len(view.log.structure.weighted_layers), "layer")
    says = f"Gradient norm of {layers}, the input at the top, over {counted(len(view.log), 'recorded step')}; "
    says += f"colours from {number(10**low)} (dark) to {number(10**high)} (light), logarithmic."
    return Heatmap(heatmap(view.gradient, (low, high)), number(10**low), number(10**high), says)


def _thinned(view: View) -> str:
    if view.bins.exact:
        return ""
    return (
        f"This run has {len(view.log):,} recorded steps; the charts show {len(view.bins):,} spans of up to "
        f"{counted(view.bins.widest, 'step')}. Lines and colours are the medians of a span, the shaded bands reach "
        "from its least to its largest value, so no extreme is lost; a span with one gradient that is not finite "
        "counts as not finite. The verdict and the findings rest on every step."
    )


def _audits(diagnosis: Diagnosis, status: str) -> tuple[Audit, ...]:
    chosen = [each for each in diagnosis.outcomes if each.status == status]
    return tuple(Audit(title_of(each.rule), clip(each.reason, 300) or _meaning(each.rule)) for each in chosen)


def _meaning(rule_id: str) -> str:
    rule = known_rule(rule_id)
    return rule.meaning if rule else ""
