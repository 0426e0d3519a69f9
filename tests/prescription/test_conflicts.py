"""Two prescriptions that cannot both be followed say so, whatever their knobs are called."""

import pytest

from kgrad.prescription import Prescription
from kgrad.prescription.conflicts import with_conflicts
from kgrad.prescription.together import joined
from kgrad.treatment import TreatmentError, apply

from ..treatment.patients import sequential


def made(knob, target=("optimizer",), finding="a-rule", **settings):
    return Prescription(knob, target, "", f"{settings}", "", f"{settings}", finding, settings=settings)


RATE, FASTER = made("learning_rate", learning_rate=1e-4), made("learning_rate", learning_rate=0.1)
ADAM = made("optimizer", optimizer="Adam", learning_rate=1e-3)
TIGHT, WHOLE = made("clipping", clipnorm=1.0), made("clipping", global_clipnorm=2.0)
HE = made("initializer", ("first",), initializers={"first": {"kernel_initializer": '"he_normal"'}})
SELU = made("activation", ("first",), activation="selu", kernel_initializer='"lecun_normal"')
ELSEWHERE = made("activation", ("second",), activation="relu", kernel_initializer='"he_normal"')
FEWER, MORE = made("batch_size", ("fit",), batch_size=32), made("batch_size", gradient_accumulation_steps=4)


@pytest.mark.parametrize(
    ("one", "other", "rivals"),
    [
        (RATE, FASTER, True),
        (RATE, ADAM, True),
        (TIGHT, WHOLE, True),
        (HE, SELU, True),
        (HE, ELSEWHERE, False),
        (SELU, ELSEWHERE, False),
        (RATE, TIGHT, False),
    ],
)
def test_what_apply_refuses_together_is_said(one, other, rivals):
    said = with_conflicts((one, other))
    assert all(bool(each.conflicts_with) is rivals for each in said)
    if rivals:
        assert said[0].conflicts_with == (f"{other.knob}: {other.after} (for a-rule)",)
        with pytest.raises(TreatmentError, match="different values"):
            apply(sequential("sgd"), [one, other])
    else:
        apply(sequential("sgd"), [one, other])


def test_larger_and_smaller_batches_pull_in_opposite_directions():
    assert all(each.conflicts_with for each in with_conflicts((FEWER, MORE)))


def test_what_joins_several_is_no_rival_of_what_it_stands_for():
    joint = joined([RATE, HE], "why")
    other = made("learning_rate", finding="another-rule", learning_rate=0.1)
    said = with_conflicts((joint, RATE, SELU, other))
    assert [len(each.conflicts_with) for each in said] == [1, 1, 0, 2]
