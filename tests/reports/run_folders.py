"""Folders of finished runs that never were, for the tests of what is told of many."""

from summaries import student, summary, write_metrics

from distributed_kd import run_file
from distributed_kd.storage.run_folder import RunFolder


def make_run(
    root, env="Acrobot-v1", label="losses", seed=0, students=None, evaluations=(), config=None, commands=(), **more
):
    """A finished run below root: summary, metrics and run file agree as far as the tests look."""
    folder = RunFolder.create(root / f"{env}__{label}__s{seed}__20260102T030405Z", "")
    students = {"a": student()} if students is None else students
    tables = run_file.merge({"students": {name: {} for name in students}}, config or {})
    folder.write_config(run_file.encode(run_file.read(tables)[0]))
    folder.write_summary(summary(students, env=env, seed=seed, **more))
    if evaluations:
        write_metrics(folder.path, evaluations)
    if commands:
        folder.commands_file.write_text("".join(f"{command}\n" for command in commands))
    return folder


def curve(a, b, teacher=60.0):
    """Two evaluations at 100 and 200 steps; random 10 and teacher 60 make 57.5 enough."""
    return [(steps, {"random": 10.0, "teacher": teacher, "a": a[n], "b": b[n]}) for n, steps in enumerate((100, 200))]


def rows(text, heading):
    """The cells of a Markdown table's rows, found by the start of its heading."""
    lines = text.splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith(f"| {heading}"))
    table = []
    for line in lines[first:]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return [table[0], *table[2:]]
