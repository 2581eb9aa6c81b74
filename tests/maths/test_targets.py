from math import exp, log

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_samples import random_outputs, softmax

from distributed_kd.maths import targets

L3 = log(3)  # softmax([log 3, 0]) = (3/4, 1/4)
QUARTERS = torch.tensor([[0.5 * L3, 0.0]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("smoothing", "expected"),
    # .8 * 3/4 + .2 / 2 and .8 * 1/4 + .2 / 2; the smallest number there is, halved, would be 0 and have no logarithm
    [(0.0, [0.75, 0.25]), (5e-324, [0.75, 0.25]), (0.2, [0.7, 0.3]), (1.0, [0.5, 0.5])],
)
def test_targets_by_hand(smoothing, expected):
    assert targets.log_target(QUARTERS, 0.5, smoothing).exp().tolist() == [pytest.approx(expected)]


def test_targets_at_a_low_temperature_keep_what_is_left_of_every_action():
    teacher_q = torch.tensor([[100.0, 99.0, 0.0]])
    # Untouched, log-odds of 1 / .01 and 100 / .01; smoothed, .999 + .001 / 3 on the best and .001 / 3 on the others.
    torch.testing.assert_close(targets.log_target(teacher_q, 0.01), torch.tensor([[0.0, -100.0, -10000.0]]))
    smoothed = torch.tensor([[log(0.999 + 0.001 / 3), log(0.001 / 3), log(0.001 / 3)]])
    torch.testing.assert_close(targets.log_target(teacher_q, 0.01, 0.001), smoothed)


@pytest.mark.parametrize("smoothing", [-0.1, 1.1])
def test_smoothing_is_a_share(smoothing):
    with pytest.raises(AssertionError, match="share"):
        targets.log_target(QUARTERS, 1.0, smoothing)


def test_entropies_by_hand():
    teacher_q = torch.tensor([[1.0, 1.0], [0.5 * L3, 0.0], [100.0, 0.0]])
    # log 2 of (1/2, 1/2); 3/4 log(4/3) + 1/4 log 4 of (3/4, 1/4); 0 of one-hot
    expected = torch.tensor([log(2), 0.75 * log(4 / 3) + 0.25 * log(4), 0.0])
    torch.testing.assert_close(targets.entropies(teacher_q, 0.5), expected)
    torch.testing.assert_close(targets.target_entropy(teacher_q, 0.5), expected.sum() / 3)


def test_action_gap_by_hand():
    q = torch.tensor([[1.0, 5.0, 3.0], [2.0, 2.0, 0.0], [-1.0, -4.0, -2.0]])
    torch.testing.assert_close(targets.action_gap(q), torch.tensor([2.0, 0.0, 1.0]))


@pytest.mark.parametrize("gap", [0.01, 6.0, 1e4])
def test_auto_temperature_makes_a_mean_gap_twenty_to_one(gap):
    temperature = targets.auto_temperature(torch.tensor(gap))
    assert temperature.shape == () and temperature.item() == pytest.approx(gap / 3)
    best, second = softmax(torch.tensor([gap, 0.0]) / temperature).tolist()
    assert best / second == pytest.approx(exp(3), rel=1e-4)  # e^3 = 20.1


def test_auto_temperature_of_a_teacher_without_gaps_can_be_divided_by():
    teacher_q = torch.full((4, 3), 100.0)
    temperature = targets.auto_temperature(targets.action_gap(teacher_q).mean())
    assert temperature.item() == pytest.approx(targets.SMALLEST_TEMPERATURE)
    assert targets.target_entropy(teacher_q, temperature).item() == pytest.approx(log(3))


def test_auto_temperature_refuses_a_gap_for_each_row():
    with pytest.raises(AssertionError):
        targets.auto_temperature(torch.ones(4))


# Greedy actions 1 0 1 0 and 1 1 1 0.
A = torch.tensor([[1.0, 2.0], [3.0, 1.0], [0.0, 9.0], [5.0, 4.0]])
B = torch.tensor([[0.1, 0.2], [0.1, 0.2], [-2.0, -1.0], [70.0, 0.0]])


def test_agreement_by_hand():
    assert targets.agreement(A, B).item() == 0.75
    # The gaps of A are 1, 2, 9 and 1: all but the second count, 11 of 13.
    assert targets.agreement(A, B, targets.action_gap(A)).item() == pytest.approx(11 / 13)


def test_agreement_with_weights_that_say_nothing_is_the_plain_share():
    for weight in (torch.ones(4), torch.full((4,), 3.5), torch.zeros(4)):
        assert targets.agreement(A, B, weight).item() == 0.75
    assert targets.agreement(A, B, torch.ones(4, dtype=torch.float64)).dtype == torch.float32


@pytest.mark.parametrize("shape", [(4,), (4, 1), (2, 4, 3)])
def test_measures_refuse_what_is_not_a_batch_of_two_actions_or_more(shape):
    q = torch.zeros(shape)
    for measure in (
        lambda: targets.log_target(q, 1.0),
        lambda: targets.entropies(q, 1.0),
        lambda: targets.target_entropy(q, 1.0),
        lambda: targets.action_gap(q),
        lambda: targets.importance(q, 1.0, "entropy"),
        lambda: targets.importance(q, 1.0, "action_gap"),
        lambda: targets.agreement(q, q),
    ):
        with pytest.raises(AssertionError):
            measure()


@pytest.mark.parametrize("shape", [(), (1,), (4, 1), (1, 4)])
def test_weights_that_would_broadcast_in_silence_are_refused(shape):
    for weighted in (
        lambda weight: targets.agreement(A, B, weight),
        lambda weight: targets.batch_mean(torch.ones(4), weight),
    ):
        with pytest.raises(AssertionError):
            weighted(torch.ones(shape))
    with pytest.raises(AssertionError):
        targets.batch_mean(torch.ones(4, 1), torch.ones(4, 1))


def test_batch_mean_by_hand():
    assert targets.batch_mean(torch.tensor([1.0, 5.0])).item() == 3.0
    # (.5 * 1 + 1.5 * 5) / 2
    assert targets.batch_mean(torch.tensor([1.0, 5.0]), torch.tensor([0.5, 1.5])).item() == 4.0


def test_importance_by_hand():
    teacher_q = torch.tensor([[0.0, 0.0], [2.0, 0.0], [1.0, 2.0]])
    # Gaps 0, 2 and 1, whose mean is 1.
    torch.testing.assert_close(targets.importance(teacher_q, 0.01, "action_gap"), torch.tensor([0.0, 2.0, 1.0]))
    # Entropies log 2, 0 and 0: 1 / .7931 = 1.2608, 10 and 10, whose mean is 7.0869.
    unsure, sure = 1 / (log(2) + 0.1), 10.0
    expected = torch.tensor([unsure, sure, sure]) / ((unsure + 2 * sure) / 3)
    torch.testing.assert_close(targets.importance(teacher_q, 0.01, "entropy"), expected)


def test_no_state_is_more_important_where_no_action_is_better():
    alike = torch.full((3, 4), 100.0)
    for kind in ("entropy", "action_gap"):
        torch.testing.assert_close(targets.importance(alike, 0.01, kind), torch.ones(3))


def test_importance_refuses_a_kind_that_it_does_not_know():
    with pytest.raises(AssertionError, match="margin"):
        targets.importance(torch.zeros(2, 2), 1.0, "margin")


BATCHES = {
    "seed": st.integers(0, 2**31),
    "batch": st.integers(1, 6),
    "actions": st.integers(2, 6),
    "scale": st.sampled_from([0.0, 1e-3, 1.0, 100.0]),
    "temperature": st.sampled_from([0.01, 1.0, 10.0]),
}


@settings(deadline=None, max_examples=50)
@given(**BATCHES, smoothing=st.floats(0, 1), kind=st.sampled_from(["entropy", "action_gap"]))
def test_properties_of_targets(seed, batch, actions, scale, temperature, smoothing, kind):
    a, b = random_outputs(seed, batch, actions, scale)
    p = targets.log_target(a, temperature, smoothing).exp()
    torch.testing.assert_close(p.sum(dim=-1), torch.ones(batch, dtype=p.dtype))
    torch.testing.assert_close(p, (1 - smoothing) * softmax(a / temperature) + smoothing / actions)
    entropies = targets.entropies(a, temperature)
    assert (entropies >= -1e-12).all() and (entropies <= log(actions) + 1e-12).all()
    weight = targets.importance(a, temperature, kind)
    assert (weight >= 0).all() and weight.mean().item() == pytest.approx(1)
    if kind == "entropy":
        assert (weight.max() / weight.min()).item() <= 1 + log(actions) / targets.LEAST_ENTROPY + 1e-9
    assert 0 <= targets.agreement(a, b, weight) <= 1 + 1e-6
    order = torch.randperm(batch, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(targets.importance(a[order], temperature, kind), weight[order])
    torch.testing.assert_close(targets.agreement(a[order], b[order], weight[order]), targets.agreement(a, b, weight))


def test_fusion_by_hand():
    q = torch.tensor([[[4.0, 0.0]], [[0.0, 2.0]]])
    # (3 * 4 + 0) / 4 and (0 + 2) / 4
    assert targets.mean_of(q, torch.tensor([3.0, 1.0])).tolist() == [[3.0, 0.5]]
    # Policies (3/4, 1/4) and (1/4, 3/4): 9/16 + 1/16 = 5/8 and 3/16 + 3/16 = 3/8
    policies = torch.tensor([[[0.5 * L3, 0.0]], [[0.0, 0.5 * L3]]])
    fused = targets.log_sum_exp_of(policies, torch.tensor([3.0, 1.0]), 0.5)
    torch.testing.assert_close(fused, 0.5 * torch.tensor([[log(5 / 8), log(3 / 8)]]))


@settings(deadline=None, max_examples=50)
@given(**BATCHES, teachers=st.integers(1, 4), factor=st.sampled_from([0.01, 1.0, 7.0]))
def test_properties_of_fusion(seed, batch, actions, scale, temperature, teachers, factor):
    generator = torch.Generator().manual_seed(seed)
    q = scale * torch.randn(teachers, batch, actions, dtype=torch.float64, generator=generator)
    weight = torch.rand(teachers, dtype=torch.float64, generator=generator) + 1e-3
    share = (weight / weight.sum())[:, None, None]
    mean, fused = targets.mean_of(q, weight), targets.log_sum_exp_of(q, weight, temperature)
    torch.testing.assert_close(softmax(fused / temperature), (share * softmax(q / temperature)).sum(dim=0))
    torch.testing.assert_close(targets.mean_of(q, factor * weight), mean)
    torch.testing.assert_close(targets.log_sum_exp_of(q, factor * weight, temperature), fused)
    # Teachers that all say the same are that teacher, and one that alone has weight is heard alone.
    alone = torch.zeros_like(weight)
    alone[-1] = factor
    for teacher, several, heard in ((q[0], q[:1].expand_as(q), weight), (q[-1], q, alone)):
        torch.testing.assert_close(targets.mean_of(several, heard), teacher)
        together = targets.log_sum_exp_of(several, heard, temperature)
        torch.testing.assert_close(softmax(together / temperature), softmax(teacher / temperature))


def test_fusion_of_teachers_that_are_sure_of_different_actions_stays_finite():
    q = torch.tensor([[[100.0, 0.0, 0.0]], [[0.0, 100.0, 0.0]]], requires_grad=True)
    fused = targets.log_sum_exp_of(q, torch.ones(2), 0.01)
    torch.testing.assert_close(softmax(fused.detach() / 0.01), torch.tensor([[0.5, 0.5, 0.0]]))
    fused.sum().backward()
    assert torch.isfinite(q.grad).all()


@pytest.mark.parametrize("fusion", [targets.mean_of, lambda q, weight: targets.log_sum_exp_of(q, weight, 1.0)])
def test_fusion_refuses_shapes_that_broadcast_in_silence(fusion):
    for q, weight in ((torch.ones(2, 3), torch.ones(2)), (torch.ones(2, 3, 4), torch.ones(1)), (torch.ones(2, 2, 2), A)):
        with pytest.raises(AssertionError):
            fusion(q, weight)


def test_nothing_is_read_back_from_the_device():
    # Tensors on "meta" hold no values: reading one, which would make a GPU wait, raises.
    q, weight = torch.empty(2, 4, 3, device="meta"), torch.empty(2, device="meta")
    temperature = targets.auto_temperature(targets.action_gap(q[0]).mean())
    assert targets.target_entropy(q[0], temperature).shape == ()
    for kind in ("entropy", "action_gap"):
        assert targets.agreement(q[0], q[1], targets.importance(q[0], temperature, kind)).shape == ()
    assert targets.mean_of(q, weight).shape == targets.log_sum_exp_of(q, weight, temperature).shape == (4, 3)


def test_what_is_made_of_a_teacher_carries_no_gradient_to_it():
    teacher_q = random_outputs()[1].requires_grad_()
    weight = torch.rand(5, requires_grad=True)
    assert not targets.log_target(teacher_q, 0.5, 0.1).requires_grad
    assert not targets.entropies(teacher_q, 0.5).requires_grad
    assert not targets.agreement(teacher_q, teacher_q, weight).requires_grad
    for kind in ("entropy", "action_gap"):
        assert not targets.importance(teacher_q, 0.5, kind).requires_grad
