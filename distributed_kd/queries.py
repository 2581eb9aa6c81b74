"""The commands that train nothing, one function each: they look at a run, a run file or the machine."""

import argparse
import shlex
import textwrap
from pathlib import Path

from distributed_kd import presets, run_file
from distributed_kd.command_words import Parser, print_help, split, tables_of
from distributed_kd.errors import ConfigurationError, Problem

WIDTH = 120
"""Letters of a line"""
REPORT_PORT = 6007
"""The one beside TensorBoard's"""
NETWORKS_OPTIONS = """\
  PRESET | FILE.toml          a preset or a run file; without one, cartpole
  --json                      print one JSON object instead of tables
  --allow-env-import          let env.id "module:Id-v0", or a network "module:factory", import that module
"""


def evaluate(words: list[str]) -> int:
    """`evaluate RUN --policy NAME [--against NAME] [--observation-noise X ...] [--sticky-actions P ...] [--video DIR]`."""
    parser = Parser(prog="python launch.py evaluate", description="Play full greedy episodes with a run's newest weights.")
    parser.add_argument("run", metavar="RUN", help="the folder of a run")
    parser.add_argument(
        "--policy", required=True, help="teacher, the name of a student, random, several with commas between, or all of them"
    )
    parser.add_argument("--against", metavar="NAME", help="compare with this policy, episode by episode on the same seeds")
    parser.add_argument("--episodes", type=int, default=20, help="episodes of each policy (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="episode seeds are spawned from it (default: 0)")
    parser.add_argument(
        "--observation-noise",
        metavar="X",
        type=float,
        nargs="+",
        default=[0.0],
        help="Gaussian noise on observations, in standard deviations that each of their numbers has in the states that the "
        "run learned from; of images and other bytes as a share of their range. Several make a table (default: 0)",
    )
    parser.add_argument(
        "--sticky-actions",
        metavar="P",
        type=float,
        nargs="+",
        default=[0.0],
        help="probability that the action before is taken again, 0.25 with Machado et al. 2018 (default: 0)",
    )
    parser.add_argument("--video", metavar="DIR", help="record every episode as mp4 into this folder")
    parser.add_argument("--rules", action="store_true", help="print what the policies that are trees decide by")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    parser.add_argument("--allow-env-import", action="store_true", help='let env.id "module:Id-v0" import that module')
    asked = parser.parse_args(words)
    from distributed_kd.records import RANDOM
    from distributed_kd.reports.played import print_played
    from distributed_kd.reports.rules import rules_of
    from distributed_kd.storage.run_folder import RunFolder
    from distributed_kd.training.playing import Asked, play_saved
    from distributed_kd.training.preflight import check_run
    from distributed_kd.training.saved_policies import saved_trees

    folder = RunFolder.open(Path(asked.run))
    config = run_file.decode(run_file.read_toml(folder.config_file))
    spec = check_run(config, asked.allow_env_import)
    named = [*config.policies, RANDOM] if asked.policy == "all" and "all" not in config.students else asked.policy.split(",")
    play = Asked(
        policies=list(dict.fromkeys(named)),
        against=asked.against,
        episodes=asked.episodes,
        seed=asked.seed,
        noise=list(dict.fromkeys(asked.observation_noise)),
        sticky=list(dict.fromkeys(asked.sticky_actions)),
        video=Path(asked.video) if asked.video else None,
    )
    trees = saved_trees(folder, config, spec) if asked.rules else {}
    rules = {name: rules_of(one.network, spec, one.normal) for name, one in trees.items() if name in play.policies}
    if asked.rules and not rules:
        why, fix = "none of the policies is a tree", 'Add a student with network = { kind = "tree" }, or leave --rules out'
        raise ConfigurationError(Problem("no rules", "policy", asked.policy, why, fix))
    print_played(play_saved(folder, config, spec, play), play, asked.json, rules)
    return 0


def report(words: list[str]) -> int:
    """`report DIR... [--out DIR | --serve [--port N]]`."""
    parser = Parser(
        prog="python launch.py report",
        description="Write report.html, report.csv and report.json from runs that are finished, stopped or still going on.",
    )
    parser.add_argument("folders", nargs="+", metavar="DIR", help="the folder of a run, or one that holds several")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--out", metavar="DIR", help="where to (default: into DIR; of several, into the folder you stand in)")
    where.add_argument(
        "--serve", action="store_true", help="write nothing: show it to browsers on this machine, anew while runs go on"
    )
    parser.add_argument("--port", type=int, metavar="N", help=f"of --serve, 0 for any that is free (default: {REPORT_PORT})")
    asked = parser.parse_args(words)
    if "" in (*asked.folders, asked.out):
        raise ConfigurationError(Problem("no value", "DIR", "''", "it names no folder", "Give a folder, such as runs"))
    if asked.port is not None and not asked.serve:
        why, fix = "a file has no port", "Add --serve, or leave it out"
        raise ConfigurationError(Problem("option without effect", "port", asked.port, why, fix))
    folders, command = [Path(folder) for folder in asked.folders], f"python launch.py report {shlex.join(words)}"
    if asked.serve:
        return _serve(folders, REPORT_PORT if asked.port is None else asked.port, command)
    from distributed_kd.reports.report import write_report

    out = Path(asked.out) if asked.out else folders[0] if len(folders) == 1 else Path()
    for path in write_report(folders, out, command):
        print(path)
    return 0


def _serve(folders: list[Path], port: int, command: str) -> int:
    from distributed_kd.reports.serving import server

    with server(folders, port, command) as serving:
        host, port = serving.server_address[:2]
        print(f"report    http://{host}:{port}/ (Ctrl-C ends it)", flush=True)
        serving.serve_forever()
    return 0


def dataset(words: list[str]) -> int:
    """`dataset RUN --states N --out FILE.npz [--from replay|teacher] [--seed S]`."""
    parser = Parser(prog="python launch.py dataset", description="Draw a fixed set of states to distil students on.")
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


def export(words: list[str]) -> int:
    """`export RUN --student NAME --format FORMAT --out FILE [--policy NAME] [--episodes N] [--seed S] [--json]`."""
    from distributed_kd import exports

    about = "\n".join(f"  {name:12}  {what}" for name, what in exports.ABOUT.items())
    parser = Parser(
        prog="python launch.py export",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=f"Write a policy of a run, from its newest checkpoint, as a file to deploy.\n\n{about}",
        epilog="Each is compared with the policy over 10,000 states before it is put in place, with FILE.json beside it.",
    )
    parser.add_argument("run", metavar="RUN", help="the folder of a run")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--student", metavar="NAME", help="the name of a student")
    which.add_argument("--policy", metavar="NAME", help="teacher, or the name of a student")
    parser.add_argument("--format", required=True, choices=tuple(exports.ABOUT), help="as above")
    parser.add_argument("--out", required=True, metavar="FILE", help="the file to write; there must be none yet")
    parser.add_argument(
        "--episodes", type=int, help="onnx-int8: greedy episodes that its score is measured by (default: 20)"
    )
    parser.add_argument("--seed", type=int, default=0, help="onnx-int8: as of evaluate (default: 0)")
    parser.add_argument("--json", action="store_true", help="print what FILE.json says instead of a table")
    parser.add_argument("--allow-env-import", action="store_true", help='let env.id "module:Id-v0" import that module')
    asked = parser.parse_args(words)
    from distributed_kd.exports.exporting import Asked, check
    from distributed_kd.exports.exporting import export as write
    from distributed_kd.exports.table import lines
    from distributed_kd.storage.files import strict_json
    from distributed_kd.storage.run_folder import RunFolder
    from distributed_kd.training.preflight import check_run

    folder = RunFolder.open(Path(asked.run))
    config = run_file.decode(run_file.read_toml(folder.config_file))
    name, key = (asked.policy, "policy") if asked.student is None else (asked.student, "student")
    wanted = Asked(name, key, asked.format, Path(asked.out), asked.episodes, asked.seed)
    check(wanted, config)
    told = write(folder, config, check_run(config, asked.allow_env_import), wanted)
    print(strict_json(told) if asked.json else "\n".join(lines(told, wanted.out)))
    return 0


def show_networks(words: list[str]) -> int:
    """`networks [PRESET or FILE.toml] [--KEY VALUE ...] [--json]`."""
    source = words.pop(0) if words and not words[0].startswith("-") else "cartpole"
    as_json, words = "--json" in words, [word for word in words if word != "--json"]
    options, flags = split(words, "networks")
    tables, _ = tables_of(source)
    if options.help:
        return print_help("python launch.py networks [PRESET | FILE.toml]", tables, NETWORKS_OPTIONS)
    for name in ("out", "runner", "address", "data", "chaos"):
        if value := getattr(options, name):
            raise ConfigurationError(Problem("not an option here", name, value, "networks trains nothing", "Leave it out"))
    from distributed_kd.flags import parse_run
    from distributed_kd.reports.sizes import print_sizes
    from distributed_kd.training.given import read_given, with_teachers_network
    from distributed_kd.training.parts import Parts
    from distributed_kd.training.preflight import check_run

    config = parse_run(flags, tables, "python launch.py networks")
    spec = check_run(config, options.allow_env_import)
    given = read_given(config, spec)
    config = with_teachers_network(config, given)
    labels = {"teacher": config.teacher.network.label, **{n: one.network.label for n, one in config.students.items()}}
    if config.teacher.is_peers or config.teacher.is_ensemble:
        members = len(given.teachers) or len(config.students)
        labels["teacher"] = f"{config.teacher.combine} of {members}"
    print_sizes(Parts(config, spec, given.teachers, given.starts).networks(), labels, spec, as_json)
    return 0


def list_presets(words: list[str]) -> int:
    """`presets`."""
    Parser(prog="python launch.py presets", description="List the presets.").parse_args(words)
    width = max(map(len, presets.names()))
    for name in presets.names():
        print(textwrap.fill(f"{name:{width}}  {presets.describe(name)}", WIDTH, subsequent_indent=" " * (width + 2)))
    print("\npython launch.py train NAME trains one; python launch.py train NAME --help shows all its values")
    return 0


def doctor(words: list[str]) -> int:
    """`doctor [--address ADDRESS]`."""
    parser = Parser(prog="python launch.py doctor", description="Tell whether this machine or cluster can run a preset.")
    parser.add_argument("--address", help="a running Ray cluster to look at instead of starting Ray here")
    asked = parser.parse_args(words)
    from distributed_kd.training.doctor import examine

    return examine(asked.address)


def bench(words: list[str]) -> int:
    """`bench [NAME ...] [--json FILE] [--repeats N] [--seconds S] [--address ADDRESS]`, and for `plan` what is wanted."""
    from distributed_kd import bench as benchmarks
    from distributed_kd.bench.figures import Options, Wanted

    about = "\n".join(f"  {name:9} {what}" for name, what in benchmarks.ABOUT.items())
    parser = Parser(
        prog="python launch.py bench",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=f"Measure what this machine or cluster can do.\n\n{about}",
        epilog=f"Without a name: {', '.join(benchmarks.USUAL)}. Leave the machine alone meanwhile.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks to run")
    parser.add_argument("--json", metavar="FILE", help="write all figures into this file too")
    parser.add_argument("--repeats", type=int, default=5, help="rounds, of which medians are taken (default: 5)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each turn in a round, about (default: 1)")
    parser.add_argument("--address", help="a running Ray cluster to measure instead of this machine")
    wanted = parser.add_argument_group("what plan is to plan")
    wanted.add_argument("--of", metavar="RUN", default="cartpole", help="preset or run file (default: cartpole)")
    wanted.add_argument("--actors", type=int, default=0, help="rollouts (default: as many as it takes)")
    wanted.add_argument("--env-steps-per-second", type=float, default=0.0, dest="steps",
                        help="of all rollouts together (default: as many as they make)")  # fmt: skip
    wanted.add_argument("--cores", type=int, default=16, help="of each machine (default: 16)")
    asked = parser.parse_args(words)
    for name in asked.names:
        if name not in benchmarks.ABOUT:
            close = run_file.nearest(name, benchmarks.ABOUT)
            fix = f"Did you mean {close}?" if close else f"The benchmarks are {', '.join(benchmarks.ABOUT)}"
            raise ConfigurationError(Problem("unknown benchmark", "bench", name, "there is none of this name", fix))
    least_of = {"repeats": 1, "seconds": 0.01, "actors": 0, "steps": 0, "cores": 1}
    for key, value, least in ((key, getattr(asked, key), least) for key, least in least_of.items()):
        key = "env-steps-per-second" if key == "steps" else key
        if not value >= least:
            fix = f"Set --{key} {least:g} or more"
            raise ConfigurationError(Problem(f"bad {key}", key, value, f"it must be at least {least:g}", fix))
    out = Path(asked.json) if asked.json else None
    wanted = Wanted(tables_of(asked.of)[0], asked.actors, asked.steps, asked.cores)
    benchmarks.run(asked.names, Options(asked.repeats, asked.seconds, asked.address, wanted), out)
    return 0
