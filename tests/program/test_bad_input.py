"""Everything a user can get wrong: told before anything starts, all at once, one line each, and nothing left behind."""

import sys
from pathlib import Path

import pytest
from launching import launch

from distributed_kd import ready
from distributed_kd.cli import main

NO_FILE = "no such file or directory. Give the path of a TOML file"
NAMES = (
    "a name has 1 to 64 letters, digits, '.', '_' or '-' and is none of teacher, random, none, "
    "version, seconds, env_steps. Rename it"
)
AT_LEAST_1 = "it must be a finite number of at least 1."
CLUSTER = "Give the address of a running cluster, as ray start --head prints it, or leave --address out"

TABLE = [
    # The command and its own options.
    (2, "trian", "unknown command (command=trian): there is none of this name. Did you mean train?"),
    (
        2,
        "frobnicate",
        "unknown command (command=frobnicate): there is none of this name. "
        "The commands are train, compare, resume, evaluate, report, export, dataset, networks, presets, doctor, bench",
    ),
    (2, "train cartpol", "unknown preset (preset='cartpol'): there is none of this name. Did you mean cartpole?"),
    (
        2,
        "train --runner inlin",
        "argument --runner: invalid choice: 'inlin' (choose from 'ray', 'inline'). See python launch.py train --help",
    ),
    (2, "train --out", "argument --out: expected one argument. See python launch.py train --help"),
    (
        2,
        "train --runner inline --address auto",
        "options exclude each other (address=auto): the inline runner uses no cluster. Drop one",
    ),
    # Files.
    (2, "train no.toml", f"cannot read the run file (file=no.toml): {NO_FILE}"),
    (
        2,
        "train broken.toml",
        "cannot read the run file (file=broken.toml): broken TOML, Invalid initial character for a key part "
        "(at line 2, column 11). Correct it there",
    ),
    (2, "train typo.toml", "unknown key (replay.capcity=5): [replay] has no key of this name. Did you mean capacity?"),
    (
        2,
        "train --replay.capcity 5",
        "unknown flag (replay.capcity=5): the run file has no key of this name. Did you mean --replay.capacity?",
    ),
    # Environments.
    (
        2,
        "train --env.id CartPol-v1",
        "unknown environment (env.id=CartPol-v1): Gymnasium has no such id. Did you mean CartPole-v1?",
    ),
    (
        2,
        "train --env.id Zzz",
        'unknown environment (env.id=Zzz): Gymnasium has no such id. Give a Gymnasium id; for your own, "module:Id-v0"',
    ),
    (
        2,
        "train --env.id Pendulum-v1",
        "unsupported actions (env.id=Pendulum-v1): its actions are a Box[1]. Choose an environment with Discrete actions",
    ),
    (
        2,
        "train --env.id odd_envs:OddDict-v0 --allow-env-import",
        "unsupported observations (env.id=odd_envs:OddDict-v0): they are a Dict. Set --env.flatten true",
    ),
    (
        2,
        "train --env.id odd_envs:OddSingle-v0 --allow-env-import",
        "unsupported actions (env.id=odd_envs:OddSingle-v0): it has a single action. Choose another",
    ),
    (
        2,
        "train --env.id odd_envs:Od-v0 --allow-env-import",
        "unknown environment (env.id=odd_envs:Od-v0): Gymnasium has no such id. Did you mean Odd-v0?",
    ),
    (
        2,
        "train --env.id no_such_module:Odd-v0 --allow-env-import",
        "bad environment (env.id=no_such_module:Odd-v0): importing no_such_module failed with ModuleNotFoundError: "
        "No module named 'no_such_module'. Mend the module",
    ),
    # Students.
    (
        2,
        "train none.toml",
        "no students (students=none): there is nothing to distil into. Add one with --students.tiny.network.hidden 16 16",
    ),
    (2, "train twins.toml", "two students alike (students=Tiny, tiny): the names differ in case only. Rename one"),
    (
        2,
        "train names.toml",
        f"bad student name (students='a b'): {NAMES}",
        f"bad student name (students='teacher'): {NAMES}",
        f"bad student name (students='-rf'): {NAMES}",
    ),
    (2, "train --students.a/b.loss kl", f"bad student name (students='a/b'): {NAMES}"),
    (2, "train evil.toml", f"bad student name (students='x\\x1b[31m\\nerror: y'): {NAMES}"),
    # Sizes.
    (
        2,
        "train sizes.toml",
        "wrong type (rollouts.actors=true): it must be a whole number or a table. Write for example actors = 2",
        "bad learning rate (teacher.learning_rate=nan): it must be a finite number above 0. "
        "Set --teacher.learning_rate to a positive number",
        f"bad size (replay.capacity=-5): {AT_LEAST_1} Set --replay.capacity 1 or more",
    ),
    (
        2,
        "train --replay.capacity 600 --replay.batch_size 601 --replay.warmup 300",
        "replay too small (replay.capacity=600): a batch has 601 steps. Set --replay.capacity 601 or more",
    ),
    (
        2,
        "train --replay.warmup 200000 --stop.env_steps 300000",
        "warm-up never ends (replay.warmup=200000): the replay holds 100000 rows. Set --replay.warmup 50000 or less",
    ),
    (
        2,
        "train --replay.warmup 50000 --stop.env_steps 50000",
        "warm-up never ends (replay.warmup=50000): the run ends at 50000 steps. Set --replay.warmup 5000 or less",
    ),
    (
        2,
        "train --stop.env_steps 0",
        "no end (stop.env_steps=0): schedules need at least one bound. Set --stop.env_steps 100000",
    ),
    # All at once.
    (
        2,
        "train many.toml --replay.capcity 5",
        "unknown key (sead=1): the run file has no key of this name. Did you mean seed?",
        'unknown key (students.Tiny.los="kl"): [students.Tiny] has no key of this name. Did you mean loss?',
        "unknown flag (replay.capcity=5): the run file has no key of this name. Did you mean --replay.capacity?",
        "two students alike (students=Tiny, tiny): the names differ in case only. Rename one",
        f"bad number of checkpoints (checkpoint.keep=0): {AT_LEAST_1} Set --checkpoint.keep 1 or more",
    ),
    # Folders.
    (
        2,
        "train --runner inline --out full",
        "the folder is in use (out=full): it holds a run already. "
        'Go on with "python launch.py resume full", or give another --out',
    ),
    (
        2,
        "train --runner inline --out none.toml",
        "the folder cannot be made (out=none.toml): a file is in its place. Give another --out",
    ),
    (2, "resume", "no run (DIR=): resume needs the folder of a run. Give one of runs/"),
    (
        2,
        "resume nowhere",
        "not the folder of a run (path=nowhere): there is no config.toml in it. Give the folder of a run, such as runs/NAME",
    ),
    (
        2,
        "resume nowhere --out x",
        "not an option here (out=x): a run goes on in its own folder. Leave it out",
    ),
    (
        2,
        "evaluate nowhere --policy tiny",
        "not the folder of a run (path=nowhere): there is no config.toml in it. Give the folder of a run, such as runs/NAME",
    ),
    (
        4,
        "resume started",
        "no checkpoint to start from (path=started/checkpoints): there is none. "
        "Bring back the folder from a copy, or start a new run",
    ),
    # Machine, cluster, disk.
    (
        5,
        "train --learner.device cuda",
        "no GPU (learner.device=cuda): there is none here. Set --learner.device auto, or run where one is",
    ),
    (
        5,
        "train --learner.device cuda --runner inline",
        "no GPU (learner.device=cuda): there is none here. Set --learner.device auto, or run where one is",
    ),
    (
        5,
        "train --learner.cuda_graph true --runner inline",
        "no GPU (learner.cuda_graph=true): there is none here. Set --learner.cuda_graph false, or run where one is",
    ),
    (
        5,
        "train --learner.cuda_graph true",
        "no GPU (learner.cuda_graph=true): there is none here. Set --learner.cuda_graph false, or run where one is",
    ),
    (
        2,
        "train --learner.cuda_graph true --learner.device cpu",
        "no GPU to record on (learner.cuda_graph=true): learner.device is cpu, and only a GPU repeats what was recorded. "
        "Set --learner.cuda_graph false",
    ),
    (
        5,
        "train --rollouts.actors 40",
        "too few CPUs (rollouts.actors=40): the run needs 11.5 CPU, there are 2. Lower --rollouts.actors to 2",
    ),
    (
        6,
        "train --address 127.0.0.1:1",
        f"no Ray cluster there (address=127.0.0.1:1): connection refused. {CLUSTER}",
    ),
    (6, "train --address 127.0.0.1", f"bad address (address=127.0.0.1): it must be auto or HOST:PORT. {CLUSTER}"),
    (
        7,
        "train --runner inline --out /proc/nope",
        "the run's folder could not be made (path=/proc/nope): No such file or directory. "
        "Check the disk, or give another --out",
    ),
    (
        7,
        "train --runner inline --out none.toml/run",
        "the run's folder could not be made (path=none.toml/run): Not a directory. Check the disk, or give another --out",
    ),
]


def folders_of_runs(place: Path) -> set[str]:
    return {str(path.relative_to(place)) for path in place.rglob("*") if path.is_dir() and "__pycache__" not in path.parts}


@pytest.mark.parametrize(("code", "words", "lines"), [(code, words, lines) for code, words, *lines in TABLE])
def test_a_fault_is_told_in_one_line(code, words, lines, place, capsys):
    check_told(code, words, lines, place, capsys)


def check_told(code, words, lines, place, capsys):
    """A command ends with this code, tells exactly these lines and leaves no folder behind."""
    before = folders_of_runs(place)
    assert main(words.split()) == code
    assert capsys.readouterr().err.splitlines() == [f"error: {line}" for line in lines]
    assert folders_of_runs(place) == before


@pytest.mark.parametrize("words", ["train --env.id odd_envs:Odd-v0", "resume played", "evaluate played --policy tiny"])
def test_no_module_is_imported_without_leave(words, place, capsys):
    """Not from a flag, and not from the file of a run that somebody else made."""
    (place / "played").mkdir()
    (place / "played" / "config.toml").write_text('[env]\nid = "odd_envs:Odd-v0"\n[students.tiny]\n')
    if words.startswith("resume"):
        from distributed_kd.storage.checkpoints import save

        save(place / "played" / "checkpoints", 1, {"learner": {}}, {"runner": "inline", "env_steps": 0}, 1)
    assert main(words.split()) == 2
    assert capsys.readouterr().err == (
        "error: a module would be imported (env.id=odd_envs:Odd-v0): importing odd_envs runs its code. "
        "If you trust it, add --allow-env-import\n"
    )
    assert not (place / "odd_envs.imported").exists()
    assert "odd_envs" not in sys.modules
    main(["train", "--env.id", "odd_envs:OddDict-v0", "--allow-env-import"])
    assert (place / "odd_envs.imported").exists(), "or this test would see nothing"


SEEN_BY_USERS = ("trian", "train --env.id CartPol-v1", "train many.toml --replay.capcity 5", "resume started")


@pytest.mark.parametrize("words", SEEN_BY_USERS)
def test_a_user_sees_the_same(words, place):
    """Through the real program: the same line, no traceback, nothing else."""
    code, _, *lines = next(row for row in TABLE if row[1] == words)
    ended = launch(*words.split(), cwd=place)
    assert ended.returncode == code
    assert ended.stderr.splitlines() == [f"error: {line}" for line in lines]
    assert ended.stdout == ""
    assert not (place / "runs").exists()


def test_debug_shows_where(place, capsys):
    assert main(["train", "none.toml", "--debug"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("Traceback")
    assert told.splitlines()[-1].startswith("error: no students")


def test_a_fault_of_the_program_is_one_line_too(place, capsys, monkeypatch):
    def broken(config):
        raise ZeroDivisionError("division\nby \x1b[31mzero")

    monkeypatch.setattr(ready, "plan_here", broken)
    assert main(["train"]) == 9
    assert capsys.readouterr().err == (
        "error: ZeroDivisionError: division by \\x1b[31mzero. That is a fault of the program; --debug shows where\n"
    )
