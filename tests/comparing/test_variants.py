"""Run files at the points of a grid, and what their runs are called."""

import pytest

from distributed_kd.comparing.asked import read_asked
from distributed_kd.comparing.variants import names_for, short_keys, variants_of
from distributed_kd.errors import ConfigurationError
from distributed_kd.reports.groups import label_of
from distributed_kd.storage.run_folder import default_name


def asked(*words):
    return variants_of(read_asked([*words, "--out", "new"]))


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.toml").write_text('[students.tiny]\n[students."odd-one"]\n')
    (tmp_path / "sub" / "a.toml").write_text("[students.tiny]\nloss = 'mse'\n")
    (tmp_path / "bad.toml").write_text("[students.tiny]\nlos = 'mse'\n")


def test_every_file_at_every_point(files):
    words = [
        "--grid",
        "students.tiny.temperature=0.01,auto",
        "students.tiny.network.hidden=[8,8],4",
        "--replay.batch_size",
        "32",
    ]
    found = asked("a.toml", "sub/a.toml", *words)
    assert [one.label for one in found] == [
        "a-temperature-0.01-hidden-8-8",
        "a-temperature-0.01-hidden-4",
        "a-temperature-auto-hidden-8-8",
        "a-temperature-auto-hidden-4",
        "a-temperature-0.01-hidden-8-8-2",
        "a-temperature-0.01-hidden-4-2",
        "a-temperature-auto-hidden-8-8-2",
        "a-temperature-auto-hidden-4-2",
    ]
    tiny = [one.config.students["tiny"] for one in found]
    assert [one.temperature for one in tiny] == 2 * [0.01, 0.01, "auto", "auto"]
    assert [one.network.hidden for one in tiny] == 4 * [(8, 8), (4,)]
    assert [one.loss for one in tiny] == 4 * ["kl"] + 4 * ["mse"]
    assert {one.config.replay.batch_size for one in found} == {32}
    assert found[-1].source == "sub/a.toml"
    assert found[-1].point == {"students.tiny.temperature": "auto", "students.tiny.network.hidden": "4"}


def test_a_point_may_leave_a_student_out_and_spell_it_as_flags_do(files):
    found = asked("a.toml", "--grid", "students.odd_one=none")
    assert list(found[0].config.students) == ["tiny"]
    (found,) = asked("a.toml", "--students.new.loss", "mse", "--grid", "students.new.temperature=1")
    assert found.config.students["new"].temperature == 1.0


def test_faults_of_all_files_are_told_together_and_a_key_once(files):
    with pytest.raises(ConfigurationError) as told:
        asked("a.toml", "bad.toml", "cartpol", "none.toml", "--grid", "teacher.gama=0.9,0.99", "students.tiny.loss=kl,mse")
    assert [line.partition(":")[0] for line in told.value.lines] == [
        "unknown flag (teacher.gama=0.9)",
        'unknown key (students.tiny.los="mse")',
        "unknown preset (preset='cartpol')",
        "cannot read the run file (file=none.toml)",
    ]


def test_keys_are_called_by_as_much_as_tells_them_apart():
    keys = ["students.a.temperature", "students.b.temperature", "seed", "replay.batch_size", "learner.batch_size"]
    assert list(short_keys(keys).values()) == [
        "a.temperature",
        "b.temperature",
        "seed",
        "replay.batch_size",
        "learner.batch_size",
    ]
    assert short_keys(["env.id"]) == {"env.id": "id"}


def test_names_hold_in_a_folder_of_runs():
    texts = ["plain", "plain", "my__own", "__", "a b/..\x1b[31m", "../../etc", "x" * 100, "x" * 101, "ends_"]
    names = names_for(texts)
    assert len(set(names)) == len(texts)
    assert names[:4] == ["plain", "plain-2", "my_own", "run"]
    for name in names:
        assert label_of(default_name("CartPole-v1", name, 3, 0.0)) == name
        assert len(name) <= 64 and "/" not in name and not name.startswith(".")
