"""One executable change, with the reason for it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from kgrad.diagnosis.finding import Evidence
from kgrad.prescription.effect import Effect


@dataclass(frozen=True)
class Prescription:
    """One change that answers one finding.

    Attributes:
        knob: what is turned: `"initializer"`, `"activation"`, `"clipping"`, `"learning_rate"`, ...
        target: what it is turned on: layer names, or `("optimizer",)`.
        before: the present setting, in words or code.
        after: the new setting, in words or code.
        why: one sentence.
        code: what to paste; lines that make layers stand under a comment that says so (see `snippet`).
        finding: id of the rule whose finding it answers.
        evidence: the numbers of this run behind it.
        settings: the change as data, for `kgrad.treatment`.
        conflicts_with: knobs of other prescriptions that pull the other way, in words.
        effect: what theory expects of it as a number; `None` where it gives none.
    """

    knob: str
    target: tuple[str, ...]
    before: str
    after: str
    why: str
    code: str
    finding: str
    evidence: tuple[Evidence, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    conflicts_with: tuple[str, ...] = ()
    effect: Effect | None = None

    @property
    def makes_optimizer(self) -> bool:
        """Whether its optimizer is another one, or begins anew with layers that were frozen until then."""
        thawed = any("trainable" in arguments for arguments in self.settings.get("layers", {}).values())
        return self.target == ("optimizer",) or "learning_rate" in self.settings or thawed

    @property
    def changes_loss(self) -> bool:
        """Whether the model is compiled with another loss, or with the same of other numbers."""
        return bool({"loss", "from_logits"} & self.settings.keys())

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Prescription":
        """The prescription as `to_dict` wrote it."""
        evidence = tuple(Evidence(**item) for item in data["evidence"])
        lists = {key: tuple(data[key]) for key in ("target", "conflicts_with")}
        effect = data.get("effect")  # a diagnosis written before 0.2 has none
        return cls(**{**data, **lists, "evidence": evidence, "effect": Effect(**effect) if effect else None})

    def to_dict(self) -> dict[str, Any]:
        """The prescription as plain JSON types."""
        return asdict(self)
