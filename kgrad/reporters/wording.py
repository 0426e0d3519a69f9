"""Names and numbers as a page can show them: names are hostile until proven otherwise."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from kgrad.log.structure import Structure

# Controls, and the marks that turn the direction of the text after them (Unicode TR 9, "Trojan Source").
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_LONGEST_NAME = 60


def visible(text: str) -> str:
    r"""The text with each character that would be unseen, or would reorder others, made a visible mark.

    >>> visible("dense\u202e")
    'dense�'
    """
    return _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", text)


def clip(text: str, longest: int = _LONGEST_NAME) -> str:
    """The visible text, with its middle left out where it is longer than `longest`.

    >>> clip("encoder/block_12/attention/query", 15)
    'encoder…n/query'
    """
    shown = visible(text)
    if len(shown) <= longest:
        return shown
    half = (longest - 1) // 2
    return f"{shown[: longest - 1 - half]}…{shown[-half:]}"


def number(value: float) -> str:
    """Three digits, as a power of ten where that reads better.

    >>> number(0.25), number(1234.0), number(3.21e-5), number(float("nan"))
    ('0.25', '1,234', '3.2·10⁻⁵', 'not finite')
    """
    if not math.isfinite(value):
        return "not finite"
    if value == 0 or 1e-3 <= abs(value) < 1e3:
        return f"{value:.3g}"
    if abs(value) < 1e6 and abs(value) >= 1e3:
        return f"{value:,.0f}"
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    digits = mantissa.removesuffix(".0")
    return f"{digits}·10{str(int(exponent)).translate(_RAISED)}"


def brief(value: float) -> str:
    """Two digits, three from ten on: for a glance.

    >>> brief(99.94), brief(0.0635), brief(146.0), brief(-0.1301)
    ('99.9', '0.064', '146', '−0.13')
    """
    rounded = float(f"{value:.1e}") if abs(value) < 10 else value
    return number(rounded).replace("-", "\N{MINUS SIGN}")


def title_of(rule_id: str) -> str:
    """A rule's id in words.

    >>> title_of("vanishing-gradient")
    'Vanishing gradient'
    """
    return clip(rule_id.replace("-", " ").capitalize())


def measured(value: float | None, unit: str) -> str:
    """A number with its unit.

    >>> measured(0.25, "share"), measured(3.0, "decades"), measured(1200, "step"), measured(None, "1")
    ('25 %', '3 decades', 'step 1,200', '')
    """
    if value is None:
        return ""
    if unit == "step" and math.isfinite(value):
        return f"step {value:,.0f}"
    if unit == "share":
        return f"{number(100 * value)} %" if math.isfinite(value) else number(value)
    return number(value) if unit == "1" or not math.isfinite(value) else f"{number(value)} {clip(unit, 30)}"


def steps_between(first: int, last: int) -> str:
    """A span of steps in words.

    >>> steps_between(10, 1200), steps_between(4, 4)
    ('steps 10 to 1,200', 'step 4')
    """
    return f"step {first:,}" if first == last else f"steps {first:,} to {last:,}"


def counted(count: int, noun: str) -> str:
    """A count with its noun.

    >>> counted(1, "layer"), counted(1200, "layer")
    ('1 layer', '1,200 layers')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


@dataclass(frozen=True)
class Names:
    """Short names for the layers of one model, also inside sentences that rules wrote.

    Attributes:
        long: the names that are too long or unsafe to show as they are.
    """

    long: tuple[str, ...]

    @classmethod
    def of(cls, structure: Structure) -> "Names":
        """The names of a model's layers and variables, the longest first."""
        names = {structure.name, *(layer.name for layer in structure.layers)}
        names |= {variable.name for variable in structure.variables}
        return cls(tuple(sorted((name for name in names if clip(name) != name), key=len, reverse=True)))

    def sentence(self, text: str, longest: int = 2000) -> str:
        """The sentence with each long name clipped."""
        for name in self.long:
            text = text.replace(name, clip(name))
        return clip(text, longest)

    def some(self, names: Sequence[str], most: int = 4) -> str:
        """A few of the names in words; `"the whole model"` for none."""
        if not names:
            return "the whole model"
        shown = ", ".join(clip(name) for name in names[:most])
        rest = len(names) - most
        return shown if rest <= 0 else f"{shown} and {counted(rest, 'more layer')}"
