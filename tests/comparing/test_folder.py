"""The folder of a comparison: what is noted there, and what is the same comparison again."""

import json

import pytest

from distributed_kd import run_file
from distributed_kd.comparing.folder import Comparison
from distributed_kd.comparing.variants import Variant
from distributed_kd.errors import ConfigurationError


def variant(label="a", **tables):
    tables = run_file.merge({"students": {"tiny": {}}}, tables)
    return Variant(label, f"{label}.toml", {"x": "1"}, run_file.decode(tables))


def at(path, *variants, seeds=2, runner=None):
    return Comparison.at(path, variants or [variant()], seeds, runner)


def made(path, *variants, seeds=2, runner=None):
    comparison = at(path, *variants, seeds=seeds, runner=runner)
    comparison.make("python launch.py compare a.toml", {"x": ["1"]})
    return comparison


def test_what_was_asked_is_noted_and_a_new_one_changes_nothing_before(tmp_path):
    path = tmp_path / "all"
    assert at(path).path == path
    assert not path.exists()
    comparison = made(path, runner="inline")
    told = json.loads((path / "comparison.json").read_text())
    assert (told["command"], told["seeds"], told["runner"]) == ("python launch.py compare a.toml", 2, "inline")
    assert told["grid"] == {"x": ["1"]}
    (one,) = told["files"]
    assert (one["label"], one["file"], one["env"], one["grid"]) == ("a", "a.toml", "CartPole-v1", {"x": "1"})
    assert one["runs"] == [comparison.run_folder(variant(), seed).name for seed in (0, 1)]
    assert one["runs"][1].startswith("CartPole-v1__a__s1__")
    assert run_file.decode(run_file.read_toml(path / "files" / "a.toml")) == variant().config


def test_the_same_again_has_the_same_runs_and_more_seeds_are_welcome(tmp_path):
    first = made(tmp_path / "all", runner="inline")
    with first.lock():
        pass  # it leaves a file, which is nobody's run
    again = at(tmp_path / "all", seeds=5)
    assert again.run_folder(variant(), 1) == first.run_folder(variant(), 1)
    assert (again.seeds, again.runner) == (5, "inline")
    assert at(tmp_path / "all", runner="ray").runner == "ray"


def test_a_folder_that_was_only_locked_is_free(tmp_path):
    at(tmp_path / "all").lock().close()
    assert at(tmp_path / "all", seeds=1).seeds == 1


def test_of_two_at_once_the_second_is_refused(tmp_path):
    with at(tmp_path).lock(), pytest.raises(ConfigurationError, match="the folder is in use"):
        at(tmp_path).lock()


def test_what_is_not_the_same_is_told_key_by_key(tmp_path):
    made(tmp_path, variant("a"), variant("b"))
    other = {"teacher": {"gamma": 0.5}, "students": {"tiny": {"loss": "mse"}}}
    with pytest.raises(ConfigurationError) as told:
        at(tmp_path, variant("a", **other), variant("b", **other), seeds=1)
    seeds, loss, gamma = sorted(told.value.lines, key=len)
    assert seeds == (
        "the comparison was made otherwise (seeds=1): it was begun with 2. Give --seeds 2 or more, or another --out"
    )
    assert "(teacher.gamma=0.5): it is 0.99 in " in loss + gamma
    assert "(students.tiny.loss=mse): it is kl in " in loss + gamma
    with pytest.raises(ConfigurationError, match="holds one of a, b"):
        at(tmp_path, variant("a"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"files": [{"label": 3}], "seeds": 1, "began": 0, "runner": null}',
        '{"files": [], "seeds": 1, "began": 0, "runner": "rm -rf"}',
        '{"files": [], "seeds": "1", "began": 0, "runner": null}',
        '{"files": [], "seeds": 1, "began": NaN, "runner": null}',
        "[" * 100_000,
    ],
)
def test_a_damaged_one_is_told(text, tmp_path):
    (tmp_path / "comparison.json").write_text(text)
    with pytest.raises(ConfigurationError, match="the comparison cannot be read"):
        at(tmp_path)


def test_parts_of_a_runs_name_stay_apart(tmp_path):
    comparison = at(tmp_path)
    name = comparison.run_folder(variant("b", env={"id": "my__envs:My__Env-v0"}), 3).name
    assert name.split("__")[:3] == ["my_envs-My_Env-v0", "b", "s3"]
