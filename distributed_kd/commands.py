"""The commands that train, one function each; what they do lies on the floors below.

Those that only look at something are in `queries.py`.
"""

import argparse
import shlex
import sys
import time
from pathlib import Path

from distributed_kd import queries, run_file
from distributed_kd.command_words import label, print_help, split, tables_of
from distributed_kd.errors import ConfigurationError, Problem, RayError, ResourceError

TRAIN_OPTIONS = """\
  PRESET | FILE.toml          a preset (python launch.py presets lists them) or a run file; without one, cartpole
  --out DIR                   the run's folder (default: runs/<env>__<preset>__s<seed>__<UTC time>)
  --dry-run                   check everything and print the plan for this machine or cluster, and start nothing
"""

RUN_OPTIONS = """\
  --data FILE.npz             learn from a fixed set of states alone, as `dataset` draws it: no environment steps
  --runner ray|inline         ray: actors in parallel; inline: one process, the same to the bit for one seed
  --address ADDRESS           join a running Ray cluster (auto: the one on this machine); without it Ray starts embedded
  --allow-env-import          let env.id "module:Id-v0" import that module
  --chaos FAULTS              kill, freeze and break parts of the run on purpose, to see what becomes of it, such as
                              "kill=rollout:20s,learner:120s;freeze=rollout:60s;env=raise:0.001,hang:0.0001;rpc=20"
  --debug                     show the traceback of an error
"""

COMPARE_OPTIONS = """\
  FILE ...                    presets and run files, each one run with every seed
  --out DIR                   the comparison's folder; the same command again goes on there
  --seeds N                   with the seeds 0 to N - 1 (default: 5)
  --grid KEY=A,B,... ...      each file once for every value of a key of the run file, or with several keys for every
                              combination, such as students.tiny.temperature=0.01,0.1,auto replay.batch_size=32,64
  --at-once N                 at most so many runs at a time (default: as many as the machine, or the cluster, holds)
"""

COMPARED = """\
Every run is one of `train`, in a folder of its own below DIR. One that fails is told of and ends no other. Ctrl-C or
SIGTERM ends all with a checkpoint each. Keys of the run file are for all runs; defaults are those of the first file.
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
    options, flags = split(words, "train", switches=("--dry-run",))
    tables, is_file = tables_of(source)
    if options.help:
        return print_help("python launch.py train [PRESET | FILE.toml]", tables, f"{TRAIN_OPTIONS}{RUN_OPTIONS}\n{EXAMPLES}")
    from distributed_kd.flags import parse_run
    from distributed_kd.ready import plan_lines, print_plan, ready
    from distributed_kd.storage.checkpoints import check_unused
    from distributed_kd.storage.run_folder import RunFolder, default_name, unused
    from distributed_kd.training.given import keep_teachers, lines

    config = parse_run(flags, tables, "python launch.py train")
    parts, given, runner, plan = ready(config, options)
    config = parts.config
    if config.checkpoint.to:
        check_unused(config.checkpoint.to)
    told = lines(given, config)
    if options.dry_run:
        print_plan([*told, *plan_lines(config, options.address, plan)])
        return 0
    name = default_name(config.env.id, label(Path(source)) if is_file else source, config.seed, time.time())
    path = Path(options.out) if options.out else unused(Path("runs") / name)
    with RunFolder.create(path, run_file.encode(config)) as folder:
        folder.note_command(typed)
        keep_teachers(folder, given)
        try:
            return _run(parts, folder, runner, [*told, *(plan.lines(config) if plan else [])])
        except (RayError, ResourceError):
            folder.remove_unless_begun()
            raise


def resume(words: list[str]) -> int:
    """`resume DIR [--KEY VALUE ...]`: only the tables that may change, and students that join."""
    typed = ["resume", *words]
    directory = words.pop(0) if words and not words[0].startswith("-") else None
    options, flags = split(words, "resume")
    if options.out:
        raise ConfigurationError(
            Problem("not an option here", "out", options.out, "a run goes on in its own folder", "Leave it out")
        )
    if options.help:
        folder = "  DIR                         the folder of a run\n"
        only = (
            "Only keys of stop, evaluation, checkpoint, supervision, placement, tracking and learner may\nchange, and "
            "--students.NEW.KEY VALUE adds a student, which drives no lanes, so that all others learn as they would\n"
            "have. Defaults are the run's own."
        )
        return print_help("python launch.py resume DIR", {}, f"{folder}{RUN_OPTIONS}\n{only}")
    if directory is None:
        raise ConfigurationError(Problem("no run", "DIR", "", "resume needs the folder of a run", "Give one of runs/"))
    from distributed_kd.flags import parse_run
    from distributed_kd.ready import check
    from distributed_kd.storage.run_folder import RunFolder
    from distributed_kd.training.fitting import open_checkpoint
    from distributed_kd.training.given import parts_of, read_given
    from distributed_kd.training.joining import check_goes_on, joined_later, newcomers
    from distributed_kd.training.preflight import check_networks

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
        config, spec, runner, plan = check(config, options)
        parts = parts_of(folder, config, spec, read_given(newcomers(config, before), spec))
        check_networks(parts)
        if config != before:
            folder.write_config(run_file.encode(config))
        folder.note_command(typed)
        print(f"resuming from {restored.path}")
        return _run(parts, folder, runner, plan.lines(config) if plan else [], restored)


def compare(words: list[str]) -> int:
    """`compare FILE... --out DIR [--seeds N] [--grid KEY=A,B ...] [--at-once N] [--KEY VALUE ...]`."""
    command = shlex.join(["python", "launch.py", "compare", *words])
    from distributed_kd.comparing.asked import read_asked

    asked = read_asked(words)
    options = asked.options
    if options.help:
        tables = tables_of(asked.sources[0])[0] if asked.sources else {}
        extra = f"{COMPARE_OPTIONS}{RUN_OPTIONS}\n{COMPARED}"
        return print_help("python launch.py compare FILE... --out DIR", tables, extra)
    from distributed_kd.comparing.driver import drive
    from distributed_kd.comparing.folder import Comparison
    from distributed_kd.comparing.outcome import told
    from distributed_kd.comparing.screen import Screen
    from distributed_kd.comparing.trial import Trial
    from distributed_kd.comparing.variants import variants_of

    comparison = Comparison.at(Path(options.out), variants_of(asked), asked.seeds, options.runner)
    options.runner = comparison.runner
    # One seed of all files after the other: what is there early can be compared.
    trials = [Trial(comparison, variant, seed) for seed in range(asked.seeds) for variant in comparison.variants]
    room, gpus = _shared(trials, options)
    with comparison.lock():
        comparison.make(command, asked.grid)
        print(f"compare   {comparison.path}", flush=True)
        with Screen(trials) as screen:
            code = drive(trials, room, asked.at_once, _for_each_run(options), gpus, screen.tell)
        return told(trials, comparison.path, command, code)


def _shared(trials, options: argparse.Namespace):
    """What the runs of a comparison share, all checked as `train` does: the machines, and the names of this one's GPUs."""
    from distributed_kd.comparing.room import Need, Room
    from distributed_kd.ready import ready
    from distributed_kd.training.plan import gpus_here, make_plan, node_here
    from distributed_kd.training.preflight import memory_here, replay_bytes

    waiting = {trial.variant.label: trial.variant for trial in trials if not trial.is_over}
    checked = {name: ready(variant.config, options) for name, variant in waiting.items()}
    nodes = [node_here()]
    if options.address and checked:
        from distributed_kd.training.connection import nodes_at

        nodes = nodes_at(options.address)
    needs = {}
    for name, (parts, _, runner, _) in checked.items():
        bundles = make_plan(parts.config, nodes).bundles if runner.name == "ray" else [{"CPU": 1.0}]
        needs[name] = Need(bundles, replay_bytes(parts.config, parts.spec))
    for trial in trials:
        trial.need = needs.get(trial.variant.label, trial.need)
    return Room(nodes, None if options.address else memory_here()), [] if options.address else gpus_here()


def _for_each_run(options: argparse.Namespace) -> list[str]:
    """The options that every run of a comparison is started with."""
    given = [("--runner", options.runner), ("--address", options.address), ("--chaos", options.chaos)]
    words = [word for name, value in given if value is not None for word in (name, value)]
    return [*words, "--allow-env-import"] if options.allow_env_import else words


def _run(parts, folder, runner, plan, restored=None) -> int:
    from distributed_kd.ready import print_plan
    from distributed_kd.reports.live import Screen
    from distributed_kd.reports.machine import machine
    from distributed_kd.reports.outcome import report
    from distributed_kd.reports.rules import rules_of
    from distributed_kd.storage.tracking import Trackers, begin
    from distributed_kd.training.run import execute
    from distributed_kd.training.saved_policies import saved_trees

    folder.lock()
    if plan:
        print_plan(plan)
    print(f"run   {folder.path}", flush=True)
    trackers = begin(parts.config.tracking, folder, run_file.read_toml(folder.config_file))
    for one in trackers:
        print(f"track {one.name}: {one.place}", flush=True)
    with Screen(parts.config) as screen:
        summary, code = execute(parts, folder, runner, restored, screen.show, Trackers(trackers))
    folder.note_machine(machine())
    trees = saved_trees(folder, parts.config, parts.spec) if summary["status"] == "finished" else {}
    rules = {name: rules_of(tree.network, parts.spec, tree.normal) for name, tree in trees.items()}
    report(summary, folder, sys.stdout, rules)
    return code


COMMANDS = {
    "train": train,
    "compare": compare,
    "resume": resume,
    "evaluate": queries.evaluate,
    "report": queries.report,
    "export": queries.export,
    "dataset": queries.dataset,
    "networks": queries.show_networks,
    "presets": queries.list_presets,
    "doctor": queries.doctor,
    "bench": queries.bench,
}
