"""The student that is a tree: what it is fitted to, when, and that nobody else learns otherwise for it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learning_samples import SPEC, as_stored, batches, learner_of, network, trained

from distributed_kd import networks
from distributed_kd.learning import tree_student as tree
from distributed_kd.learning.learner import Learner
from distributed_kd.learning.lesson import Lesson
from distributed_kd.learning.tree_student import TreeStudent, fit
from distributed_kd.network_config import NetworkConfig
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.student_config import StudentConfig

pytest.importorskip("sklearn")
AUTO = torch.tensor(1.0)


def empty(depth=3):
    return networks.build(NetworkConfig("tree", depth=depth), SPEC)


def student(depth=3):
    return TreeStudent(empty(depth), 4, 3)


def taught(one, count, size=8, seed=0):
    """So many updates from random states of a fixed teacher."""
    random, teacher = torch.Generator().manual_seed(seed), network(16, seed=99)
    for _ in range(count):
        seen = torch.randn(size, 4, generator=random)
        with torch.no_grad():
            one.update(Lesson(seen, teacher(seen)), AUTO, 0.0, measure=False)
    return one


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), depth=st.integers(1, 7), values=st.sampled_from([2, 5, 1000]))
def test_it_decides_as_the_fitted_tree_does(seed, depth, values):
    """On what it was fitted to, and on observations that lie anywhere, those on its thresholds among them."""
    from sklearn.tree import DecisionTreeClassifier

    random = np.random.default_rng(seed)
    seen = (random.integers(0, values, (300, 4)) / 7).astype(np.float32)
    q = random.normal(size=(300, 3)).astype(np.float32)
    ours, theirs = empty(depth), DecisionTreeClassifier(max_depth=depth, random_state=0)
    fit(ours, seen, q)
    theirs.fit(seen, q.argmax(1), sample_weight=q.max(1) - q.min(1))
    on_thresholds = np.repeat(theirs.tree_.threshold.astype(np.float32)[:, None], 4, axis=1)
    for asked in (seen, (random.integers(0, 2 * values, (300, 4)) / 13).astype(np.float32), on_thresholds):
        shares = ours(torch.from_numpy(asked)).numpy()
        np.testing.assert_allclose(shares[:, theirs.classes_], theirs.predict_proba(asked), atol=1e-6)


def test_thresholds_become_the_float_below_them():
    between = (np.float64(np.float32(0.1)) + np.float64(np.nextafter(np.float32(0.1), np.float32(1)))) / 2
    assert tree._below(between) == np.float32(0.1)
    assert tree._below(0.25) == np.float32(0.25)


def test_a_state_weighs_as_much_as_the_worst_action_costs():
    """In one and the same state two say action 0, at a gap of 1 each, and one says action 2, at a gap of 5."""
    seen = np.zeros((3, 4), np.float32)
    q = np.array([[1, 0, 0], [1, 0, 0], [0, 0, 5]], np.float32)
    made = empty()
    fit(made, seen, q)
    assert made(torch.zeros(1, 4)).tolist()[0] == pytest.approx([2 / 7, 0, 5 / 7])


def test_where_nothing_matters_all_states_weigh_alike():
    seen, q = np.arange(12, dtype=np.float32).reshape(3, 4), np.ones((3, 3), np.float32)
    made = empty()
    fit(made, seen, q)
    assert made(torch.from_numpy(seen)).argmax(1).tolist() == [0, 0, 0]


def test_what_is_not_finite_is_left_out():
    seen, q = np.zeros((3, 4), np.float32), np.array([[0, 1, 0], [np.nan, 0, 9], [0, np.inf, 0]], np.float32)
    made = empty()
    fit(made, seen, q)
    assert made(torch.zeros(1, 4)).tolist() == [[0, 1, 0]]
    before = networks.to_flat(made)
    fit(made, seen[1:], q[1:])
    assert networks.to_flat(made).tolist() == before.tolist()


def test_it_is_fitted_after_100_updates_and_then_ever_more_rarely(monkeypatch):
    fits, one = [], student()
    monkeypatch.setattr(tree, "fit", lambda network, seen, q: fits.append((one.updates, len(seen))))
    taught(one, 3_700, size=3)
    assert [at for at, _ in fits] == [100, 200, 400, 800, 1_600, 2_600, 3_600]
    assert [states for _, states in fits] == [300, 600, 1_200, 2_400, 4_800, 7_800, 8_000]


def test_the_newest_states_are_kept(monkeypatch):
    monkeypatch.setattr(tree, "STATES", 10)
    held = []
    monkeypatch.setattr(tree, "fit", lambda network, seen, q: held.append((sorted(seen[:, 0]), sorted(q[:, 0]))))
    one = student()
    for update in range(100):
        states = torch.arange(4.0)[:, None] + 4 * update
        one.update(Lesson(states.expand(4, 4), states.expand(4, 3)), AUTO, 0.0, measure=False)
    assert held == [(list(range(390, 400)),) * 2]


def test_it_learns_its_teachers_actions():
    one = taught(student(depth=6), 800, size=32)
    seen = torch.randn(500, 4, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        q = network(16, seed=99)(seen)
    told = one.update(Lesson(seen, q), AUTO, 1.0, measure=True)
    assert told["agreement"] > 0.8
    agrees = one.network(seen).argmax(1) == q.argmax(1)
    assert told["agreement"] == agrees.float().mean()
    lost = (q.amax(1) - q.amin(1))[~agrees].sum() / 500
    assert told["loss"] == one.held_out_loss(Lesson(seen, q), AUTO) == pytest.approx(lost.item())


def test_it_goes_on_from_its_state_to_the_bit():
    whole = taught(taught(student(), 150), 300, seed=1)
    first = taught(student(), 150)
    second = student()
    second.restore(as_stored(first.state()))
    taught(second, 300, seed=1)
    assert networks.to_flat(second.network).tobytes() == networks.to_flat(whole.network).tobytes()
    mine, theirs = second.state(), whole.state()
    assert all(np.array_equal(mine[name], theirs[name]) for name in ("observation", "q"))
    assert all(mine[name] == theirs[name] for name in ("updates", "written", "next_fit"))


@pytest.mark.parametrize("how", ["loop", "together"])
def test_nobody_else_learns_otherwise_for_it(how, monkeypatch):
    monkeypatch.setattr(tree, "FIRST_FIT", 3)
    plain = trained(learner_of(["kl", "mse"], together=how), batches(8)).weights().flat
    rules = {"rules": StudentConfig(network=NetworkConfig("tree", depth=2))}
    both = learner_of(["kl", "mse"], together=how)
    configs = {"kl": both._recruit.configs["kl"], **rules, "mse": both._recruit.configs["mse"]}
    named = {"teacher": network(16, seed=1000)}
    named |= {name: network(8, 8, seed=sum(name.encode())) for name in ("kl", "mse")} | {"rules": empty(2)}
    learner = Learner(
        networks=named, spec=SPEC, teacher=TeacherConfig(target_update=3), students=configs, together=how,
        seeds={name: sum(name.encode()) for name in ("teacher", *configs)}, device=torch.device("cpu"),
    )  # fmt: skip
    with_tree = trained(learner, batches(8)).weights().flat
    assert {name: flat.tobytes() for name, flat in plain.items()} == {
        name: flat.tobytes() for name, flat in with_tree.items() if name != "rules"
    }
    assert with_tree["rules"].any(), "it was fitted"
    assert learner.losses()["rules"].keys() == {"loss", "agreement"}
    assert learner.updates_of == {"kl": 8, "mse": 8, "rules": 8}
