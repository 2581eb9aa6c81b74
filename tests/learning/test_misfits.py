"""Losses that a student's layers, its teacher's or the actions do not allow: what a person reads before a run begins."""

import pytest

from distributed_kd.learning.objective import misfits
from distributed_kd.student_config import LossConfig


def lines(terms, shapes=((8,), (6,)), teacher_shapes=((12,),), actions=3):
    return [str(problem) for problem in misfits("students.a.losses", terms, shapes, teacher_shapes, actions)]


TWO_ACTIONS = (
    "too few actions (students.a.losses=dkd): dkd parts the best action from the others, and with two actions there is one "
    "other. Use kl or kl_hinton"
)
NO_ATTENTION = "no attention (students.a.losses=attention): the {} not convolutional, and attention compares maps "
NO_ATTENTION += "of an image. Use hint, relational or similarity"


@pytest.mark.parametrize(
    ("term", "given", "expected"),
    [
        (LossConfig("dkd"), {"actions": 2}, [TWO_ACTIONS]),
        (LossConfig("hard_soft", soft="dkd"), {"actions": 2}, [TWO_ACTIONS]),
        (LossConfig("hard_soft", hard="dkd"), {"actions": 2}, [TWO_ACTIONS]),
        (LossConfig("hint", layer=2), {}, ["no such layer (students.a.losses=hint, layer 2): the student has 2 hidden "
                                           "layers. Choose layer from -2 to 1"]),
        (LossConfig("similarity", teacher_layer=-2), {}, [
            "no such layer (students.a.losses=similarity, teacher_layer -2): the teacher has 1 hidden layer. Choose "
            "teacher_layer from -1 to 0"]),
        (LossConfig("relational"), {"shapes": (), "teacher_shapes": ()}, [
            "no such layer (students.a.losses=relational, layer -1): the student has 0 hidden layers. Give it hidden layers",
            "no such layer (students.a.losses=relational, teacher_layer -1): the teacher has 0 hidden layers. Give it "
            "hidden layers"]),
        (LossConfig("attention"), {}, [NO_ATTENTION.format("student's and the teacher's layers are")]),
        (LossConfig("attention"), {"shapes": ((3, 5, 5),)}, [NO_ATTENTION.format("teacher's layer is")]),
        (LossConfig("attention"), {"teacher_shapes": ((3, 5, 5),)}, [NO_ATTENTION.format("student's layer is")]),
        (LossConfig("attention"), {"shapes": ((3, 5, 4),), "teacher_shapes": ((9, 5, 6),)}, [
            "no attention (students.a.losses=attention): the maps are [5, 4] and [5, 6]. Choose layers of equal height and "
            "width"]),
    ],
)  # fmt: skip
def test_losses_that_do_not_fit_are_told(term, given, expected):
    assert lines([LossConfig(), term], **given) == expected


def test_losses_that_fit_are_not():
    assert lines([LossConfig("dkd"), *(LossConfig(name, layer=-2) for name in ("hint", "relational", "similarity"))]) == []
    assert lines([LossConfig(name) for name in ("kl", "value", "policy_gradient")], (), (), actions=2) == []
    assert lines([LossConfig("attention")], ((3, 5, 4),), ((8, 9, 9), (9, 5, 4))) == []
