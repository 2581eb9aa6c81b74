"""RESULTS.md: which runs go together, the page as a whole, its commands, its picture."""

import pytest
from run_folders import make_run
from summaries import student

from distributed_kd.errors import ConfigurationError
from distributed_kd.reports.groups import finished, label_of, student_names
from distributed_kd.reports.results import main, markdown, pictured

SIZES = {"a": student(500, share=0.5), "b": student(100, share=0.1)}


def test_runs_of_one_environment_and_label_go_together(tmp_path):
    for env, label, seed in (("B-v0", "x", 0), ("A-v0", "y", 11), ("A-v0", "y", 2), ("A-v0", "x", 5)):
        make_run(tmp_path / "below", env, label, seed)
    make_run(tmp_path, "A-v0", "x", 9, status="interrupted")
    groups = finished([tmp_path, tmp_path / "below"])
    seeds = {key: [run.summary["seed"] for run in runs] for key, runs in groups.items()}
    assert list(seeds.items()) == [(("A-v0", "x"), [5]), (("A-v0", "y"), [2, 11]), (("B-v0", "x"), [0])]


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("CartPole-v1__my-run__s3__20260102T030405Z", "my-run"),
        ("CartPole-v1__losses__s3__20260102T030405Z-2", "losses"),
        ("mine", "mine"),
        ("half__named", "half__named"),
    ],
)
def test_a_label(name, label):
    assert label_of(name) == label


def test_students_stand_by_size_then_score(tmp_path):
    small = {name: student(score=score) for name, score in (("low", 0.5), ("none", None), ("high", 0.9))}
    make_run(tmp_path, students={**small, "large": student(500, 0.1)})
    (runs,) = finished([tmp_path]).values()
    assert student_names(runs) == ["large", "high", "low", "none"]


def test_each_command_is_given_once(tmp_path):
    again = "python launch.py train losses --seed 1"
    make_run(tmp_path, seed=1, commands=(again, "python launch.py resume runs/x"))
    make_run(tmp_path, seed=2, commands=(again,))
    make_run(tmp_path, seed=3)
    page = markdown(finished([tmp_path]))
    assert page.endswith(
        "## Commands\n\n```\npython launch.py train losses --seed 1\npython launch.py resume runs/x\n"
        "python launch.py train losses --seed 3\n```\n"
    )


def test_a_folder_of_another_name_is_run_again_by_its_file(tmp_path):
    folder = make_run(tmp_path, seed=4)
    moved = tmp_path / "mine"
    folder.path.rename(moved)
    page = markdown(finished([tmp_path]))
    assert f"\npython launch.py train {moved / 'config.toml'} --seed 4\n" in page
    assert "\n## Acrobot-v1: mine\n" in page


def test_the_order_of_the_page(tmp_path):
    for env, label in (("B-v0", "x"), ("A-v0", "y"), ("A-v0", "x")):
        make_run(tmp_path, env, label)
    page = markdown(finished([tmp_path]))
    titles = [line for line in page.splitlines() if line.startswith("#")]
    assert titles == ["# Results", "## A-v0: x", "## A-v0: y", "## A-v0: compared", "## B-v0: x", "## Commands"]
    assert "nan" not in page.lower()
    assert "Machine: " in page


def test_a_run_of_before_is_still_told_of(tmp_path):
    """Its run file has keys that are gone, its summary lacks what is measured today, and it has no metrics."""
    old = student()
    del old["gap_weighted_agreement"]
    folder = make_run(tmp_path, students={"a": old})
    folder.write_config("seed = 0\n[learner]\nthreads = 3\n")
    assert "| a | kl | 100 | 10 % | 0.900 | – | 0.800 | – | – | 20.0 |" in markdown(finished([tmp_path]))


def test_the_picture_leaves_out_students_of_one_size(tmp_path):
    make_run(tmp_path, "A-v0", "losses", students={"a": student(), "b": student()})
    make_run(tmp_path, "A-v0", "sizes", students=SIZES)
    make_run(tmp_path, "A-v0", "alone", students={})
    assert list(pictured(finished([tmp_path]))) == ["A-v0"]
    make_run(tmp_path, "A-v0", "others", seed=1, students=SIZES)
    make_run(tmp_path, "B-v0", "others", seed=1, students=SIZES)
    groups = pictured(finished([tmp_path]))
    assert list(groups) == ["A-v0, others", "A-v0, sizes", "B-v0"]
    assert [one["seed"] for one in groups["A-v0, others"]] == [1]


def test_the_picture_is_of_what_was_learned_online_where_anything_was(tmp_path):
    make_run(tmp_path, "A-v0", "frozen", students=SIZES, config={"teacher": {"source": "runs/a"}})
    assert list(pictured(finished([tmp_path]))) == ["A-v0"]
    make_run(tmp_path, "B-v0", "online", students=SIZES)
    assert list(pictured(finished([tmp_path]))) == ["B-v0"]


def test_where_all_are_of_one_size_they_are_drawn(tmp_path):
    make_run(tmp_path, "A-v0", "losses", students={"a": student(), "b": student()})
    assert list(pictured(finished([tmp_path]))) == ["A-v0"]


def test_the_program(tmp_path, capsys):
    make_run(tmp_path / "runs", students=SIZES)
    page, picture = tmp_path / "page.md", tmp_path / "new" / "picture.svg"
    assert main([str(tmp_path / "runs"), "--out", str(page), "--picture", str(picture)]) == 0
    assert picture.is_file()
    assert capsys.readouterr().out == ""
    assert main([str(tmp_path / "runs")]) == 0
    assert capsys.readouterr().out == page.read_text()


def test_nothing_to_tell_of(tmp_path, capsys):
    make_run(tmp_path, status="interrupted")
    with pytest.raises(ConfigurationError, match="no finished run"):
        finished([tmp_path])
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: no finished run (folders=")


def test_damaged_metrics_are_told(tmp_path, capsys):
    folder = make_run(tmp_path)
    folder.metrics_file.write_text("{\n{}\n")
    assert main([str(tmp_path)]) == 4
    assert "line 1 is damaged" in capsys.readouterr().err


def test_a_note_stands_above_the_tables(tmp_path):
    make_run(tmp_path, seed=0)
    assert main([str(tmp_path), "--note", "Two ran at once.", "--out", str(tmp_path / "R.md")]) == 0
    page = (tmp_path / "R.md").read_text()
    assert page.index("Machine: ") < page.index("\n\nTwo ran at once.\n\n") < page.index("\n## ")
