"""Findings and prescriptions as cards, ready to print."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kgrad.diagnosis import Diagnosis, Finding
from kgrad.diagnosis.rule import Rule, find_rule
from kgrad.errors import UnknownRuleError
from kgrad.prescription.effect import Effect
from kgrad.prescription.prescription import Prescription
from kgrad.reporters.proofs import DryRunCard, Proofs, TrialCard
from kgrad.reporters.wording import Names, clip, counted, measured, steps_between, title_of, visible

# Layers named on a card one by one; the rest is a number.
_MOST_LAYERS = 8
# Targets that are no layers: the change itself says where it is made.
_NO_LAYERS = (("optimizer",), ("fit",))
_SEVERITY_WORDS = {"info": "note", "low": "low severity", "medium": "medium severity", "high": "high severity"}


@dataclass(frozen=True)
class EvidenceRow:
    """One measured number."""

    label: str
    value: str
    limit: str


@dataclass(frozen=True)
class LimitRow:
    """A number that a rule compares with, and where it comes from."""

    name: str
    value: str
    source: str


@dataclass(frozen=True)
class EffectRow:
    """What theory expects of a change."""

    quantity: str
    before: str
    after: str
    source: str


@dataclass(frozen=True)
class PrescriptionCard:
    """One change, ready to print."""

    number: int
    title: str
    before: str
    after: str
    why: str
    effect: EffectRow | None
    code: str
    targets: str
    evidence: tuple[EvidenceRow, ...]
    conflicts: tuple[str, ...]
    dry_run: DryRunCard | None
    trial: TrialCard | None


@dataclass(frozen=True)
class LayerChip:
    """A layer that a card names: its place in the charts (from 0, `None` for a layer without weights)."""

    name: str
    place: int | None


@dataclass(frozen=True)
class FindingCard:
    """One finding with its cures, ready to print."""

    anchor: str
    title: str
    severity: str
    severity_word: str
    summary: str
    layers: tuple[LayerChip, ...]
    more_layers: str
    first_step: int
    last_step: int
    when: str
    cause: str
    confidence: str
    meaning: str
    explanation: tuple[str, ...]
    limits: tuple[LimitRow, ...]
    evidence: tuple[EvidenceRow, ...]
    prescriptions: tuple[PrescriptionCard, ...]


def finding_cards(
    diagnosis: Diagnosis, prescriptions: Sequence[Prescription], proofs: Proofs, names: Names, places: Mapping[str, int]
) -> tuple[FindingCard, ...]:
    """A card for each finding, with the prescriptions that answer it.

    Args:
        diagnosis: what was found.
        prescriptions: what to change, the best first.
        proofs: what was tried of them.
        names: short names for the layers.
        places: place of each layer in the charts, by its name.
    """
    made: dict[str, list[PrescriptionCard]] = {}
    for position, each in enumerate(prescriptions, 1):
        made.setdefault(each.finding, []).append(_prescription(position, each, proofs, names))
    return tuple(
        _finding(position, finding, made.get(finding.rule, []), names, places)
        for position, finding in enumerate(diagnosis.findings, 1)
    )


def _finding(
    position: int, finding: Finding, cards: list[PrescriptionCard], names: Names, places: Mapping[str, int]
) -> FindingCard:
    rule = known_rule(finding.rule)
    paragraphs = rule.explanation.split("\n\n")[1:] if rule else []
    rest = len(finding.layers) - _MOST_LAYERS
    return FindingCard(
        anchor=f"finding-{position}",
        title=title_of(finding.rule),
        severity=finding.severity,
        severity_word=_SEVERITY_WORDS[finding.severity],
        summary=names.sentence(finding.summary),
        layers=tuple(LayerChip(clip(name), places.get(name)) for name in finding.layers[:_MOST_LAYERS]),
        more_layers=f"and {counted(rest, 'more layer')}" if rest > 0 else "",
        first_step=finding.first_step,
        last_step=finding.last_step,
        when=steps_between(finding.first_step, finding.last_step),
        cause=title_of(finding.caused_by).lower() if finding.caused_by else "",
        confidence=f"{100 * finding.confidence:.0f} %",
        meaning=rule.meaning if rule else "",
        explanation=tuple(" ".join(paragraph.split()) for paragraph in paragraphs),
        limits=_limits(rule),
        evidence=_evidence(finding, names),
        prescriptions=tuple(cards),
    )


def known_rule(rule_id: str) -> Rule | None:
    """The rule with this id, `None` where this kgrad has none."""
    try:
        return find_rule(rule_id)
    except UnknownRuleError:  # the diagnosis may come from a kgrad with other rules
        return None


def _limits(rule: Rule | None) -> tuple[LimitRow, ...]:
    limits = rule.limits if rule else ()
    return tuple(LimitRow(each.name, measured(each.value, each.unit), each.source) for each in limits)


def _evidence(owner: Finding | Prescription, names: Names) -> tuple[EvidenceRow, ...]:
    return tuple(
        EvidenceRow(names.sentence(each.label, 200), measured(each.value, each.unit), measured(each.limit, each.unit))
        for each in owner.evidence
    )


def _effect(effect: Effect | None, names: Names) -> EffectRow | None:
    if effect is None:
        return None
    before, after = (measured(value, effect.unit) for value in (effect.before, effect.after))
    return EffectRow(names.sentence(effect.quantity, 200), before, after, names.sentence(effect.source, 300))


def _prescription(position: int, prescription: Prescription, proofs: Proofs, names: Names) -> PrescriptionCard:
    knob = clip(prescription.knob.replace("_", " "))
    return PrescriptionCard(
        number=position,
        title="Change several things together" if prescription.knob == "several" else f"Change the {knob}",
        before=names.sentence(prescription.before, 300),
        after=names.sentence(prescription.after, 300),
        why=names.sentence(prescription.why),
        effect=_effect(prescription.effect, names),
        code=visible(prescription.code),
        targets="" if prescription.target in _NO_LAYERS else names.some(prescription.target),
        evidence=_evidence(prescription, names)[:6],
        conflicts=tuple(names.sentence(each) for each in prescription.conflicts_with),
        dry_run=proofs.dry_run_of(prescription),
        trial=proofs.trial_of(prescription),
    )
