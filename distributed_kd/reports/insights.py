"""The section on what the students of a group do otherwise than their teacher, and why; or a line that says why not."""

from functools import partial

from distributed_kd.errors import RunError
from distributed_kd.networks.tree import TreeNetwork
from distributed_kd.reports import believed
from distributed_kd.reports.charts import lines_of
from distributed_kd.reports.decision_maps import can_be_mapped, decision_maps
from distributed_kd.reports.disagreement import action_gaps, disagreement_chart, disagreement_table, disagreements
from distributed_kd.reports.markup import Html, element, joined, lines
from distributed_kd.reports.opened import Opened, open_run
from distributed_kd.reports.page import charts
from distributed_kd.reports.reported import Reported
from distributed_kd.reports.rules import plot_rules, rules_of, size_of
from distributed_kd.reports.saliency import has_images, saliency_maps
from distributed_kd.reports.standings import Group
from distributed_kd.reports.svg import drawn

MAPPED = 3
"""Students with maps beside the teacher's"""
MOST_LEAVES = 16
"""Of a tree that is drawn: of more the page has no room"""


def insights(group: Group) -> Html:
    """About the median run of the group, from its newest checkpoint."""
    run = group.median or group.runs[-1]
    heading = element("h3", f"Where students differ from the teacher: {group.label}")
    try:
        told = _looked_into(group, run)
    except RunError as error:
        told = element("p", believed.text(error.lines[0], most=500), class_="note")
    except Exception as error:  # whatever somebody else's checkpoint makes of our code: the rest of the report stands
        told = element("p", f"It could not be read: {type(error).__name__}: {error}"[:500], class_="note")
    return joined([heading, told])


def _looked_into(group: Group, run: Reported) -> Html:
    opened = open_run(run.folder)
    names = [name for name in opened.networks if name != "teacher"]
    gaps = action_gaps(opened)
    found = disagreements(opened, names, gaps)
    shown = shown_students(group, names)
    note = f"Run {run.name}; {len(gaps):,} states of its replay, the networks of its newest checkpoint."
    parts = [
        element("p", note, class_="note"),
        charts([disagreement_chart(found, gaps, lines_of(group)), disagreement_table(found)]),
    ]
    if can_be_mapped(opened):
        how = (
            "Which action each policy takes over the two numbers of an observation that vary most, all others at their "
            "median. Dots are states where the student acts otherwise, larger where the choice matters more."
        )
        parts += [element("p", how, class_="note"), charts(decision_maps(opened, shown, found, gaps), "charts maps")]
    elif has_images(opened.spec):
        how = "Bright: pixels that the gap between the two best actions hangs on most, in states where the choice matters."
        parts += [element("p", how, class_="note"), charts(saliency_maps(opened, shown, gaps))]
    return joined([*parts, *_trees(opened, names)])


def _trees(opened: Opened, names: list[str]) -> list[Html]:
    """What students that are trees decide by: drawn where that can be read, and in words."""
    shown = []
    for name in names:
        network = opened.networks[name]
        if isinstance(network, TreeNetwork):
            rules = rules_of(network, opened.spec, opened.normal)
            title = rules.title(name)
            if rules.root.leaves <= MOST_LEAVES:
                shown.append(drawn(partial(plot_rules, rules, title), size_of(rules), title, kind="tree"))
            shown.append(element("details", element("summary", title), element("pre", lines(rules.lines))))
    return [element("h3", "Students that are trees"), *shown] if shown else []


def shown_students(group: Group, names: list[str]) -> list[str]:
    """The answer, the largest and the smallest, as far as the checkpoint has them, largest first."""
    order = [one.policy for one in group.students if one.policy in names] or names
    best = group.best.policy if group.best else order[0]
    chosen = {order[0], order[-1], best} & set(names)
    return [name for name in order if name in chosen][:MAPPED]
