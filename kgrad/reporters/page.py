"""Everything the page says, ready to print: the templates only place it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kgrad.diagnosis import Diagnosis, Finding, Phase
from kgrad.diagnosis.rule import find_rule
from kgrad.errors import UnknownRuleError
from kgrad.log.run_log import RunLog
from kgrad.prescription.prescription import Prescription
from kgrad.reporters.pictures import Axis, Curve, curves, envelope, heatmap
from kgrad.reporters.text import measure


@dataclass(frozen=True)
class EvidenceRow:
    """One measured number."""

    label: str
    value: str
    limit: str


@dataclass(frozen=True)
class PrescriptionCard:
    """One change, ready to print."""

    number: int
    knob: str
    before: str
    after: str
    why: str
    code: str
    targets: str
    evidence: tuple[EvidenceRow, ...]
    conflicts: tuple[str, ...]


@dataclass(frozen=True)
class FindingCard:
    """One finding with its cures, ready to print."""

    rule: str
    title: str
    severity: str
    summary: str
    where: str
    cause: str
    confidence: str
    evidence: tuple[EvidenceRow, ...]
    explanation: str
    prescriptions: tuple[PrescriptionCard, ...]


@dataclass(frozen=True)
class Stretch:
    """A phase as a piece of the timeline: left end and width in percent."""

    name: str
    left: str
    width: str
    says: str


@dataclass(frozen=True)
class Chart:
    """Curves over steps."""

    title: str
    curves: tuple[Curve, ...]
    axis: Axis
    says: str


@dataclass(frozen=True)
class Heatmap:
    """The layer x step picture."""

    image: str
    layers: tuple[str, ...]
    low: str
    high: str
    says: str


@dataclass(frozen=True)
class DepthRow:
    """A layer's gradient norm at the start, middle and end."""

    layer: str
    kind: str
    start: str
    middle: str
    end: str
    update_ratio: str


@dataclass(frozen=True)
class Page:
    """The whole report."""

    title: str
    verdict: str
    tone: str
    subtitle: str
    ended_by: str
    first_step: str
    last_step: str
    findings: tuple[FindingCard, ...]
    timeline: tuple[Stretch, ...]
    charts: tuple[Chart, ...]
    heatmap: Heatmap | None
    depth: tuple[DepthRow, ...]
    clear: tuple[str, ...]
    not_applicable: tuple[tuple[str, str], ...]
    errors: tuple[tuple[str, str], ...]
    facts: tuple[tuple[str, str], ...]


def make_page(log: RunLog, diagnosis: Diagnosis, prescriptions: Sequence[Prescription]) -> Page:
    """The page of a run."""
    outcomes = diagnosis.outcomes
    return Page(
        title=log.name,
        verdict=diagnosis.verdict,
        tone=diagnosis.severity or ("healthy" if len(log) else "info"),
        subtitle=f"{log.structure.name} · {log.status} · {len(log):,} recorded steps",
        ended_by=str(log.info.get("error") or ""),
        first_step=str(log.steps[0]) if len(log) else "",
        last_step=str(log.steps[-1]) if len(log) else "",
        findings=_findings(diagnosis, prescriptions),
        timeline=_timeline(log, diagnosis.phases),
        charts=_charts(log),
        heatmap=_heatmap(log),
        depth=_depth(log),
        clear=tuple(outcome.rule for outcome in outcomes if outcome.status == "clear"),
        not_applicable=tuple((o.rule, o.reason) for o in outcomes if o.status == "not applicable"),
        errors=tuple((o.rule, o.reason) for o in outcomes if o.status == "error"),
        facts=_facts(log),
    )


def _findings(diagnosis: Diagnosis, prescriptions: Sequence[Prescription]) -> tuple[FindingCard, ...]:
    numbered = list(enumerate(prescriptions, 1))
    return tuple(
        _finding(finding, [_prescription(n, p) for n, p in numbered if p.finding == finding.rule])
        for finding in diagnosis.findings
    )


def _finding(finding: Finding, cards: list[PrescriptionCard]) -> FindingCard:
    try:
        rule = find_rule(finding.rule)
        title, explanation = rule.title, rule.explanation
    except UnknownRuleError:  # the diagnosis may come from a kgrad with other rules
        title, explanation = finding.rule, ""
    return FindingCard(
        rule=finding.rule,
        title=title,
        severity=finding.severity,
        summary=finding.summary,
        where=f"{_layers(finding.layers)}, steps {finding.first_step:,} to {finding.last_step:,}",
        cause=finding.caused_by or "",
        confidence=f"{100 * finding.confidence:.0f} %",
        evidence=_evidence(finding),
        explanation=explanation,
        prescriptions=tuple(cards),
    )


def _layers(names: Sequence[str]) -> str:
    if not names:
        return "whole model"
    shown = ", ".join(names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more layers"


def _evidence(owner: Finding | Prescription) -> tuple[EvidenceRow, ...]:
    return tuple(
        EvidenceRow(e.label, measure(e.value, e.unit), "" if e.limit is None else measure(e.limit, e.unit))
        for e in owner.evidence
    )


def _prescription(number: int, prescription: Prescription) -> PrescriptionCard:
    return PrescriptionCard(
        number=number,
        knob=prescription.knob.replace("_", " "),
        before=prescription.before,
        after=prescription.after,
        why=prescription.why,
        code=prescription.code,
        targets=_layers(prescription.target),
        evidence=_evidence(prescription)[:6],
        conflicts=prescription.conflicts_with,
    )


def _timeline(log: RunLog, phases: Sequence[Phase]) -> tuple[Stretch, ...]:
    if not len(log):
        return ()
    first, span = int(log.steps[0]), max(int(log.steps[-1]) - int(log.steps[0]) + 1, 1)
    return tuple(
        Stretch(
            phase.name,
            f"{100 * (phase.first_step - first) / span:.3f}",
            f"{100 * (phase.last_step - phase.first_step + 1) / span:.3f}",
            f"{phase.name}: steps {phase.first_step:,} to {phase.last_step:,}",
        )
        for phase in phases
    )


def _charts(log: RunLog) -> tuple[Chart, ...]:
    charts = []
    if "loss" in log and len(log):
        made, axis = curves({"loss": log["loss"]}, logarithmic=False)
        charts.append(Chart("Loss of each step", tuple(made), axis, _span("Loss", log["loss"])))
    if "global_norm" in log and len(log):
        named = {"global norm": log["global_norm"]}
        if "applied_global_norm" in log and not np.array_equal(
            log["applied_global_norm"], log["global_norm"], equal_nan=True
        ):
            named["after clipping"] = log["applied_global_norm"]
        made, axis = curves(named, logarithmic=True)
        says = _span("Norm of all gradients together, logarithmic", log["global_norm"])
        charts.append(Chart("Global gradient norm (log scale)", tuple(made), axis, says))
    return tuple(charts)


def _span(what: str, values: np.ndarray) -> str:
    known = values[np.isfinite(values)]
    lost = len(values) - len(known)
    if not len(known):
        return f"{what}: no finite value."
    said = f"{what}: from {known[0]:.3g} at the start to {known[-1]:.3g} at the end, between {known.min():.3g} "
    said += f"and {known.max():.3g}."
    said += f" {lost} steps are not finite." if lost else ""
    return said + (" Thinned for display; every extreme is kept." if len(envelope(values)) < len(values) else "")


def _heatmap(log: RunLog) -> Heatmap | None:
    if "gradient_norm" not in log or not len(log) or not log.structure.weighted_layers:
        return None
    image, low, high = heatmap(log.layer_norms())
    names = tuple(layer.name for layer in log.structure.weighted_layers)
    says = f"Gradient norm of {len(names)} layers (top: nearest the input) over {len(log):,} steps, log colour scale."
    return Heatmap(image, names, f"1e{low:.1f}", f"1e{high:.1f}", says)


def _depth(log: RunLog) -> tuple[DepthRow, ...]:
    if "gradient_norm" not in log or not len(log):
        return ()
    norms = log.layer_norms()
    ratio = np.full(norms.shape, np.nan)
    if "update_norm" in log and "weight_norm" in log:
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = log.layer_norms("update_norm") / log.layer_norms("weight_norm")
    ratio[~np.isfinite(ratio)] = np.nan
    middle = len(log) // 2
    return tuple(
        DepthRow(
            layer.name,
            f"{layer.class_name}, {log.structure.effective_activation(layer.name) or 'no activation'}",
            f"{norms[0, i]:.2e}",
            f"{norms[middle, i]:.2e}",
            f"{norms[-1, i]:.2e}",
            "not measured" if np.isnan(ratio[:, i]).all() else f"{np.nanmedian(ratio[:, i]):.2e}",
        )
        for i, layer in enumerate(log.structure.weighted_layers)
    )


def _facts(log: RunLog) -> tuple[tuple[str, str], ...]:
    info = log.info
    optimizer = info.get("optimizer") or {}
    config = optimizer.get("config") or {}
    settings = ", ".join(f"{k}={v}" for k, v in config.items() if v not in (None, False) and k != "name")
    loss = info.get("loss")
    named = loss.get("class_name", loss) if isinstance(loss, dict) else loss
    facts = {
        "model": f"{log.structure.name} ({log.structure.kind}), {log.structure.parameters:,} parameters",
        "loss": named,
        "optimizer": f"{optimizer.get('class_name', 'unknown')}({settings})",
        "fit": ", ".join(f"{k}={v}" for k, v in (info.get("fit") or {}).items() if v is not None),
        "versions": ", ".join(f"{k} {v}" for k, v in (info.get("versions") or {}).items()),
        "seed": (info.get("seeds") or {}).get("keras"),
        "tags": ", ".join(f"{k}={v}" for k, v in (info.get("tags") or {}).items()),
        "started": info.get("started"),
        "ended": info.get("ended"),
        "run folder": log.path,
    }
    return tuple((name, str(value)) for name, value in facts.items() if value not in (None, ""))
