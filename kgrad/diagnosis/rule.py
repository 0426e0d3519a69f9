"""What a rule is: data plus one pure function, found by walking `kgrad.diagnosis.rules`."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from kgrad.diagnosis.finding import Finding
from kgrad.errors import UnknownRuleError
from kgrad.log.run_log import RunLog

Check = Callable[[RunLog], Finding | None]


class NotApplicable(Exception):
    """Raised by a rule that cannot judge this run; the message is the reason."""


@dataclass(frozen=True)
class Limit:
    """A number that a rule compares with, and where it comes from.

    Attributes:
        name: the limit's name.
        value: the number.
        unit: its unit; `"1"` for a ratio, `"share"` for a value from 0 to 1.
        source: the paper, or the reasoning or calibration, that it comes from.
    """

    name: str
    value: float
    unit: str
    source: str


@dataclass(frozen=True)
class Rule:
    """A rule: what it needs, what it compares with, and its check.

    Attributes:
        id: the failing state it looks for, as in `"vanishing-gradient"`.
        columns: the columns it must have; without one of them it is not applicable.
        optional: columns it reads where the run has them.
        limits: the numbers it compares with.
        symptom_of: ids of rules whose finding explains this one's, the likeliest first; `"rule:kind"` for one whose
            `details["kind"]` is that.
        check: the pure function.
        judged: when a run that still trains may be judged by it: `"at once"`, `"in time"` (what it sees may pass), or
            `"at the end"` (every run looks like that at first).
        last_resort: whether it is asked only where no other rule found a disease.
    """

    id: str
    columns: tuple[str, ...]
    optional: tuple[str, ...]
    limits: tuple[Limit, ...]
    symptom_of: tuple[str, ...]
    check: Check
    judged: str = "in time"
    last_resort: bool = False

    @property
    def title(self) -> str:
        """The id in words: `"Vanishing gradient"`."""
        return self.id.replace("-", " ").capitalize()

    @property
    def explanation(self) -> str:
        """The check's docstring: what it means, how it is measured, its blind spot."""
        return inspect.cleandoc(self.check.__doc__ or "")

    @property
    def meaning(self) -> str:
        """The first paragraph of the explanation."""
        return self.explanation.split("\n\n")[0].replace("\n", " ")


def rule(
    *,
    columns: tuple[str, ...],
    optional: tuple[str, ...] = (),
    limits: tuple[Limit, ...] = (),
    symptom_of: tuple[str, ...] = (),
    judged: str = "in time",
    last_resort: bool = False,
) -> Callable[[Check], Rule]:
    """Makes a `Rule` of a check function; the rule's id is the function's name."""

    def make(check: Check) -> Rule:
        rule_id = check.__name__.replace("_", "-")
        return Rule(rule_id, columns, optional, limits, symptom_of, check, judged, last_resort)

    return make


@cache
def all_rules() -> tuple[Rule, ...]:
    """Every rule in `kgrad.diagnosis.rules`, by id."""
    from kgrad.diagnosis import rules

    found = []
    for module in pkgutil.iter_modules(rules.__path__):
        content = vars(importlib.import_module(f"{rules.__name__}.{module.name}"))
        found += [value for value in content.values() if isinstance(value, Rule)]
    return tuple(sorted(found, key=lambda each: each.id))


def find_rule(rule_id: str) -> Rule:
    """The rule with the given id.

    Raises:
        UnknownRuleError: there is none; the message lists those there are.
    """
    for each in all_rules():
        if each.id == rule_id:
            return each
    known = ", ".join(each.id for each in all_rules())
    raise UnknownRuleError(f"there is no rule {rule_id!r}; the rules are: {known}")
