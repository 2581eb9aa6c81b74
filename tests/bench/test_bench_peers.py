"""bench.peers and bench.cleanrl: the loop in bare PyTorch does what it says, ours is given the same work; a whole run."""

import numpy as np
import pytest
import torch

from distributed_kd import run_file
from distributed_kd.bench import peers, rllib, stable_baselines
from distributed_kd.bench.cleanrl import Dqn, Ring, Settings
from distributed_kd.bench.contenders import Rates
from distributed_kd.bench.figures import Options

SMALL = Settings(hidden=(16, 8), capacity=64, batch_size=8, learning_starts=50, train_every=10, target_every=40)


def test_the_ring_keeps_the_newest_and_gives_back_what_was_put_in():
    ring = Ring(3, (2,))
    for number in range(5):
        ring.add(np.full(2, number), number % 2, float(number), number == 4, np.full(2, number + 1))
    assert sorted(ring.observation[:, 0]) == [2, 3, 4]
    observation, action, reward, terminated, after = ring.sample(100, np.random.default_rng(0))
    assert observation.shape == after.shape == (100, 2) and action.shape == (100, 1) and reward.shape == (100,)
    assert torch.equal(after, observation + 1) and torch.equal(reward, observation[:, 0])
    assert torch.equal(action[:, 0], observation[:, 0].long() % 2) and torch.equal(terminated, (reward == 4).float())
    assert set(reward.tolist()) == {2.0, 3.0, 4.0}


def test_the_ring_draws_only_what_was_put_in():
    ring = Ring(1_000, (1,))
    ring.add(np.ones(1), 0, 1.0, False, np.ones(1))
    assert torch.equal(ring.sample(20, np.random.default_rng(0))[0], torch.ones(20, 1))


def test_the_loop_updates_once_for_ten_steps_and_copies_its_target_when_due():
    dqn = Dqn(SMALL)
    first = [parameter.clone() for parameter in dqn.network.parameters()]

    def is_copy() -> bool:
        pairs = zip(dqn.network.parameters(), dqn.target.parameters(), strict=True)
        return all(torch.equal(mine, copied) for mine, copied in pairs)

    def is_as_it_began() -> bool:
        return all(torch.equal(now, then) for now, then in zip(dqn.network.parameters(), first, strict=True))

    for _ in range(59):
        dqn.step()
    assert dqn.updates == 0 and is_as_it_began()
    for _ in range(20):  # updates at 60 and 70
        dqn.step()
    assert dqn.updates == 2 and not is_as_it_began() and not is_copy()
    dqn.step()  # the 80th: an update, and then the copy
    assert dqn.updates == 3 and is_copy()
    for _ in range(120):
        dqn.step()
    assert (dqn.env_steps, dqn.updates, dqn.ring.added) == (200, 15, 200)
    dqn.close()


def test_the_loop_stores_the_true_last_observation_of_an_episode():
    dqn = Dqn(SMALL)
    while not dqn.ring.terminated.any():
        dqn.step()
    last = int(np.flatnonzero(dqn.ring.terminated)[0])
    # CartPole ends where the cart or the pole is out of bounds; the next episode begins near 0
    position, angle = dqn.ring.next_observation[last, [0, 2]]
    assert abs(position) > 2.4 or abs(angle) > 0.2
    assert np.abs(dqn._observation).max() <= 0.05
    dqn.close()


def test_the_loop_lowers_its_error():
    """Every step of CartPole gives 1, so with gamma 0 all Q-values are to become 1."""
    dqn = Dqn(Settings(hidden=(16, 16), batch_size=32, learning_starts=50, train_every=1, gamma=0.0, learning_rate=1e-2))
    for _ in range(400):
        dqn.step()
    values = dqn.network(torch.from_numpy(dqn.ring.observation[:400])).detach()
    taken = values.gather(1, torch.from_numpy(dqn.ring.action[:400, None]))
    assert (taken - 1.0).abs().mean() < 0.1
    dqn.close()


def test_ours_is_given_the_same_work():
    tables = peers.tables((120, 84), 128, 12.8, 10_000, 2.5e-4, 50.0, 0.05, {"dueling": True}, {"prioritized": True})
    config = run_file.decode(tables)
    assert config.teacher.network.units == (120, 84) and config.teacher.dueling and not config.teacher.double
    assert (config.replay.batch_size, config.replay.samples_per_insert, config.replay.capacity) == (128, 12.8, 10_000)
    assert config.replay.prioritized and config.teacher.target_update == 50
    assert config.teacher.exploration.start == config.teacher.exploration.end == 0.05
    assert [one.network.units for one in config.students.values()] == list(peers.STUDENTS)
    assert config.evaluation.every_seconds == config.checkpoint.every_seconds == 0


class Fixed:
    """A contender of which the rates of each turn are known."""

    def __init__(self, *rates: Rates):
        self._rates, self.taken = iter(rates), []

    def turn(self, seconds: float) -> Rates:
        self.taken.append(next(self._rates))
        return self.taken[-1]


def test_steps_that_ran_ahead_of_the_updates_do_not_count():
    # 8 steps for each update: of 1,000 steps 100 updates have caught up with 800; 200 updates have with all 1,200
    ours = Fixed(Rates(0, 0), Rates(1_000, 100), Rates(1_200, 200))
    peer = Fixed(Rates(0, 0), Rates(100, 12.5), Rates(100, 12.5))
    rounds = peers._rounds({"ours": ours}, peer, "peer", 8.0, Options(repeats=2))
    assert rounds == {"ours": [800, 1_200], "peer": [100, 100]}


def test_the_intensity_of_both_is_told():
    # batches of 32: 100 updates for 1,000 steps are 3.2 samples a step, 100 for 800 are 4
    ours, peer = Fixed(*[Rates(1_000, 100)] * 3), Fixed(*[Rates(800, 100)] * 3)
    for _ in range(3):
        ours.turn(0), peer.turn(0)
    figure = peers._intensity(ours, peer, 32)
    assert (figure.value, figure.other, figure.ratio) == pytest.approx((3.2, 4.0, 0.8))


@pytest.mark.timeout(300)
def test_a_peer_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(stable_baselines, "train", _without)
    monkeypatch.setattr(rllib, "train", _without)
    for table in (peers._stable_baselines(Options(repeats=1, seconds=0.01)), peers._rllib(Options(repeats=1, seconds=0.01))):
        assert table.figures == [] and "no_such_peer is not installed" in table.how and "extra peers" in table.how


def _without(baton, *_: object) -> None:
    import no_such_peer  # noqa: F401


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_whole_benchmark():
    cleanrl, _, _ = peers.measure(Options(repeats=1, seconds=0.01))
    assert [one.what for one in cleanrl.figures] == [peers.OURS, f"{peers.OURS}, inline", "samples per step"]
    assert all(one.value > 0 and one.ratio > 0 for one in cleanrl.figures)
