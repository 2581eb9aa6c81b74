from math import sqrt

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distributed_kd.maths import policy_gradient as pg


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def random_steps(seed=0, batch=6, actions=3):
    """Logits now, actions, advantages, and the probabilities that the actions had under other logits."""
    generator = torch.Generator().manual_seed(seed)
    logits, before = torch.randn(2, batch, actions, dtype=torch.float64, generator=generator)
    action = torch.randint(actions, (batch,), generator=generator)
    advantage = torch.randn(batch, dtype=torch.float64, generator=generator)
    return logits, action, advantage, before.softmax(dim=-1)[torch.arange(batch), action]


def test_value_by_hand():
    v, teacher_q = tensor([1.0, 2.0]).requires_grad_(), tensor([[0.0, 3.0], [5.0, 1.0]])
    # (1 - 3)^2 = 4 and (2 - 5)^2 = 9
    loss = pg.value(v, teacher_q)
    assert loss.item() == 6.5
    loss.backward()
    assert v.grad.tolist() == [-2.0, -3.0]  # 2 (v - max q) / B
    # (.5 * 4 + 1.5 * 9) / 2
    assert pg.value(v, teacher_q, tensor([0.5, 1.5])).item() == 7.75
    assert torch.equal(pg.value(v, teacher_q, torch.ones(2)), loss)
    assert pg.value(tensor([3.0, 5.0]), teacher_q).item() == 0.0


def test_advantage_by_hand():
    # 1 + .5 * 4 - 2, and after a termination 3 - 1 whatever the next state is said to be worth
    columns = [tensor(column).requires_grad_() for column in ([1.0, 3.0], [0.5, 0.0], [4.0, 7.0], [2.0, 1.0])]
    advantage = pg.advantage(*columns)
    assert advantage.tolist() == [1.0, 2.0] and not advantage.requires_grad


def test_standardised_by_hand():
    # Mean 2, variance 2/3
    torch.testing.assert_close(
        pg.standardised(tensor([1.0, 2.0, 3.0])), tensor([-sqrt(1.5), 0.0, sqrt(1.5)]), atol=1e-5, rtol=0
    )


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 2**31),
    batch=st.integers(2, 8),
    scale=st.sampled_from([0.1, 1.0, 1e3]),
    shift=st.floats(-100, 100),
)
def test_properties_of_standardised(seed, batch, scale, shift):
    advantage = torch.randn(batch, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    # apart by at least 1, so that their spread is more than the constant in the denominator
    advantage = advantage + torch.arange(batch) * 10
    result = pg.standardised(scale * advantage + shift)
    assert result.mean().item() == pytest.approx(0.0, abs=1e-9)
    assert result.std(correction=0).item() == pytest.approx(1.0, abs=1e-4)
    torch.testing.assert_close(result, pg.standardised(advantage), atol=1e-4, rtol=0)


def test_advantages_that_are_all_alike_teach_nothing():
    for alike in (torch.zeros(4), torch.ones(4), torch.tensor([-3.0])):
        assert pg.standardised(alike).tolist() == [0.0] * len(alike)


def test_policy_gradient_by_hand():
    # All actions have 1/2 now. Ratio 2: min(2, 1.2), and min(-2, -1.2). Ratio 1: 3. Ratio 1/2: min(-.5, -.8), and
    # min(.5, .8). The sum is 1.2 - 2 + 3 - .8 + .5 = 1.9.
    logits, action = torch.zeros(5, 2, dtype=torch.float64), torch.tensor([0, 1, 0, 1, 0])
    advantage, probability = tensor([1.0, -1.0, 3.0, -1.0, 1.0]), tensor([0.25, 0.25, 0.5, 1.0, 1.0])
    assert pg.policy_gradient(logits, action, advantage, probability).item() == pytest.approx(-1.9 / 5)
    # Up to 2 and from 1/2 nothing is clipped: 2 - 2 + 3 - .5 + .5.
    assert pg.policy_gradient(logits, action, advantage, probability, clip=1.0).item() == pytest.approx(-3.0 / 5)


def test_at_the_policy_that_acted_its_gradient_is_that_of_the_log_likelihood():
    logits, action, advantage, _ = random_steps()
    logits.requires_grad_()
    log_pi = logits.log_softmax(dim=-1)[torch.arange(6), action]
    (expected,) = torch.autograd.grad(-(advantage * log_pi).mean(), logits, retain_graph=True)
    (found,) = torch.autograd.grad(pg.policy_gradient(logits, action, advantage, log_pi.exp()), logits)
    torch.testing.assert_close(found, expected)
    # By formula: -advantage * (1(a) - pi) / B.
    one_hot = torch.nn.functional.one_hot(action, 3)
    torch.testing.assert_close(found, -advantage[:, None] * (one_hot - logits.detach().softmax(dim=-1)) / 6)


def test_steps_that_went_far_enough_are_left_alone():
    logits, action = torch.zeros(3, 2, requires_grad=True), torch.tensor([0, 0, 0])
    # Ratio 2 and 1/2 in the direction of their advantages; ratio 2 against it.
    advantage, probability = torch.tensor([1.0, -1.0, -1.0]), torch.tensor([0.25, 1.0, 0.25])
    pg.policy_gradient(logits, action, advantage, probability).backward()
    assert logits.grad[:2].abs().sum() == 0
    # 2 * 1/2 * (1, -1) / 3
    torch.testing.assert_close(logits.grad[2], torch.tensor([1.0, -1.0]) / 3)


def test_gradients_agree_with_finite_differences():
    logits, action, advantage, probability = random_steps(seed=1)
    for clip in (0.2, 0.01):
        assert torch.autograd.gradcheck(
            lambda x, clip=clip: pg.policy_gradient(x, action, advantage, probability, clip), (logits.requires_grad_(),)
        )
    v, teacher_q = logits[:, 0].detach().requires_grad_(), logits.detach()
    assert torch.autograd.gradcheck(lambda x: pg.value(x, teacher_q, probability), (v,))


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**31), batch=st.integers(1, 6), actions=st.integers(2, 5), shift=st.floats(-50, 50))
def test_what_does_not_matter_to_the_policy_gradient(seed, batch, actions, shift):
    logits, action, advantage, probability = random_steps(seed, batch, actions)
    expected = pg.policy_gradient(logits, action, advantage, probability)
    generator = torch.Generator().manual_seed(seed)
    states, columns = torch.randperm(batch, generator=generator), torch.randperm(actions, generator=generator)
    reordered = pg.policy_gradient(logits[states], action[states], advantage[states], probability[states])
    torch.testing.assert_close(reordered, expected)
    renamed = pg.policy_gradient(logits[:, columns], columns.argsort()[action], advantage, probability)
    torch.testing.assert_close(renamed, expected)
    torch.testing.assert_close(pg.policy_gradient(logits + shift, action, advantage, probability), expected)


def test_logits_of_any_size_give_a_finite_gradient():
    logits = torch.tensor([[1e4, 0.0], [1e4, 0.0], [100.0, 100.0]], requires_grad=True)
    loss = pg.policy_gradient(
        logits, torch.tensor([0, 1, 1]), torch.tensor([-1.0, 1.0, 1.0]), torch.tensor([0.01, 1.0, 0.5])
    )
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()


def test_what_was_stored_carries_no_gradient():
    logits, action, advantage, probability = random_steps()
    columns = [column.requires_grad_() for column in (logits, advantage, probability)]
    pg.policy_gradient(logits, action, advantage, probability).backward()
    assert [column.grad is None for column in columns] == [False, True, True]


def test_actions_are_whole_numbers():
    logits, action, advantage, probability = random_steps()
    with pytest.raises(AssertionError, match="int64"):
        pg.policy_gradient(logits, action.double(), advantage, probability)


def test_no_loss_reads_a_value_back_from_the_device():
    # Tensors on "meta" hold no values: reading one, which would make a GPU wait, raises.
    q, action = torch.empty(4, 3, device="meta"), torch.empty(4, dtype=torch.int64, device="meta")
    advantage = pg.standardised(pg.advantage(*q.new_empty(4, 4)))
    assert pg.policy_gradient(q, action, advantage, q[:, 0]).shape == pg.value(q[:, 0], q, q[:, 1]).shape == ()


def test_mistake_3_a_stored_probability_whose_gradient_undoes_that_of_the_policy():
    logits = torch.zeros(2, 3, requires_grad=True)
    gained = pg.standardised(torch.tensor([1.0, -1.0]))
    pg.policy_gradient(logits, torch.tensor([0, 1]), gained, logits.softmax(dim=-1)[:, 0]).backward()
    # The action that did well is drawn up, the other down: -(1 - 1/3) / 2 and (1 - 1/3) / 2.
    assert [logits.grad[0, 0].item(), logits.grad[1, 1].item()] == pytest.approx([-1 / 3, 1 / 3], rel=1e-4)


def test_mistake_4_a_sum_over_the_batch_of_steps():
    steps = random_steps()
    rows = zip(*(column.split(1) for column in steps), strict=True)
    alone = torch.stack([pg.policy_gradient(*row) for row in rows])
    torch.testing.assert_close(pg.policy_gradient(*steps), alone.mean())
    teacher_q, _, v, _ = steps
    alone = torch.stack([pg.value(*row) for row in zip(v.split(1), teacher_q.split(1), strict=True)])
    torch.testing.assert_close(pg.value(v, teacher_q), alone.mean())


def test_mistake_6_a_policy_over_a_single_action_learns_nothing():
    column = torch.ones(4)
    with pytest.raises(AssertionError, match="at least 2"):
        pg.policy_gradient(torch.randn(4, 1), torch.zeros(4, dtype=torch.int64), column, column)


@pytest.mark.parametrize("place", range(4))
def test_mistake_7_columns_that_broadcast_in_silence(place):
    columns = [torch.randn(4) for _ in range(4)]
    logits, action = torch.randn(4, 3), torch.zeros(4, dtype=torch.int64)
    for shape in ((4, 1), (1, 4), (1,), ()):
        odd = [column.new_ones(shape) if i == place else column for i, column in enumerate(columns)]
        with pytest.raises(AssertionError):
            pg.advantage(*odd)
        steps = [logits, action, *columns[:2]]
        steps[place] = torch.ones(shape, dtype=steps[place].dtype)
        with pytest.raises(AssertionError):
            pg.policy_gradient(*steps)
        with pytest.raises(AssertionError):
            pg.value(odd[place], logits)


def test_mistake_8_values_whose_gradient_is_not_cut():
    v, teacher_q = torch.zeros(4, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    pg.value(v, teacher_q).backward()
    assert teacher_q.grad is None
    assert v.grad.abs().sum() > 0
    # An advantage that is not cut draws the state value to whatever makes the policy's loss small.
    assert not pg.advantage(teacher_q[:, 0], teacher_q[:, 1], v, v).requires_grad
