import dataclasses
from math import log

import numpy as np
import pytest
import torch
from learning_samples import (
    as_stored,
    at_zero,
    batches,
    learn,
    learner_of,
    scores,
    to_bytes,
    trained,
)

from distributed_kd.learning.teacher import Peers
from distributed_kd.networks.ensemble import Ensemble
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.student_config import StudentConfig

NAMES = ("a", "b", "c")
AUTO = torch.tensor(0.25)
ONES = torch.ones(2, 4)
WITH_TD = StudentConfig(loss="kl_q", temperature=1.0, td_weight=1.0, target_update=5)


def config(combine="mean"):
    return TeacherConfig(source="peers", combine=combine)


def peers_of(outputs, combine="mean"):
    """Peers whose outputs are the same in all states: (peers, networks)."""
    networks = [at_zero() for _ in outputs]
    for net, values in zip(networks, outputs, strict=True):
        with torch.no_grad():
            net.advantage.bias.copy_(torch.tensor(values))
    return Peers(Ensemble(networks, combine), NAMES[: len(outputs)], config(combine)), networks


def said(peers, name=""):
    """Q-values of the lesson addressed to a student, or of all together."""
    q = peers.lesson(ONES).addressed_to(name).q
    assert torch.equal(q, q[:1].expand_as(q))
    return q[0]


THREE = [[3.0, 0.0, 0.0], [0.0, 6.0, 0.0], [0.0, 0.0, 9.0]]


@pytest.mark.parametrize("combine", ["mean", "best"])
def test_each_learns_from_the_mean_of_the_others_worked_by_hand(combine):
    peers, _ = peers_of(THREE, combine)  # `best` too, before there was an evaluation
    torch.testing.assert_close(said(peers), torch.tensor([1.0, 2.0, 3.0]))
    torch.testing.assert_close(said(peers, "a"), torch.tensor([0.0, 3.0, 4.5]))
    torch.testing.assert_close(said(peers, "b"), torch.tensor([1.5, 0.0, 4.5]))
    torch.testing.assert_close(said(peers, "c"), torch.tensor([1.5, 3.0, 0.0]))
    lesson = peers.lesson(ONES)
    assert lesson.layers == ()
    assert not any(q.requires_grad for q in (lesson.q, *lesson.q_for.values()))


def test_or_from_the_mean_policy_of_the_others():
    halves = [[log(2), 0.0, 0.0], [0.0, log(2), 0.0], [0.0, 0.0, log(2)]]  # 1/2 for one action, 1/4 for the others
    peers, _ = peers_of(halves, "logsumexp")
    torch.testing.assert_close(said(peers, "a").exp(), torch.tensor([0.25, 0.375, 0.375]))
    torch.testing.assert_close(said(peers, "c").exp(), torch.tensor([0.375, 0.375, 0.25]))
    torch.testing.assert_close(said(peers).exp(), torch.full((3,), 1 / 3))


def test_of_two_each_learns_from_the_other():
    peers, _ = peers_of(THREE[:2])
    assert said(peers, "a").tolist() == THREE[1]
    assert said(peers, "b").tolist() == THREE[0]


def test_the_one_that_scored_best_teaches_all_until_another_does():
    peers, _ = peers_of(THREE, "best")
    for means, best in (((-5.0, -1.0, -2.0), 1), ((1.0, 0.0, 3.0), 2)):
        peers.heed(scores(teacher=99.0, **dict(zip(NAMES, means, strict=True))))
        assert [said(peers, name).tolist() for name in ("", *NAMES)] == [THREE[best]] * 4
        # What stands for the teacher, as it is published and played, is that one too.
        assert peers.network(ONES)[0].tolist() == THREE[best]
        assert peers.network.weight.tolist() == [float(place == best) for place in range(3)]


@pytest.mark.parametrize("combine", ["mean", "logsumexp"])
def test_scores_are_heeded_where_it_is_asked_for_alone(combine):
    peers, _ = peers_of(THREE, combine)
    before = [said(peers, name) for name in ("", *NAMES)]
    peers.heed(scores(teacher=99.0, a=1.0, b=2.0, c=3.0))
    for name, q in zip(("", *NAMES), before, strict=True):
        assert torch.equal(said(peers, name), q)


@pytest.mark.parametrize("loss", ["mse", "kl_q"])
def test_the_best_has_nothing_to_learn_from_itself(loss):
    students = {name: StudentConfig(loss=loss, temperature=1.0) for name in NAMES}
    learner = learner_of(students, config("best"))
    learner.heed(scores(teacher=1.0, a=1.0, b=3.0, c=2.0))
    before = to_bytes(learner)
    (batch,) = batches(1)
    observation = torch.tensor(batch.observation)
    lesson = learner.teacher.lesson(observation).addressed_to("b")
    assert torch.equal(lesson.q, learner.students["b"].network(observation))
    learner.update(batch, 0.0)
    losses = learner.losses()
    assert losses["b"]["loss"] == 0.0
    assert losses["b"]["grad_norm"] <= 1e-7  # the rounding of a softmax, where there is one
    if loss == "mse":
        assert to_bytes(learner)["b"] == before["b"]
    assert min(losses["a"]["grad_norm"], losses["c"]["grad_norm"]) > 1e-3
    assert to_bytes(learner)["a"] != before["a"]


def shares_memory(learner):
    members = learner.teacher.network.members
    return all(
        mine.data_ptr() == theirs.data_ptr()
        for member, student in zip(members, learner.students.values(), strict=True)
        for mine, theirs in zip(member.parameters(), student.network.parameters(), strict=True)
    )


@pytest.mark.parametrize("combine", ["mean", "best"])
def test_the_parameters_of_all_are_the_students_own_restored_too(combine):
    students = dict.fromkeys(NAMES, WITH_TD)
    first, second = learner_of(students, config(combine)), learner_of(students, config(combine))
    trained(first, batches(5))
    first.heed(scores(teacher=1.0, a=1.0, b=3.0, c=2.0))
    trained(second, batches(2, seed=8))
    second.restore(as_stored(first.state()))
    for learner in (first, second):
        assert shares_memory(learner)
        trained(learner, batches(5, seed=1))
        assert shares_memory(learner)
        flat = learner.weights().flat
        own = np.concatenate([flat[name] for name in NAMES])
        # Three weights, and every student as it is published by itself.
        np.testing.assert_array_equal(flat["teacher"][3:], own)
        np.testing.assert_array_equal(flat["teacher"][:3], [0, 1, 0] if combine == "best" else [1, 1, 1])
    assert to_bytes(second) == to_bytes(first)
    np.testing.assert_equal(as_stored(second.state()), as_stored(first.state()))


@pytest.mark.parametrize("combine", ["mean", "logsumexp", "best"])
def test_whoever_stands_first_each_learns_the_same(combine):
    students = {
        "a": WITH_TD,
        "b": StudentConfig(loss="kl_hinton", td_weight=0.5, temperature=0.5, observation_noise=0.1),
        "c": StudentConfig(loss="kl_q", temperature=2.0, td_weight=1.0, warmup=2),
    }
    learned = []
    for order in (("a", "b", "c"), ("c", "a", "b"), ("b", "a", "c")):
        learner = trained(learner_of({name: students[name] for name in order}, config(combine)), batches(6))
        learner.heed(scores(teacher=1.0, a=1.0, b=3.0, c=2.0))
        trained(learner, batches(6, seed=1))
        learned.append({name: to_bytes(learner)[name] for name in NAMES})
    assert learned[1] == learned[0]
    assert learned[2] == learned[0]


def test_all_are_asked_before_anyone_learns():
    learner = learner_of(dict.fromkeys("ab", StudentConfig(loss="mse")), config())
    observation = torch.tensor(batches(1)[0].observation)
    b = learner.students["b"].network(observation).detach()
    told = (learner.students["a"].network(observation).detach() - b).square().sum(1).mean().item()
    learner.update(batches(1)[0], 0.0)
    losses = learner.losses()
    assert losses["a"]["loss"] == pytest.approx(told)
    assert losses["b"]["loss"] == pytest.approx(told)
    assert learner.updates == 1


def test_peers_learn_from_their_rewards():
    learner = learner_of(dict.fromkeys(NAMES, WITH_TD), config())
    (batch,) = batches(1)
    batch = dataclasses.replace(batch, discount=np.zeros_like(batch.discount))  # what is earned is the value itself
    trained(learner, [batch])
    first = learner.losses()
    trained(learner, [batch] * 399)
    learner.losses()
    trained(learner, [batch])
    last = learner.losses()
    for name in NAMES:
        assert last[name]["td_loss"] < 0.2 * first[name]["td_loss"]


def test_what_one_learns_moves_no_other():
    learner = learner_of(dict.fromkeys("ab", StudentConfig()), config())
    before = to_bytes(learner)
    lesson = learner.teacher.lesson(torch.tensor(batches(1)[0].observation))
    learn(learner.students["a"], lesson.observation, lesson.q, AUTO, 0.0, measure=False)
    after = to_bytes(learner)
    assert [name for name in "ab" if after[name] != before[name]] == ["a"]
