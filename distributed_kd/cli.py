"""The command line: which command was asked for, with which options, and what its end means for the exit code.

Each command is one function here; what it does lies on the floors below. Flags of the run file are read in `flags.py`.
"""

import argparse
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from distributed_kd import presets, run_file
from distributed_kd.errors import INTERRUPTED, ConfigurationError, Problem, RunError

USAGE = """\
distributed_kd: one run trains a DQN teacher and a family of small students, and tells what small costs in score.

usage: python launch.py COMMAND [...]

  train [PRESET | FILE.toml] [--KEY VALUE ...] [--out DIR]   train a teacher and its students; no preset means cartpole
  resume DIR [--KEY VALUE ...]                               go on from the newest good checkpoint of a run
  evaluate RUN --policy NAME [--episodes N] [--video DIR]    play full greedy episodes with saved weights
  presets                                                    list the presets
  doctor                                                     tell whether this machine can run, and what is missing

  python launch.py train            the main job, on CartPole: about a minute and a half on two cores
  python launch.py COMMAND --help   the options of a command

Exit codes: 0 done, 2 configuration, 3 environment, 4 checkpoint, 5 resources, 6 Ray, 7 storage, 8 diverged, 9 internal,
75 stopped by SIGTERM and 130 by Ctrl-C, both with a checkpoint to resume from.
"""

TRAIN_OPTIONS = """\
  PRESET | FILE.toml          a preset (python launch.py presets lists them) or a run file; without one, cartpole
  --out DIR                   the run's folder (default: runs/<env>__<preset>__s<seed>__<UTC time>)
"""

RUN_OPTIONS = """\
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and give its exit code; errors are one line each on stderr."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if not words or words[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return 0
    try:
        if words[0] not in COMMANDS:
            close = run_file.nearest(words[0], COMMANDS)
            fix = f"Did you mean {close}?" if close else f"The commands are {', '.join(COMMANDS)}"
            raise ConfigurationError(Problem("unknown command", "command", words[0], "there is none of this name", fix))
        return COMMANDS[words[0]](words[1:])
    except RunError as error:
        if debug:
            traceback.print_exc()
        for line in error.lines:
            print(f"error: {line}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # the last line of defence: a fault of the program, told in one line
        if debug:
            traceback.print_exc()
        text = " ".join(str(error).split())
        print(
            f"error: {type(error).__name__}: {text}. That is a fault of the program; --debug shows where",
            file=sys.stderr,
        )
        return 9


def train(words: list[str]) -> int:
    """`train [PRESET or FILE.toml] [--KEY VALUE ...] [--out DIR]`."""
    source = words.pop(0) if words and not words[0].startswith("-") else "cartpole"
    options, flags = _split(words)
    is_file = source.endswith(".toml") or "/" in source
    tables = run_file.read_toml(Path(source)) if is_file else presets.read(source)
    if options.help:
        return _help("python launch.py train [PRESET | FILE.toml]", tables, f"{TRAIN_OPTIONS}{RUN_OPTIONS}\n{EXAMPLES}")
    from distributed_kd.flags import parse_run
    from distributed_kd.storage.run_folder import RunFolder, default_name, unused

    config = parse_run(flags, tables, "python launch.py train")
    spec, runner = _check(config, options)
    name = default_name(config.env.id, _label(Path(source)) if is_file else source, config.seed, time.time())
    path = Path(options.out) if options.out else unused(Path("runs") / name)
    with RunFolder.create(path, run_file.encode(config)) as folder:
        return _run(config, spec, folder, runner)


def resume(words: list[str]) -> int:
    """`resume DIR [--KEY VALUE ...]`: only the tables that may change."""
    directory = words.pop(0) if words and not words[0].startswith("-") else None
    options, flags = _split(words)
    if options.out:
        raise ConfigurationError(
            Problem("not an option here", "out", options.out, "a run goes on in its own folder", "Leave it out")
        )
    if options.help:
        folder = "  DIR                         the folder of a run\n"
        only = "Only keys of stop, evaluation, checkpoint and learner may change; defaults are the run's own values."
        return _help("python launch.py resume DIR", {}, f"{folder}{RUN_OPTIONS}\n{only}")
    if directory is None:
        raise ConfigurationError(Problem("no run", "DIR", "", "resume needs the folder of a run", "Give one of runs/"))
    from distributed_kd.flags import parse_run
    from distributed_kd.storage.run_folder import RunFolder
    from distributed_kd.training.run import open_checkpoint

    with RunFolder.open(Path(directory)) as folder:
        tables = run_file.read_toml(folder.config_file)
        before = run_file.decode(tables)
        config = parse_run(flags, tables, "python launch.py resume")
        folder.lock()
        restored = open_checkpoint(folder, config, before)
        for line in restored.skipped:
            print(f"warning: a damaged checkpoint was passed over: {line}", file=sys.stderr)
        options.runner = options.runner or str(restored.about.get("runner", "ray"))
        spec, runner = _check(config, options)
        if config != before:
            folder.write_config(run_file.encode(config))
        print(f"resuming from {restored.path}")
        return _run(config, spec, folder, runner, restored)


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


COMMANDS = {"train": train, "resume": resume, "evaluate": evaluate, "presets": list_presets, "doctor": doctor}


class _Parser(argparse.ArgumentParser):
    """argparse whose errors are the program's own: one line, code 2."""

    def error(self, message: str):
        raise ConfigurationError(f"{message}. See {self.prog} --help")


def _split(words: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The options of the command itself, and what is left for the run file."""
    parser = _Parser(prog="python launch.py train", add_help=False, allow_abbrev=False)
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--allow-env-import", action="store_true")
    taking = ("--out", "--address", "--runner")
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
    return parser.parse_args(own), flags


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
    """Everything that can be told before anything is started: the environment, and the machine where it is ours."""
    from distributed_kd.training.plan import plan_here
    from distributed_kd.training.preflight import check_address, check_device, check_run

    spec = check_run(config, options.allow_env_import)
    if options.runner == "inline":
        if options.address:
            raise ConfigurationError(
                Problem(
                    "options exclude each other",
                    "address",
                    options.address,
                    "the inline runner uses no cluster",
                    "Drop one",
                )
            )
        from distributed_kd.training.inline import RUNNER

        check_device(config)
        return spec, RUNNER
    from distributed_kd.training.on_ray import runner

    if options.address:
        check_address(options.address)
    else:
        print("\n".join(["plan", *(f"  {line}" for line in plan_here(config).lines(config))]), flush=True)
    return spec, runner(options.address)


def _run(config, spec, folder, runner, restored=None) -> int:
    from distributed_kd.reports.live import Screen
    from distributed_kd.reports.outcome import report
    from distributed_kd.training.run import execute

    folder.lock()
    print(f"run   {folder.path}", flush=True)
    with Screen(config) as screen:
        summary, code = execute(config, spec, folder, runner, restored, screen.show)
    report(summary, folder, sys.stdout)
    return code
