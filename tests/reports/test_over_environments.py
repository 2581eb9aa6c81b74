"""Students of one name over several environments."""

from run_folders import make_run, rows
from summaries import student

from distributed_kd.reports.groups import finished
from distributed_kd.reports.over_environments import over_environments


def told(root):
    return rows(over_environments(finished([root])), "students")[1:]


def runs(root, env, label, scores, share=0.25, **more):
    for seed, score in enumerate(scores):
        make_run(root, env, label, seed, {"quarter": student(100, score, share)}, **more)


def test_one_row_for_a_name_with_the_worst_environment_named(tmp_path):
    runs(tmp_path, "CartPole-v1", "cartpole", [1.0, 1.0], share=0.258)
    runs(tmp_path, "Acrobot-v1", "acrobot", [0.5, 0.5], share=0.263)
    # 0.5 0.5 1 1: the middle two.
    assert told(tmp_path) == [["quarter", "26 %", "2", "4", "0.750", "0.750 … 0.750", "0.500 (Acrobot-v1)"]]


def test_students_stand_by_size(tmp_path):
    for env, label in (("CartPole-v1", "cartpole"), ("Acrobot-v1", "acrobot")):
        for seed in range(2):
            students = {
                "tiny": student(10, 0.9, 0.01),
                "half": student(500, 1.0, 0.5),
                f"of-{label}": student(50, 1.0, 0.05),
            }
            make_run(tmp_path, env, label, seed, students)
    assert [row[0] for row in told(tmp_path)] == ["half", "tiny"], "a name of one environment compares with nothing"


def test_only_presets_with_several_seeds_and_a_teacher_that_learns_take_part(tmp_path):
    runs(tmp_path, "CartPole-v1", "cartpole", [1.0, 1.0])
    runs(tmp_path, "Acrobot-v1", "acrobot", [0.5])
    runs(tmp_path, "Acrobot-v1", "of-my-own", [0.5, 0.5])
    frozen = {"teacher": {"source": "somewhere", "frozen": True}}
    runs(tmp_path, "MountainCar-v0", "mountaincar", [0.5, 0.5], config=frozen)
    assert over_environments(finished([tmp_path])) == ""
