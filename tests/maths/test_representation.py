from math import sqrt

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_samples import random_layers

from distributed_kd.maths import representation

PROJECTED = (4, 3, 3, 2)
"""Shape of a student's layer where it is to have the teacher's size"""
LOSSES = {
    "hint": lambda s, t: representation.hint(s.repeat(1, 3, 1, 1)[:, :3], t),  # any linear projection to the size of t
    "attention": representation.attention,
    "relational": representation.relational,
    "similarity": representation.similarity,
}
EVERY_LOSS = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
EVERY_LOSS_AS_IT_IS = pytest.mark.parametrize("loss", [getattr(representation, name) for name in LOSSES])


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def test_hint_by_hand():
    # 2^2 + 1^2 = 5 and 1 + 1 = 2
    layers = tensor([[1.0, 2.0], [0.0, 0.0]]), tensor([[3.0, 1.0], [1.0, 1.0]])
    assert representation.hint(*layers).item() == 3.5
    # (.5 * 5 + 1.5 * 2) / 2
    assert representation.hint(*layers, tensor([0.5, 1.5])).item() == 2.75
    images = (layer.reshape(2, 2, 1, 1) for layer in layers)
    assert representation.hint(*images).item() == 3.5


def test_attention_by_hand():
    student = tensor([[[[2.0, 0.0]]]] * 2)
    # Channels (1, 1) and (1, -1): the mean square is (1, 1), of length sqrt 2. The student's map is (1, 0).
    teacher = tensor([[[[1.0, 1.0]], [[1.0, -1.0]]], [[[5.0, 0.0]], [[0.0, 0.0]]]])
    # ((1 - 1/sqrt 2)^2 + 1/2) / 2 = 1 - 1/sqrt 2 for the first state, 0 for the second.
    expected = 1 - 1 / sqrt(2)
    assert representation.attention(student, teacher).item() == pytest.approx(expected / 2)
    assert representation.attention(student, teacher, tensor([1.5, 0.5])).item() == pytest.approx(0.75 * expected)


# A right angle and a straight line.
CORNER, LINE = tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), tensor([[0.0], [1.0], [2.0]])


def test_relational_distances_by_hand():
    # Distances 1, 1, sqrt 2 of mean (2 + sqrt 2) / 3, and 1, 2, 1 of mean 4/3, come to (side, side, long) and
    # (.75, 1.5, .75). All differ by less than 1; each pair stands twice among nine: 2 * 1/2 * squares / 9.
    side, long = 3 / (2 + sqrt(2)), 3 * sqrt(2) / (2 + sqrt(2))
    expected = ((side - 0.75) ** 2 + (side - 1.5) ** 2 + (long - 0.75) ** 2) / 9
    assert representation.relational(CORNER, LINE, angle_weight=0.0).item() == pytest.approx(25 * expected)
    assert representation.relational(CORNER, LINE, 3.0, 0.0).item() == pytest.approx(3 * expected)


def test_relational_angles_by_hand():
    # Cosines 0, 1/sqrt 2, 1/sqrt 2 at the three corners, and 1, -1, 1 on the line, differ by 1, 1 + 1/sqrt 2 and
    # 1 - 1/sqrt 2: smooth L1 1/2, (1 + 1/sqrt 2) - 1/2 and (1 - 1/sqrt 2)^2 / 2, in all 1.75. Each angle stands twice
    # among 27; where both its sides are one the cosine is 1 for both.
    assert representation.relational(CORNER, LINE, 0.0).item() == pytest.approx(50 * 2 * 1.75 / 27)
    assert representation.relational(CORNER, LINE, 0.0, 2.0).item() == pytest.approx(2 * 2 * 1.75 / 27)


def test_relational_angles_are_those_of_the_first_rows():
    far = torch.cat([CORNER, tensor([[5.0, 9.0]])]), torch.cat([LINE, tensor([[-7.0]])])
    expected = representation.relational(CORNER, LINE, 0.0)
    torch.testing.assert_close(representation.relational(*far, 0.0, angle_rows=3), expected)
    assert (representation.relational(*far, 0.0) - expected).abs() > 0.1


def test_similarity_by_hand():
    # G is the identity, and all ones over sqrt 2: each row differs by (1 - 1/sqrt 2)^2 + 1/2 = 2 - sqrt 2; two rows / 4.
    loss = representation.similarity(tensor([[3.0, 0.0], [0.0, 2.0]]), tensor([[1.0], [1.0]]))
    assert loss.item() == pytest.approx((2 - sqrt(2)) / 2)


@EVERY_LOSS
def test_gradients_agree_with_finite_differences(loss):
    student, teacher = random_layers()
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher), (student.requires_grad_(),))


def test_gradients_agree_with_finite_differences_under_weights():
    student, teacher = random_layers(student=PROJECTED)
    weight = tensor([0.0, 2.0, 1.5, 0.5])
    for loss in (representation.hint, representation.attention):
        assert torch.autograd.gradcheck(lambda s, loss=loss: loss(s, teacher, weight), (student.requires_grad_(),))


def test_the_gradient_of_hint_by_formula():
    student, teacher = random_layers(student=PROJECTED)
    representation.hint(student.requires_grad_(), teacher).backward()
    torch.testing.assert_close(student.grad, 2 * (student.detach() - teacher) / 4)


@EVERY_LOSS_AS_IT_IS
def test_a_student_that_sees_as_the_teacher_does_has_nothing_to_learn(loss):
    _, teacher = random_layers()
    student = teacher.clone().requires_grad_()
    value = loss(student, teacher)
    value.backward()
    assert value.item() == pytest.approx(0.0, abs=1e-12)
    torch.testing.assert_close(student.grad, torch.zeros_like(student))


@pytest.mark.parametrize("loss", [representation.hint, representation.attention])
def test_weights_multiply_the_loss_of_their_states(loss):
    student, teacher = random_layers(student=PROJECTED)
    alone = torch.stack([loss(student[i : i + 1], teacher[i : i + 1]) for i in range(4)])
    weight = tensor([0.0, 2.0, 1.5, 0.5]).requires_grad_()
    torch.testing.assert_close(loss(student, teacher, weight), (weight.detach() * alone).mean())
    assert not loss(student, teacher, weight).requires_grad
    assert torch.equal(loss(student, teacher, torch.ones(4, dtype=torch.float64)), loss(student, teacher))
    with pytest.raises(AssertionError):
        loss(student, teacher, torch.ones(4, 1))


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**31), batch=st.integers(2, 6), scale=st.sampled_from([1e-3, 1.0, 100.0]))
def test_what_does_not_matter_between_layers(seed, batch, scale):
    student, teacher = random_layers(seed, (batch, 3, 3, 2), (batch, 3, 3, 2))
    generator = torch.Generator().manual_seed(seed)
    states = torch.randperm(batch, generator=generator)
    expected = {name: getattr(representation, name)(student, teacher) for name in LOSSES}
    for name, value in expected.items():
        assert value >= 0
        torch.testing.assert_close(getattr(representation, name)(student[states], teacher[states]), value)
    for name in ("attention", "relational", "similarity"):
        loss = getattr(representation, name)
        torch.testing.assert_close(loss(scale * student, teacher), expected[name])
        torch.testing.assert_close(loss(student, scale * teacher), expected[name])
        channels = torch.randperm(3, generator=generator)
        torch.testing.assert_close(loss(student[:, channels], teacher), expected[name])
    torch.testing.assert_close(representation.relational(student + scale, teacher), expected["relational"])
    rotation = torch.linalg.qr(torch.randn(18, 18, dtype=torch.float64, generator=generator)).Q
    for name in ("relational", "similarity"):
        turned = getattr(representation, name)(student.flatten(1) @ rotation, teacher)
        torch.testing.assert_close(turned, expected[name])


SOME = random_layers(seed=3)[0].float()
ODD_LAYERS = {
    "dead units": torch.zeros_like(SOME),
    "identical rows": torch.ones_like(SOME),
    "one dead row": SOME * torch.tensor([0.0, 1.0, 1.0, 1.0])[:, None, None, None],
    "one state twice": SOME[[0, 1, 1, 2]],
    "one state twice but for rounding": SOME[[0, 1, 1, 2]] * torch.tensor([1.0, 1.0, 1 + 2**-22, 1.0])[:, None, None, None],
    "large": 1e4 * SOME,
}


@EVERY_LOSS
@pytest.mark.parametrize("layer", ODD_LAYERS.values(), ids=ODD_LAYERS.keys())
def test_layers_of_any_kind_give_a_gradient_to_learn_from(loss, layer):
    teacher = random_layers()[1].float()
    student = layer.clone().requires_grad_()
    value = loss(student, teacher)
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(student.grad).all()
    # Nothing is divided by a length that is as good as zero.
    assert student.grad.abs().max() < 1e5
    assert torch.isfinite(loss(teacher[:, :2], layer.repeat(1, 2, 1, 1)[:, :3]))


@pytest.mark.parametrize(
    ("student", "teacher", "why"),
    [
        ((4, 6), (4, 3, 3, 2), "convolutional"),
        ((4, 2, 3, 2), (4, 6), "convolutional"),
        ((4, 2, 3, 2), (4, 2, 2, 3), "height and width"),
        ((4, 2, 3, 2), (1, 2, 3, 2), "batch"),
    ],
)
def test_attention_refuses_what_has_no_common_places(student, teacher, why):
    with pytest.raises(AssertionError, match=why):
        representation.attention(torch.ones(student), torch.ones(teacher))


@pytest.mark.parametrize("loss", [representation.relational, representation.similarity])
def test_relations_need_two_states(loss):
    with pytest.raises(AssertionError, match="single state"):
        loss(torch.ones(1, 3), torch.ones(1, 5))


@EVERY_LOSS
def test_no_loss_reads_a_value_back_from_the_device(loss):
    # Tensors on "meta" hold no values: reading one, which would make a GPU wait, raises.
    assert loss(torch.empty(4, 2, 3, 2, device="meta"), torch.empty(4, 3, 3, 2, device="meta")).shape == ()


@EVERY_LOSS_AS_IT_IS
def test_mistake_3_a_loss_with_no_path_to_the_students_layer(loss):
    student, teacher = random_layers(student=PROJECTED, teacher=PROJECTED)
    loss(student.requires_grad_(), teacher).backward()
    assert (student.grad.flatten(1).abs().sum(dim=-1) > 1e-3).all()


@pytest.mark.parametrize("loss", [representation.hint, representation.attention])
def test_mistake_4_a_sum_over_the_batch(loss):
    student, teacher = random_layers(student=PROJECTED, teacher=PROJECTED)
    alone = torch.stack([loss(student[i : i + 1], teacher[i : i + 1]) for i in range(len(student))])
    torch.testing.assert_close(loss(student, teacher), alone.mean())


def test_mistake_5_a_mean_that_also_divides_by_the_number_of_features():
    student, teacher = (layer.flatten(1) for layer in random_layers(student=PROJECTED, teacher=PROJECTED))
    agreed = torch.ones(4, 18, dtype=student.dtype)
    more = representation.hint(torch.cat([student, agreed], dim=-1), torch.cat([teacher, agreed], dim=-1))
    torch.testing.assert_close(more, representation.hint(student, teacher))


@EVERY_LOSS_AS_IT_IS
@pytest.mark.parametrize("shape", [(1, 3, 3, 2), (3, 3, 3, 2), (4,), ()])
def test_mistake_7_layers_that_broadcast_in_silence(loss, shape):
    for layers in ((torch.randn(PROJECTED), torch.randn(shape)), (torch.randn(shape), torch.randn(PROJECTED))):
        with pytest.raises(AssertionError):
            loss(*layers)


def test_mistake_7_a_projection_that_broadcasts_in_silence():
    with pytest.raises(AssertionError):
        representation.hint(torch.randn(4, 1), torch.randn(4, 5))


@EVERY_LOSS_AS_IT_IS
def test_mistake_8_a_teachers_layer_whose_gradient_is_not_cut(loss):
    student, teacher = (layer.requires_grad_() for layer in random_layers(student=PROJECTED, teacher=PROJECTED))
    loss(student, teacher).backward()
    assert teacher.grad is None
    assert student.grad.abs().sum() > 0
