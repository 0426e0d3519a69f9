"""What a rule says when it finds a disease."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

SEVERITIES = ("info", "low", "medium", "high")


def at_least(severity: str, limit: str) -> bool:
    """Whether `severity` is as grave as `limit` or graver.

    >>> at_least("high", "medium")
    True
    """
    return SEVERITIES.index(severity) >= SEVERITIES.index(limit)


def power(value: float) -> str:
    """A factor for a sentence: with thousands while that reads well, as a power of ten beyond.

    >>> power(250.0), power(5e8), power(9.7e8)
    ('250', '5·10⁸', '1·10⁹')
    """
    if not 0 < value < float("inf"):
        return str(value)
    exponent = math.floor(math.log10(value))
    if -2 <= exponent < 5:
        return f"{value:,.3g}" if exponent < 3 else f"{value:,.0f}"
    digit, _, exponent_written = f"{value:.0e}".partition("e")
    raised = str(int(exponent_written)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{digit}·10{raised}"


@dataclass(frozen=True)
class Evidence:
    """One measured number behind a finding or a prescription.

    Attributes:
        label: what was measured, in words.
        value: the number.
        unit: its unit; `"1"` for a ratio, `"share"` for a value from 0 to 1.
        limit: the number it was compared with, where there was one.
    """

    label: str
    value: float
    unit: str = "1"
    limit: float | None = None


@dataclass(frozen=True)
class Finding:
    """One disease, where it sits and what shows it.

    Attributes:
        rule: id of the rule that found it.
        severity: `"info"` (a note, not a disease), `"low"`, `"medium"` or `"high"`.
        summary: one sentence with this run's numbers.
        layers: names of the layers concerned, by depth; empty for the whole model.
        first_step: step number where it begins.
        last_step: step number where it ends.
        evidence: the measured numbers.
        confidence: from 0 to 1.
        caused_by: id of the finding whose symptom this is, `None` for a cause.
        details: numbers that prescriptions start from, by name.
    """

    rule: str
    severity: str
    summary: str
    layers: tuple[str, ...] = ()
    first_step: int = 0
    last_step: int = 0
    evidence: tuple[Evidence, ...] = ()
    confidence: float = 1.0
    caused_by: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> frozenset[str]:
        """What `symptom_of` and knobs may call it: `"rule"`, and `"rule:kind"` where it is of a kind."""
        kind = self.details.get("kind")
        return frozenset({self.rule} if kind is None else {self.rule, f"{self.rule}:{kind}"})

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Finding":
        """The finding as `to_dict` wrote it."""
        evidence = tuple(Evidence(**item) for item in data["evidence"])
        return cls(**{**data, "layers": tuple(data["layers"]), "evidence": evidence})

    def to_dict(self) -> dict[str, Any]:
        """The finding as plain JSON types."""
        return asdict(self)
