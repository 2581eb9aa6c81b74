"""bench.figures and bench.rounds: goals, ratios, tables."""

import json
import math
from io import StringIO

import pytest
from rich.console import Console

from distributed_kd.bench.figures import Figure, Options, Table
from distributed_kd.bench.rounds import compared, interleaved, rate
from distributed_kd.cli import main


@pytest.mark.parametrize(
    ("figure", "met"),
    [
        (Figure("a", 5.0, "µs"), None),
        (Figure("a", 5.0, "µs", at_most=5.0), True),
        (Figure("a", 5.0, "µs", at_least=5.1), False),
        (Figure("a", 5.0, "µs", "peer", 4.0, 1.25, at_most=1.0), False),
        (Figure("a", 5.0, "µs", "peer", 4.0, 1.25, at_least=1.2), True),
        (Figure("a", 5.0, "µs", at_least=1.0, at_most=4.0), False),
    ],
)
def test_a_goal_is_for_the_ratio_where_there_is_one(figure, met):
    assert figure.is_met is met


def test_what_is_compared_takes_turns_and_the_first_round_does_not_count():
    order = []

    def turn(name, values):
        values = iter(values)
        return lambda: (order.append(name), next(values))[1]

    rounds = interleaved({"a": turn("a", [99, 2, 4, 6]), "b": turn("b", [99, 1, 4, 2])}, Options(repeats=3))
    assert order == ["a", "b"] * 4
    assert rounds == {"a": [2, 4, 6], "b": [1, 4, 2]}
    figure = compared("what", "µs", rounds, "a", "b", scale=10.0, at_least=2.5)
    assert (figure.value, figure.other, figure.ratio, figure.is_met) == (40.0, 20.0, 2.0, False)
    assert math.isnan(compared("what", "µs", rounds, "a").ratio)


def test_a_rate_counts_what_the_work_tells():
    assert rate(lambda: 10, seconds=0.01) > 1_000


def test_a_table_is_read_and_kept():
    table = Table(
        "Title", "How.", [Figure("a row", 1234.5, "rows/s", "peer", 2.0, 0.5, at_least=1.0), Figure("b", 0.5, "s")]
    )
    kept = json.loads(json.dumps(table.as_json(), allow_nan=False))
    assert kept["figures"][0]["goal"] == "≥ 1" and kept["figures"][0]["is_met"] is False
    assert kept["figures"][1]["ratio"] is None
    page = StringIO()
    table.print(Console(file=page, width=140))
    assert "1,234 rows/s" in page.getvalue() and "missed" in page.getvalue() and "How." in page.getvalue()


def test_a_file_that_cannot_be_written_is_told_before_anything_is_measured(tmp_path, capsys):
    assert main(["bench", "learner", "--json", str(tmp_path / "none" / "x.json")]) == 7
    told = capsys.readouterr()
    assert "the figures cannot be written" in told.err and "x.json" in told.err and len(told.err.splitlines()) == 1
    assert told.out == ""
