"""The story of a treatment as one self-contained HTML file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kgrad.reporters.html import _asset, _environment, _hash
from kgrad.reporters.wording import clip, number, title_of, visible

_OUTCOMES = {
    "better": "Better, not yet healthy",
    "unchanged": "No cure found",
    "as given": "Returned as given: no training left it better",
}
_STATES = {"proven": "pass", "harmful": "fail", "no effect": "warn", "behind": "warn"}


@dataclass(frozen=True)
class AttemptRow:
    """One attempt, ready to print."""

    tried: str
    verdict: str
    state: str
    unchanged: str
    changed: str
    interval: str
    why: str


@dataclass(frozen=True)
class RoundCard:
    """One training under watch, ready to print."""

    title: str
    tone: str
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
            head=_head(treatment),
            rest=_rest(treatment),
            tone={"healthy": "healthy", "better": "low"}.get(treatment["outcome"], "medium"),
            rounds=[_card(place, each) for place, each in enumerate(treatment["rounds"], 1)],
            changes=[clip(each, 300) for each in treatment["changes"]],
            figures=_before_and_after(treatment),
            code=visible(treatment["code"]),
            style=style,
            policy=f"default-src 'none'; style-src {_hash(style)}; base-uri 'none'; form-action 'none'",
        )
    )


def _head(treatment: Mapping[str, Any]) -> str:
    if treatment["outcome"] == "healthy":
        return "Healthy now" if treatment["changes"] else "Healthy as given"
    return _OUTCOMES.get(str(treatment["outcome"]), str(treatment["outcome"]))


def _rest(treatment: Mapping[str, Any]) -> str:
    """What was found at first and what was changed for it."""
    rounds = treatment["rounds"]
    found = title_of(rounds[0]["findings"][0][0]) if rounds and rounds[0]["findings"] else "No disease"
    changed = "; ".join(clip(each, 200) for each in treatment["changes"])
    return f"{found} at first. " + (f"Changed: {changed}." if changed else "Nothing was changed.")


def _before_and_after(treatment: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """What the model did as it was given and as it is returned."""
    rows = []
    if treatment["accuracy_given"] is not None and treatment["accuracy"] is not None:
        rows.append(("Accuracy", *(f"{100 * treatment[each]:.1f} %" for each in ("accuracy_given", "accuracy"))))
    if treatment.get("r_squared_given") is not None and treatment.get("r_squared") is not None:
        rows.append(("R²", *(number(treatment[each]) for each in ("r_squared_given", "r_squared"))))
    if treatment["loss_given"] is not None and treatment["loss"] is not None:
        rows.append(("Loss", *(number(treatment[each]) for each in ("loss_given", "loss"))))
    named = [(f"{name} on {treatment['measured_on']}", before, after) for name, before, after in rows]
    return [*named, ("Training steps of all models", f"{treatment['steps']:,}", f"of {treatment['budget']:,} allowed")]


def _card(place: int, each: Mapping[str, Any]) -> RoundCard:
    ending = "kept as the best so far" if each["adopted"] else "not kept"
    return RoundCard(
        title=f"Training {place}: {each['steps']:,} steps, {ending}",
        tone="high" if each["findings"] else "healthy",
        verdict=clip(each["verdict"], 600),
        findings=tuple(  # the first is the verdict
            (f"{title_of(rule)}, {severity}", clip(summary, 600)) for rule, severity, summary in each["findings"][1:]
        ),
        figures=_figures(each["loss"], each["accuracy"], each.get("r_squared")),
        attempts=tuple(_row(attempt) for attempt in each["attempts"]),
        kept="; ".join(clip(change, 200) for change in each["kept"]),
        reason=clip(each["reason"], 600),
    )


def _row(attempt: Mapping[str, Any]) -> AttemptRow:
    gap = attempt["difference"]
    return AttemptRow(
        tried="; ".join(clip(each, 200) for each in attempt["prescriptions"]),
        verdict=attempt["verdict"],
        state=_STATES.get(attempt["verdict"], "none"),
        unchanged=_shown(attempt["unchanged"]),
        changed=_shown(attempt["changed"]),
        interval=f"{gap['low']:+.3g} to {gap['high']:+.3g}".replace("-", "−") if gap else "–",
        why=clip(attempt["note"] or attempt["why"], 600),
    )


def _shown(values: Sequence[float | None]) -> str:
    return ", ".join("not finite" if value is None else f"{value:.3g}" for value in values) or "–"


def _figures(loss: float | None, accuracy: float | None, r_squared: float | None) -> str:
    parts = [] if loss is None else [f"loss {loss:.3g}"]
    parts += [] if accuracy is None else [f"accuracy {100 * accuracy:.1f} %"]
    parts += [] if r_squared is None else [f"R² {r_squared:.3g}"]
    return ", ".join(parts) or "no finite loss to compare"
