"""The story of a treatment as one self-contained HTML file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kgrad.reporters.html import _asset, _environment, _hash


@dataclass(frozen=True)
class AttemptRow:
    """One attempt, ready to print."""

    tried: str
    verdict: str
    unchanged: str
    changed: str
    interval: str
    why: str


@dataclass(frozen=True)
class RoundCard:
    """One training under watch, ready to print."""

    title: str
    verdict: str
    findings: tuple[tuple[str, str], ...]
    figures: str
    attempts: tuple[AttemptRow, ...]
    kept: str
    reason: str


def render_treatment_html(treatment: Mapping[str, Any]) -> str:
    """The whole page: no network, no script, the same bytes for the same treatment.

    Args:
        treatment: `Treatment.to_dict()`.
    """
    style = _asset("report.css")
    return (
        _environment()
        .get_template("treatment.html.j2")
        .render(
            summary=treatment["summary"],
            outcome=treatment["outcome"],
            tone={"healthy": "healthy", "better": "low"}.get(treatment["outcome"], "medium"),
            rounds=[_card(place, each) for place, each in enumerate(treatment["rounds"], 1)],
            changes=treatment["changes"],
            code=treatment["code"],
            steps=f"{treatment['steps']:,} of {treatment['budget']:,} training steps",
            measured_on=treatment["measured_on"],
            before=_figures(treatment["loss_given"], treatment["accuracy_given"]),
            after=_figures(treatment["loss"], treatment["accuracy"]),
            style=style,
            policy=f"default-src 'none'; style-src {_hash(style)}; base-uri 'none'; form-action 'none'",
        )
    )


def _card(number: int, each: Mapping[str, Any]) -> RoundCard:
    ending = "kept as the best so far" if each["adopted"] else "not better than the best so far"
    return RoundCard(
        title=f"Training {number}: {each['steps']:,} steps, {ending}",
        verdict=each["verdict"],
        findings=tuple(
            (f"{rule.replace('-', ' ')}, {severity}", summary) for rule, severity, summary in each["findings"]
        ),
        figures=_figures(each["loss"], each["accuracy"]),
        attempts=tuple(_row(attempt) for attempt in each["attempts"]),
        kept="; ".join(each["kept"]),
        reason=each["reason"],
    )


def _row(attempt: Mapping[str, Any]) -> AttemptRow:
    gap = attempt["difference"]
    return AttemptRow(
        tried="; ".join(attempt["prescriptions"]),
        verdict=attempt["verdict"],
        unchanged=_shown(attempt["unchanged"]),
        changed=_shown(attempt["changed"]),
        interval=f"{gap['low']:+.3g} to {gap['high']:+.3g}" if gap else "–",
        why=attempt["note"] or attempt["why"],
    )


def _shown(values: Sequence[float | None]) -> str:
    return ", ".join("not finite" if value is None else f"{value:.3g}" for value in values) or "–"


def _figures(loss: float | None, accuracy: float | None) -> str:
    parts = [] if loss is None else [f"loss {loss:.3g}"]
    parts += [] if accuracy is None else [f"accuracy {100 * accuracy:.1f} %"]
    return ", ".join(parts) or "no finite loss to compare"
