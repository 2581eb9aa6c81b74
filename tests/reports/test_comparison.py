"""Losses against each other, and one policy across several groups of runs."""

import pytest
from run_folders import curve, make_run, rows
from summaries import student

from distributed_kd.reports.comparison import compared, published_order
from distributed_kd.reports.groups import finished


def group(root):
    (runs,) = finished([root]).values()
    return runs


def trio(kl, nll, mse, parameters=100):
    """Students of the three losses, each by (normalised score, gap-weighted agreement)."""
    given = {"kl": kl, "nll": nll, "mse": mse}
    return {
        name: student(parameters, score, loss=name, gap_weighted_agreement=agreement)
        for name, (score, agreement) in given.items()
    }


def reached(**steps):
    """Evaluations in which each policy is first good enough (60 of 57.5) after its steps."""
    return [(at, {name: 60.0 if at >= first else 20.0 for name, first in steps.items()}) for at in (100, 200, 300)]


def test_the_published_order(tmp_path):
    # Normalised: KL - NLL 0.1 and 0.3; KL - MSE -0.1 and -0.1; NLL - MSE -0.2 and -0.4. Of two seeds the interval is
    # from the one to the other. Gap-weighted: KL - NLL 0.02 and -0.02.
    make_run(
        tmp_path, seed=0, students=trio((0.8, 0.92), (0.7, 0.9), (0.9, 0.8)), evaluations=reached(kl=100, nll=200, mse=100)
    )
    make_run(
        tmp_path, seed=1, students=trio((0.8, 0.9), (0.5, 0.92), (0.9, 0.8)), evaluations=reached(kl=100, nll=300, mse=999)
    )
    assert published_order(group(tmp_path)) == (
        "KL > NLL > MSE (Rusu et al. 2015)? Students of 100 parameters, the first less the second in each run: "
        "IQM [95 % interval].\n\n"
        "| pair | normalised | gap-weighted agreement | steps to 95 % |\n"
        "|---|---|---|---|\n"
        "| KL > NLL | +0.200 [+0.100, +0.300]: holds | +0.000 [-0.020, +0.020]: not told apart "
        "| -150 [-200, -100]: holds |\n"
        "| KL > MSE | -0.100 [-0.100, -0.100]: does not hold | +0.110 [+0.100, +0.120]: holds "
        "| +0: not told apart, one seed (1 of 2 seeds) |\n"
        "| NLL > MSE | -0.300 [-0.400, -0.200]: does not hold | +0.110 [+0.100, +0.120]: holds "
        "| +100: not told apart, one seed (1 of 2 seeds) |\n"
    )


def test_more_steps_are_worse(tmp_path):
    for seed in (0, 1):
        make_run(tmp_path, seed=seed, students=trio(*[(0.9, 0.9)] * 3), evaluations=reached(kl=300, nll=200, mse=200))
    told = rows(published_order(group(tmp_path)), "pair")
    assert [row[3] for row in told[1:]] == [
        "+100 [+100, +100]: does not hold",
        "+100 [+100, +100]: does not hold",
        "+0 [+0, +0]: not told apart",
    ]


def test_what_was_never_reached_or_measured_is_a_dash(tmp_path):
    make_run(tmp_path, students=trio((None, 0.9), (0.5, None), (0.5, 0.9)))
    told = rows(published_order(group(tmp_path)), "pair")
    assert told[1:] == [
        ["KL > NLL", "–", "–", "–"],
        ["KL > MSE", "–", "+0.000: not told apart, one seed", "–"],
        ["NLL > MSE", "+0.000: not told apart, one seed", "–", "–"],
    ]


@pytest.mark.parametrize("missing", ["kl", "nll", "mse"])
def test_without_all_three_at_one_size_nothing_is_asked(tmp_path, missing):
    students = trio(*[(0.9, 0.9)] * 3)
    other = {**students, missing: student(500, loss=missing)}
    make_run(tmp_path, seed=0, students=students)
    make_run(tmp_path, seed=1, students={name: one for name, one in students.items() if name != missing})
    make_run(tmp_path / "other", label="other", students=other)
    groups = finished([tmp_path])
    assert [published_order(runs) for runs in groups.values()] == ["", ""]


def test_each_size_is_asked_by_the_first_student_of_a_loss(tmp_path):
    large = {f"large_{name}": one for name, one in trio((0.9, 0.9), (0.8, 0.9), (0.7, 0.9), parameters=500).items()}
    again = {"again": student(100, 0.1, loss="kl")}
    make_run(tmp_path, students={**trio((0.6, 0.9), (0.9, 0.9), (0.9, 0.9)), **again, **large})
    text = published_order(group(tmp_path))
    assert text.index("Students of 500 parameters") < text.index("Students of 100 parameters")
    assert [line.split(" | ")[1] for line in text.splitlines() if line.startswith("| KL > NLL")] == [
        "+0.100: not told apart, one seed",
        "-0.300: not told apart, one seed",
    ]


def test_one_group_is_compared_with_nothing(tmp_path):
    make_run(tmp_path, "A-v0", "x")
    make_run(tmp_path, "B-v0", "y")
    assert compared(finished([tmp_path]), "A-v0") == ""


def test_policies_side_by_side(tmp_path):
    pair = {"a": student(score=0.9), "b": student(500, 0.8, loss="mse", return_mean=40.0)}
    online = {"students": {"a": {"network": {"hidden": [4]}}, "b": {"network": {"hidden": [9]}}}}
    offline = {
        "teacher": {"source": "runs/Acrobot-v1__online__s0__20260101T000000Z"},
        "data": {"file": "500.npz"},
        "students": {"a": {"network": {"hidden": [4]}}, "b": {"network": {"hidden": [8]}}},
    }
    for seed, wall in ((0, 60.0), (1, 70.0)):
        make_run(tmp_path, label="online", seed=seed, students=pair, config=online, wall_seconds=wall,
                 evaluations=curve([60.0, 60.0], [0.0, 0.0]))  # fmt: skip
    make_run(tmp_path, label="offline", students=pair, config=offline, env_steps=0,
             evaluations=[(0, {"teacher": 60.0, "a": 60.0, "b": 20.0})])  # fmt: skip
    make_run(tmp_path, label="small", students={}, evaluations=[(100, {"teacher": 20.0}), (200, {"teacher": 60.0})])
    text = compared(finished([tmp_path]), "Acrobot-v1")
    assert text.startswith("## Acrobot-v1: compared\n")
    # b has another network in each group, so it is not the same student.
    assert rows(text, "policy") == [
        ["policy", "runs", "seeds", "parameters", "loss", "teacher", "states", "env steps", "wall s", "normalised, IQM",
         "95 % interval", "return, IQM", "gap-weighted", "steps to 95 %"],
        ["teacher", "offline", "1", "1,000", "–", "online (frozen)", "500.npz", "0", "61", "1", "–", "60.0", "1", "–"],
        ["teacher", "online", "2", "1,000", "td", "learn", "teacher 50 %, students 50 %", "1,234", "65", "1", "–", "60.0",
         "1", "100 (100 … 100)"],
        ["teacher", "small", "1", "1,000", "td", "learn", "teacher 100 %", "1,234", "61", "1", "–", "60.0", "1", "200"],
        ["a", "offline", "1", "100", "kl", "online (frozen)", "500.npz", "0", "61", "0.900", "–", "50.0", "0.950", "–"],
        ["a", "online", "2", "100", "kl", "learn", "teacher 50 %, students 50 %", "1,234", "65", "0.900", "0.900 … 0.900",
         "50.0", "0.950", "100 (100 … 100)"],
    ]  # fmt: skip
