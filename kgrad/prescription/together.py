"""Several changes as one prescription: the first answers to all causes, and how long to train."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from kgrad.diagnosis.diagnose import Diagnosis
from kgrad.diagnosis.finding import Finding, at_least
from kgrad.prescription.prescription import Prescription
from kgrad.prescription.snippet import sections, snippet
from kgrad.prescription.width import code_without, is_wider

# Knobs that are turned elsewhere than in the model, or on the data.
_ELSEWHERE = ("epochs", "learning_rate_schedule", "loss_scaling", "data_cleaning")
# Knobs that set the same things of a layer: of two that name one layer only the first is taken.
_ON_LAYERS = ("initializer", "activation", "normalization", "architecture", "regularization")
# What a training has one of; the lines that make it begin so.
_LOSS, _OPTIMIZER, _COMPILE = "loss = ", "optimizer = ", "model.compile("
_LAYER = "keras.layers."
_NO_LAYERS = ("optimizer", "fit", "weights")
_MANY = "{} causes hold at once, and each is enough to keep the run sick: they are answered together."


def together(
    offered: Sequence[Prescription],
    diagnosis: Diagnosis,
    further: Sequence[Prescription] = (),
    last: Callable[[Sequence[Prescription]], Prescription | None] | None = None,
) -> Prescription | None:
    """The first answer to each cause of medium or high severity, as one change; `None` for fewer than two.

    None of them alone makes the run well: each cause is enough to keep it sick. What two answers would set
    differently is left to the first of them.

    Args:
        offered: the prescriptions, the best first.
        diagnosis: whose causes they answer; what another finding causes is no cause.
        further: what the training needs besides to get far enough: part of the change if there is an answer.
        last: asked at last what goes with all that.
    """
    causes = {
        each.rule
        for each in diagnosis.findings
        if each.caused_by is None and (at_least(each.severity, "medium") or hides_harm(each, diagnosis))
    }
    firsts = {each.finding: each for each in reversed(offered) if each.finding in causes}
    parts: list[Prescription] = []
    for each in offered:
        if firsts.get(each.finding) is each and _fits(each, parts):
            parts.append(each)
    if not parts and offered and offered[0].knob == "epochs":  # a longer training may need other steps as well
        parts, further = [offered[0]], [each for each in further if each.target != ("fit",)]
    elif not parts and offered and _fits(offered[0], ()) and not is_wider(offered[0]):
        parts = [offered[0]]  # what slowed a run may leave it as much to do
    many = len(parts) > 1
    why = [_MANY.format(len(parts))] if many else [part.why for part in parts]
    if parts and parts[0].finding == offered[0].finding:
        answered = {part.finding for part in parts}
        for each in chain(further, _asked(last, parts)):
            if each.finding in answered and not any(_excludes(part, each) for part in parts):
                parts.append(each)
                why.append(each.why)
    return joined(parts, " ".join(why)) if len(parts) > 1 else None


def joined(parts: Sequence[Prescription], why: str) -> Prescription:
    """Several prescriptions as one, for the finding that the first of them answers."""
    places = tuple(dict.fromkeys(name for part in parts for name in part.target))
    layers = tuple(name for name in places if name not in _NO_LAYERS)
    return Prescription(
        knob="several",
        target=layers or places[:1],
        before="; ".join(part.before for part in parts),
        after="; ".join(part.after for part in parts),
        why=why,
        code=_code(parts),
        finding=parts[0].finding,
        evidence=tuple(seen for part in parts for seen in part.evidence[:1]),
        settings={"parts": [part.to_dict() for part in parts]},
        effect=next((part.effect for part in parts if part.effect is not None), None),
    )


def parts_of(prescriptions: Sequence[Prescription]) -> Iterator[Prescription]:
    """The prescriptions, and of one that joins several each of these."""
    for each in prescriptions:
        inside = each.settings.get("parts")
        yield from parts_of([Prescription.from_dict(part) for part in inside]) if inside else (each,)


def hides_harm(finding: Finding, diagnosis: Diagnosis) -> bool:
    """Whether a note may be a disease: how grave a finding is follows the loss, and the loss itself is the wrong one.

    Only what is nobody's symptom counts, such as gradients that the activations alone make vanish.
    """
    wrong = any(
        each.rule == "output-loss-mismatch" and at_least(each.severity, "medium") for each in diagnosis.findings
    )
    return wrong and finding.severity == "info" and bool(finding.details.get("root"))


def _asked(
    last: Callable[[Sequence[Prescription]], Prescription | None] | None, parts: Sequence[Prescription]
) -> Iterator[Prescription]:
    """What is asked for once the parts are known: nothing is asked before."""
    made = last(parts) if last is not None else None
    if made is not None:
        yield made


def _fits(one: Prescription, parts: Sequence[Prescription]) -> bool:
    """Whether it can be made beside the others, in code too: one optimizer, one change of each layer."""
    of_no_model = one.knob in _ELSEWHERE or one.target in (("fit",), ("weights",))  # trained weights have no code
    if of_no_model or set(one.settings) <= {"targets"}:
        return False
    return not any(one.knob == other.knob or _both_compile(one, other) or _share_layers(one, other) for other in parts)


def _share_layers(one: Prescription, other: Prescription) -> bool:
    """Whether both set the same things of a layer."""
    return one.knob in _ON_LAYERS and other.knob in _ON_LAYERS and bool(set(one.target) & set(other.target))


def _both_compile(one: Prescription, other: Prescription) -> bool:
    """Whether each of them makes an optimizer."""
    return one.makes_optimizer and other.makes_optimizer


def _excludes(part: Prescription, further: Prescription) -> bool:
    """Whether what is needed besides cannot be made beside this part: another optimizer, or layers it counts on."""
    counts_on_layers = part.knob == "architecture" and {"residual", "remove"} & part.settings.keys()
    if is_wider(further):
        return bool(counts_on_layers)
    return _both_compile(part, further) or (_share_layers(part, further) and not is_wider(part))


def _code(parts: Sequence[Prescription]) -> str:
    """One code: layers first, then loss and optimizer of the parts that change them, what they are for, and `fit`."""
    plain = list(parts_of(parts))
    of_model = [part for part in plain if part.target != ("fit",)]
    # A normalization's code shows the first of its layers as a pattern for all.
    printing = [part for part in of_model if not is_wider(part) and part.knob != "normalization"]
    printed = {name for part in printing if _prints_layers(part) for name in part.target}
    codes = [code_without(part, printed) if is_wider(part) else part.code for part in of_model]
    halves = [sections(code) for code in codes]
    definition = [line for first, _ in halves for line in first]
    lines = [(part, line) for part, (_, second) in zip(of_model, halves, strict=True) for line in second]
    saying = [part for part, line in lines if line.startswith(_LOSS)]
    changing = [part for part in saying if part.changes_loss]
    said = (changing or saying)[-1:]
    afterwards = [
        *_last(lines, _LOSS, said),
        *_last(lines, _OPTIMIZER, [part for part in of_model if part.makes_optimizer]),
        *(line for _, line in lines if not line.startswith((_LOSS, _OPTIMIZER, _COMPILE))),
        *_last(lines, _COMPILE, said),
        *(part.code for part in plain if part.target == ("fit",)),
    ]
    return snippet("\n".join(definition), "\n".join(afterwards))


def _prints_layers(part: Prescription) -> bool:
    return any(_LAYER in line for line in sections(part.code)[0])


def _last(lines: Sequence[tuple[Prescription, str]], start: str, preferred: Sequence[Prescription]) -> tuple[str, ...]:
    """The last line that begins so, one of these prescriptions if there is any; empty for no line."""
    found = [(part, line) for part, line in lines if line.startswith(start)]
    first = [line for part, line in found if any(part is each for each in preferred)]
    return tuple((first or [line for _, line in found])[-1:])
