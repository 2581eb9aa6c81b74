"""`evaluate` through the command line: several policies, against each other, and disturbed."""

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from launching import run_file, strict

from distributed_kd.cli import main
from distributed_kd.training import playing

EPISODES = 6
INLINE = ["--runner", "inline", "--evaluation.every_seconds", "0", "--checkpoint.every_seconds", "0"]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("evaluated")
    assert main(["train", str(run_file(place, 600)), *INLINE, "--out", str(place / "run")]) == 0
    return place / "run"


def played(run, capsys, *words):
    """Every score that is told, in the order in which they are."""
    capsys.readouterr()
    assert main(["evaluate", str(run), "--episodes", str(EPISODES), "--json", *map(str, words)]) == 0
    told = strict(capsys.readouterr().out)
    return told.get("played", [told])


def test_all_policies_on_the_same_seeds_against_one_of_them(run, capsys):
    scores = {one["policy"]: one for one in played(run, capsys, "--policy", "all", "--against", "half")}
    assert list(scores) == ["teacher", "half", "tiny", "random"]
    for name, one in scores.items():
        alone = played(run, capsys, "--policy", name)[0]
        assert {key: one[key] for key in alone} == alone, "the same alone as among others"
        apart = np.subtract(one["returns"], scores["half"]["returns"])
        assert one["against"]["difference"] == pytest.approx(apart.mean())
        assert (one["against"]["won"], one["against"]["lost"]) == (np.mean(apart > 0), np.mean(apart < 0))
    assert scores["half"]["against"] == {
        "policy": "half", "difference": 0.0, "difference_ci95": [0.0, 0.0], "won": 0.0, "tied": 1.0, "lost": 0.0
    }  # fmt: skip
    assert scores["random"]["returns"] != scores["half"]["returns"]


def test_who_is_compared_with_need_not_be_among_the_policies(run, capsys):
    (one,) = played(run, capsys, "--policy", "tiny", "--against", "random")
    (random,) = played(run, capsys, "--policy", "random")
    assert one["against"]["difference"] == pytest.approx(one["return_mean"] - random["return_mean"])


def test_nothing_is_disturbed_by_zeros_to_the_bit(run, capsys, monkeypatch):
    plain = played(run, capsys, "--policy", "teacher,random")
    zeros = ["--policy", "teacher,random", "--observation-noise", "0", "--sticky-actions", "0"]
    assert played(run, capsys, *zeros) == plain
    monkeypatch.setattr(playing._Stage, "_disturbed", lambda self, env, *none: playing.Disturbed(env, 0.0, 0.0))
    assert played(run, capsys, *zeros) == plain, "by way of the wrapper too"


def test_a_table_of_disturbances(run, capsys):
    disturbed = ["--observation-noise", 0, 0.5, "--sticky-actions", 0, 0.9]
    scores = played(run, capsys, "--policy", "teacher,random", *disturbed)
    told = [(one["observation_noise"], one["sticky_actions"], one["policy"]) for one in scores]
    assert told == [(x, p, name) for x in (0.0, 0.5) for p in (0.0, 0.9) for name in ("teacher", "random")]
    teacher, random = (
        {told[:2]: one["returns"] for told, one in zip(told, scores, strict=True) if told[2] == name}
        for name in ("teacher", "random")
    )
    assert teacher[0.0, 0.0] != teacher[0.5, 0.0]
    assert random[0.0, 0.0] == random[0.5, 0.0] != random[0.0, 0.9], "who sees nothing is disturbed by no noise"
    assert played(run, capsys, "--policy", "teacher,random", *disturbed) == scores, "the same seed plays the same episodes"


@pytest.fixture
def disturbances(monkeypatch):
    """What every environment that is disturbed is given, in the order in which they are made."""
    given = []

    class Noted(playing.Disturbed):
        def __init__(self, env, noise, sticky):
            given.append((np.asarray(noise).tolist(), sticky))
            super().__init__(env, noise, sticky)

    monkeypatch.setattr(playing, "Disturbed", Noted)
    return given


def test_the_noise_is_in_deviations_of_what_the_run_saw(run, capsys, disturbances):
    played(run, capsys, "--policy", "tiny", "--observation-noise", 0.1)
    assert len(disturbances) == EPISODES
    rows = playing.load_newest(run / "checkpoints").parts["replay"]["rows"]
    seen = np.asarray(rows["observation"])[np.asarray(rows["is_step"])]
    assert disturbances[0] == (pytest.approx((0.1 * seen.astype(np.float64).std(0)).tolist()), 0.0)


class Bytes(gym.Env):
    """Ten steps of random bytes, the highest of them 200."""

    observation_space, action_space = Box(0, 200, (2,), np.uint8), Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 10
        return self._seen(), {}

    def step(self, action):
        self.left -= 1
        return self._seen(), 1.0, self.left == 0, False, {}

    def _seen(self):
        return self.np_random.integers(0, 201, 2).astype(np.uint8)


@pytest.mark.parametrize("normalise", ["false", "true"])
def test_the_noise_of_bytes_is_a_share_of_their_range(tmp_path, capsys, disturbances, normalise, monkeypatch):
    monkeypatch.setitem(gym.registry, "Bytes-v0", gym.envs.registration.EnvSpec("Bytes-v0", Bytes))
    env = ["--env.id", "Bytes-v0", "--env.normalise", normalise]
    assert main(["train", str(run_file(tmp_path, 300)), *INLINE, *env, "--out", str(tmp_path / "run")]) == 0
    played(tmp_path / "run", capsys, "--policy", "tiny", "--observation-noise", 0.1)
    assert disturbances == [(pytest.approx(20.0), 0.0)] * EPISODES


def test_a_person_reads_a_table(run, capsys):
    capsys.readouterr()
    words = ["--policy", "tiny,half", "--against", "teacher", "--sticky-actions", "0.25", "--episodes", "2"]
    assert main(["evaluate", str(run), *words]) == 0
    heading, _, *rows, last = capsys.readouterr().out.splitlines()
    assert heading.split()[:3] == ["policy", "sticky", "return"] and heading.split()[-1] == "won/tied/lost"
    assert [row.split()[:2] for row in rows] == [["tiny", "0.25"], ["half", "0.25"]]
    assert last.startswith("2 episodes of each, on the same seeds; difference: return less that of teacher")


def test_films_of_every_policy_and_disturbance(run, capsys, tmp_path):
    pytest.importorskip("moviepy")
    pytest.importorskip("pygame")
    disturbed = ["--sticky-actions", 0, 0.25, "--episodes", 2]
    filmed = played(run, capsys, "--policy", "tiny", *disturbed, "--video", tmp_path / "films")
    plain = played(run, capsys, "--policy", "tiny", *disturbed)
    assert [one["lengths"] for one in filmed] == [one["lengths"] for one in plain]
    names = [f"tiny{sticky}-{n}-episode-0.mp4" for sticky in ("", "-sticky0.25") for n in range(2)]
    assert sorted(film.name for film in (tmp_path / "films").iterdir()) == sorted(names)


def test_all_that_is_wrong_is_told_at_once(run, capsys):
    capsys.readouterr()
    words = (
        "--policy tiny,halv --against teach --observation-noise -1 nan inf --sticky-actions 1 -0.5 --episodes 0 --seed -1"
    )
    assert main(["evaluate", str(run), *words.split()]) == 2
    noise = "bad noise (observation-noise={}): it must be a finite number of at least 0. Set --observation-noise 0.05"
    sticky = "bad stickiness (sticky-actions={}): it must be a probability below 1. Set --sticky-actions 0.25"
    lines = [
        "unknown policy (policy=halv): the run has none of this name. Did you mean half?",
        "unknown policy (against=teach): the run has none of this name. Did you mean teacher?",
        "bad number of episodes (episodes=0): it must be at least 1. Set --episodes 20",
        "bad seed (seed=-1): it must be at least 0. Set --seed 0",
        *(noise.format(value) for value in (-1.0, "nan", "inf")),
        *(sticky.format(value) for value in (1.0, -0.5)),
    ]
    assert capsys.readouterr().err.splitlines() == [f"error: {line}" for line in lines]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--policy tiny --observation-noise x", "argument --observation-noise: invalid float value: 'x'"),
        ("--policy tiny --sticky-actions", "argument --sticky-actions: expected at least one argument"),
        ("--policy tiny --against", "argument --against: expected one argument"),
    ],
)
def test_words_that_are_no_numbers(run, capsys, words, line):
    capsys.readouterr()
    assert main(["evaluate", str(run), *words.split()]) == 2
    assert capsys.readouterr().err == f"error: {line}. See python launch.py evaluate --help\n"


def test_an_empty_policy_is_none(run, capsys):
    capsys.readouterr()
    assert main(["evaluate", str(run), "--policy", "tiny,", "--against", ""]) == 2
    wrong = "the run has none of this name. The policies are teacher, half, tiny, random"
    assert (
        capsys.readouterr().err == f"error: unknown policy (policy=): {wrong}\nerror: unknown policy (against=): {wrong}\n"
    )
