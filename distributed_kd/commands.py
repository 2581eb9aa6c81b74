"""The commands, one function each; what they do lies on the floors below."""

import argparse
import sys
import time
from pathlib import Path

from distributed_kd import presets, run_file
from distributed_kd.errors import ConfigurationError, Problem

TRAIN_OPTIONS = """\
  PRESET | FILE.toml          a preset (python launch.py presets lists them) or a run file; without one, cartpole
  --out DIR                   the run's folder (default: runs/<env>__<preset>__s<seed>__<UTC time>)
"""

RUN_OPTIONS = """\
  --data FILE.npz             learn from a fixed set of states alone, as `dataset` draws it: no environment steps
  --runner ray|inline         ray: actors in parallel; inline: one process, the same to the bit for one seed
  --address ADDRESS           join a running Ray cluster (auto: the one on this machine); without it Ray starts embedded
  --allow-env-import          let env.id "module:Id-v0" import that module
  --debug                     show the traceback of an error
"""

EXAMPLES = """\
Examples:
  python launch.py train cartpole --seed 1 --replay.capacity 50000
  python launch.py train cartpole --students.new.network.hidden 8 8 --students.quarter none
"""


def train(words: list[str]) -> int:
    """`train [PRESET or FILE.toml] [--KEY VALUE ...] [--out DIR]`."""
    typed = ["train", *words]
    source = words.pop(0) if words and not words[0].startswith("-") else "cartpole"
    options, flags = _split(words, "train")
    is_file = source.endswith(".toml") or "/" in source
    tables = run_file.read_toml(Path(source)) if is_file else presets.read(source)
    if options.help:
        return _help("python launch.py train [PRESET | FILE.toml]", tables, f"{TRAIN_OPTIONS}{RUN_OPTIONS}\n{EXAMPLES}")
    from distributed_kd.flags import parse_run
    from distributed_kd.storage.run_folder import RunFolder, default_name, unused
    from distributed_kd.training.given import keep_teachers, lines, read_given, with_teachers_network
    from distributed_kd.training.parts import Parts
    from distributed_kd.training.preflight import check_networks

    config = parse_run(flags, tables, "python launch.py train")
    config, spec, runner, plan = _check(config, options)
    given = read_given(config, spec)
    config = with_teachers_network(config, given)
    parts = Parts(config, spec, given.teachers, given.starts)
    check_networks(parts)
    name = default_name(config.env.id, _label(Path(source)) if is_file else source, config.seed, time.time())
    path = Path(options.out) if options.out else unused(Path("runs") / name)
    with RunFolder.create(path, run_file.encode(config)) as folder:
        folder.note_command(typed)
        keep_teachers(folder, given)
        return _run(parts, folder, runner, [*lines(given, config), *plan])


def resume(words: list[str]) -> int:
    """`resume DIR [--KEY VALUE ...]`: only the tables that may change, and students that join."""
    typed = ["resume", *words]
    directory = words.pop(0) if words and not words[0].startswith("-") else None
    options, flags = _split(words, "resume")
    if options.out:
        raise ConfigurationError(
            Problem("not an option here", "out", options.out, "a run goes on in its own folder", "Leave it out")
        )
    if options.help:
        folder = "  DIR                         the folder of a run\n"
        only = (
            "Only keys of stop, evaluation, checkpoint and learner may change, and --students.NEW.KEY VALUE adds a\n"
            "student, which drives no lanes, so that all others learn as they would have. Defaults are the run's own."
        )
        return _help("python launch.py resume DIR", {}, f"{folder}{RUN_OPTIONS}\n{only}")
    if directory is None:
        raise ConfigurationError(Problem("no run", "DIR", "", "resume needs the folder of a run", "Give one of runs/"))
    from distributed_kd.flags import parse_run
    from distributed_kd.storage.run_folder import RunFolder
    from distributed_kd.training.given import parts_of, read_given
    from distributed_kd.training.joining import check_goes_on, joined_later, newcomers
    from distributed_kd.training.preflight import check_networks
    from distributed_kd.training.run import open_checkpoint

    with RunFolder.open(Path(directory)) as folder:
        tables = run_file.read_toml(folder.config_file)
        before = run_file.decode(tables)
        config = joined_later(parse_run(flags, tables, "python launch.py resume"), before)
        folder.lock()
        restored = open_checkpoint(folder, config, before)
        for line in restored.skipped:
            print(f"warning: a damaged checkpoint was passed over: {line}", file=sys.stderr)
        options.runner = options.runner or str(restored.about.get("runner", "ray"))
        check_goes_on(config, before, restored)
        config, spec, runner, plan = _check(config, options)
        parts = parts_of(folder, config, spec, read_given(newcomers(config, before), spec))
        check_networks(parts)
        if config != before:
            folder.write_config(run_file.encode(config))
        folder.note_command(typed)
        print(f"resuming from {restored.path}")
        return _run(parts, folder, runner, plan, restored)


def evaluate(words: list[str]) -> int:
    """`evaluate RUN --policy NAME [--episodes N] [--seed S] [--video DIR] [--json]`."""
    parser = _Parser(prog="python launch.py evaluate", description="Play full greedy episodes with a run's newest weights.")
    parser.add_argument("run", metavar="RUN", help="the folder of a run")
    parser.add_argument("--policy", required=True, help="teacher, or the name of a student")
    parser.add_argument("--episodes", type=int, default=20, help="episodes to play (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="episode seeds are spawned from it (default: 0)")
    parser.add_argument("--video", metavar="DIR", help="record every episode as mp4 into this folder")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a line")
    parser.add_argument("--allow-env-import", action="store_true", help='let env.id "module:Id-v0" import that module')
    asked = parser.parse_args(words)
    from distributed_kd.reports.played import print_played
    from distributed_kd.storage.run_folder import RunFolder
    from distributed_kd.training.playing import play_saved
    from distributed_kd.training.preflight import check_run

    folder = RunFolder.open(Path(asked.run))
    config = run_file.decode(run_file.read_toml(folder.config_file))
    spec = check_run(config, asked.allow_env_import)
    video = Path(asked.video) if asked.video else None
    played = play_saved(folder, config, spec, asked.policy, asked.episodes, asked.seed, video)
    print_played(asked.policy, asked.seed, played, asked.json)
    return 0


def dataset(words: list[str]) -> int:
    """`dataset RUN --states N --out FILE.npz [--from replay|teacher] [--seed S]`."""
    parser = _Parser(prog="python launch.py dataset", description="Draw a fixed set of states to distil students on.")
    parser.add_argument("run", metavar="RUN", help="the folder of a run")
    parser.add_argument("--states", type=int, default=500, help="how many (default: 500)")
    parser.add_argument("--out", required=True, metavar="FILE.npz", help="the file to write; there must be none yet")
    parser.add_argument(
        "--from",
        dest="origin",
        choices=("replay", "teacher"),
        default="replay",
        help="from the run's replay, or from greedy episodes that its teacher plays now (default: replay)",
    )
    parser.add_argument("--seed", type=int, default=0, help="which states are drawn (default: 0)")
    parser.add_argument("--allow-env-import", action="store_true", help='let env.id "module:Id-v0" import that module')
    asked = parser.parse_args(words)
    from distributed_kd.storage.run_folder import RunFolder
    from distributed_kd.training import data_set
    from distributed_kd.training.preflight import check_run

    for key, value, least in (("states", asked.states, data_set.FEWEST), ("seed", asked.seed, 0)):
        if value < least:
            fix = f"Set --{key} {least} or more"
            raise ConfigurationError(Problem(f"bad {key}", key, value, f"it must be at least {least}", fix))
    folder = RunFolder.open(Path(asked.run))
    config = run_file.decode(run_file.read_toml(folder.config_file))
    spec = check_run(config, asked.allow_env_import)
    data = data_set.draw(folder, config, spec, asked.states, asked.seed, asked.origin)
    data_set.write(data, Path(asked.out))
    print(f"{asked.states} states of {data.env} written to {asked.out}")
    print(f"distil on them with: python launch.py train FILE.toml --data {asked.out}")
    return 0


def list_presets(words: list[str]) -> int:
    """`presets`."""
    _Parser(prog="python launch.py presets", description="List the presets.").parse_args(words)
    width = max(map(len, presets.names()))
    for name in presets.names():
        print(f"{name:{width}}  {presets.describe(name)}")
    print("\npython launch.py train NAME trains one; python launch.py train NAME --help shows all its values")
    return 0


def doctor(words: list[str]) -> int:
    """`doctor [--address ADDRESS]`."""
    parser = _Parser(prog="python launch.py doctor", description="Tell whether this machine or cluster can run a preset.")
    parser.add_argument("--address", help="a running Ray cluster to look at instead of starting Ray here")
    asked = parser.parse_args(words)
    from distributed_kd.training.doctor import examine

    return examine(asked.address)


class _Parser(argparse.ArgumentParser):
    """argparse whose errors are the program's own: one line, code 2."""

    def error(self, message: str):
        raise ConfigurationError(f"{message}. See {self.prog} --help")


def _split(words: list[str], command: str) -> tuple[argparse.Namespace, list[str]]:
    """The options of the command itself, and what is left for the run file."""
    parser = _Parser(prog=f"python launch.py {command}", add_help=False, allow_abbrev=False)
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--allow-env-import", action="store_true")
    taking = ("--out", "--address", "--runner", "--data")
    for option in taking:
        parser.add_argument(option, choices=("ray", "inline") if option == "--runner" else None)
    own, flags = [], []
    rest = iter(words)
    for word in rest:
        if word in ("-h", "--help", "--allow-env-import") or word.startswith(tuple(f"{option}=" for option in taking)):
            own.append(word)
        elif word in taking:
            own += [word, *([following] if (following := next(rest, None)) is not None else [])]
        else:
            flags.append(word)
    options = parser.parse_args(own)
    if options.data == "":
        why, fix = "it names no file", "Give a file as dataset writes it, or leave --data out"
        raise ConfigurationError(Problem("no set of states", "data", "''", why, fix))
    return options, [*flags, *(["--data.file", options.data] if options.data is not None else [])]


def _label(path: Path) -> str:
    """What a run made from a file is called; a run's own config.toml stands for the folder it lies in."""
    if path.name != "config.toml":
        return path.stem
    parts = path.resolve().parent.name.split("__")
    return parts[1] if len(parts) > 2 else parts[0]


def _help(prog: str, tables: dict, extra: str) -> int:
    from distributed_kd.flags import help_text

    print(help_text(tables, prog, extra))
    return 0


def _check(config, options: argparse.Namespace):
    """Everything that can be told before anything is started: the environment, and the machine where it is ours.

    Gives the run as it holds with its set of states, if it has one, the environment's spec, the loop and the plan.
    """
    from distributed_kd.training.plan import plan_here
    from distributed_kd.training.preflight import check_address, check_device, check_run

    spec = check_run(config, options.allow_env_import)
    if options.runner == "inline" or config.data.file:
        alone = "a set of states is learned from in one process" if config.data.file else "the inline runner uses no cluster"
        for key, given in (("address", options.address), ("runner", options.runner if options.runner == "ray" else None)):
            if given:
                raise ConfigurationError(Problem("options exclude each other", key, given, alone, "Drop one"))
        check_device(config)
        if config.data.file:
            from distributed_kd.training import data_set, offline

            return data_set.taught_by_its_run(config, spec), spec, offline.RUNNER, []
        from distributed_kd.training import inline

        return config, spec, inline.RUNNER, []
    from distributed_kd.training.on_ray import runner

    if options.address:
        check_address(options.address)
    plan = [] if options.address else plan_here(config).lines(config)
    return config, spec, runner(options.address), plan


def _run(parts, folder, runner, plan, restored=None) -> int:
    from distributed_kd.reports.live import Screen
    from distributed_kd.reports.outcome import report
    from distributed_kd.training.run import execute

    folder.lock()
    if plan:
        print("\n".join(["plan", *(f"  {line}" for line in plan)]))
    print(f"run   {folder.path}", flush=True)
    with Screen(parts.config) as screen:
        summary, code = execute(parts, folder, runner, restored, screen.show)
    report(summary, folder, sys.stdout)
    return code


COMMANDS = {
    "train": train,
    "resume": resume,
    "evaluate": evaluate,
    "dataset": dataset,
    "presets": list_presets,
    "doctor": doctor,
}
