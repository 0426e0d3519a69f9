"""Which settings differ between runs, and which of them say the same."""

from collections.abc import Sequence

from kgrad.comparison.flatten import Setting
from kgrad.comparison.summary import RunSummary

# What often follows from other settings: named only where nothing else tells the same runs apart.
_DERIVED = ("parameters", "steps_per_epoch", "layers", "output_initializer", "output_activation")


def key_of(value: Setting) -> str:
    """The same word for equal settings only: `True` is not `1`, but `1.0` is.

    >>> key_of(1) == key_of(1.0), key_of(True) == key_of(1), key_of("1") == key_of(1)
    (True, False, False)
    """
    return repr(int(value)) if isinstance(value, float) and value.is_integer() else repr(value)


def values_of(runs: Sequence[RunSummary], name: str) -> tuple[Setting, ...]:
    """The setting of every run, `None` where a run has none of that name."""
    return tuple(run.settings.get(name) for run in runs)


def differing(runs: Sequence[RunSummary]) -> tuple[str, ...]:
    """Names of the settings that are not the same in all readable runs, in the order the runs give them.

    What follows from others (parameters, the output layer's initializer) is left out where the other settings
    already tell the same runs apart.
    """
    judged = [run for run in runs if run.settings]
    names = dict.fromkeys(name for run in judged for name in run.settings)
    found = [name for name in names if len(set(map(key_of, values_of(judged, name)))) > 1]
    for name in _DERIVED:
        others = [other for other in found if other != name]
        if name in found and _parts(judged, others) == _parts(judged, found):
            found = others
    return tuple(found)


def aliases(runs: Sequence[RunSummary], names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """For each setting the others that split the runs in exactly the same way: no data can tell these apart."""
    split = {name: _split(runs, name) for name in names}
    return {name: tuple(other for other in names if other != name and split[other] == split[name]) for name in names}


def independent(runs: Sequence[RunSummary], names: Sequence[str]) -> tuple[str, ...]:
    """The settings without those that split the runs just as an earlier one does."""
    judged = [run for run in runs if run.settings]
    first: dict[tuple[int, ...], str] = {}
    for name in names:
        first.setdefault(_split(judged, name), name)
    return tuple(first.values())


def in_words(name: str, value: Setting) -> str:
    """A setting as part of a sentence.

    >>> in_words("activation", "sigmoid"), in_words("clipnorm", 1.0), in_words("clipnorm", None)
    ('sigmoid', 'clipnorm 1', 'no clipnorm')
    >>> in_words("amsgrad", True)
    'amsgrad on'
    """
    if value is None:
        return f"no {name}"
    if isinstance(value, bool):
        return f"{name} {'on' if value else 'off'}"
    if isinstance(value, str) and value and not value[0].isdigit() and "." not in name:
        return value
    return f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"


def _parts(runs: Sequence[RunSummary], names: Sequence[str]) -> int:
    return len({tuple(key_of(run.settings.get(name)) for name in names) for run in runs})


def _split(runs: Sequence[RunSummary], name: str) -> tuple[int, ...]:
    """The runs' values as numbers in the order of first appearance: equal for settings that split alike."""
    seen: dict[str, int] = {}
    return tuple(seen.setdefault(key_of(value), len(seen)) for value in values_of(runs, name))
