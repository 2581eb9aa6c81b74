"""The report as a browser on this machine asks for it."""

import json
import os
import threading
import time
from contextlib import contextmanager
from http.client import HTTPConnection

import pytest
from run_folders import make_run

from distributed_kd.errors import ConfigurationError, ResourceError
from distributed_kd.reports import serving


@contextmanager
def served(folder):
    """A connection to a server of its own."""
    with serving.server([folder], 0, "python launch.py report runs --serve") as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        asking = HTTPConnection(*server.server_address, timeout=60)
        try:
            yield asking
        finally:
            asking.close()
            server.shutdown()
            thread.join()


def ask(connection, path, method="GET", **headers):
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read().decode()


def goes_on(root):
    """A run without an end, whose newest sign of life is now."""
    folder = make_run(root, seed=7)
    folder.summary_file.unlink()
    os.utime(folder.config_file)
    return folder


def test_the_page_and_its_figures_are_there_and_nothing_else(tmp_path):
    make_run(tmp_path / "runs")
    with served(tmp_path / "runs") as asking:
        status, headers, page = ask(asking, "/")
        assert (status, headers["Content-Type"], headers["Cache-Control"]) == (200, "text/html; charset=utf-8", "no-store")
        assert "How small can the network be?" in page and "python launch.py report runs --serve" in page
        assert 'http-equiv="refresh"' not in page, "what is finished stays as it is"
        assert len(json.loads(ask(asking, "/report.json")[2])["groups"]) == 1
        assert ask(asking, "/report.csv?now")[2].startswith("env,label,seed,")
        for path in ("/config.toml", "/../config.toml", "/runs"):
            assert ask(asking, path)[0] == 404
        assert ask(asking, "/", method="POST")[0] == 501
    assert not list((tmp_path / "runs").glob("report.*")), "nothing is written"


def test_only_browsers_that_call_this_machine_by_its_name_are_answered(tmp_path):
    """A page from elsewhere whose name was made to lead to 127.0.0.1 reads nothing."""
    make_run(tmp_path / "runs")
    with served(tmp_path / "runs") as asking:
        assert asking.host == "127.0.0.1"
        for host in ("localhost:6007", "127.0.0.1"):
            assert ask(asking, "/report.csv", Host=host)[0] == 200
        for host in ("evil.example", "evil.example:6007", "127.0.0.1.evil.example", ""):
            assert ask(asking, "/report.csv", Host=host)[::2] == (403, "this report is for its own machine alone")


def test_while_a_run_goes_on_the_page_is_loaded_again(tmp_path, monkeypatch):
    goes_on(tmp_path / "runs")
    with served(tmp_path / "runs") as asking:
        assert '<meta http-equiv="refresh" content="10">' in ask(asking, "/")[2]
        assert json.loads(ask(asking, "/report.json")[2])["groups"][0]["runs"][0]["status"] == "running"


def test_it_is_made_anew_when_it_is_old_and_never_all_the_time(tmp_path, monkeypatch):
    make_run(tmp_path / "runs")
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    made = []

    def slow(folders, command, refresh_seconds, warned):
        made.append(clock[0])
        clock[0] += 3.0
        return {"report.html": f"made {len(made)} times"}

    monkeypatch.setattr(serving, "texts", slow)
    reports = serving.Reports([tmp_path], "")
    assert reports.now() == reports.now() == {"report.html": "made 1 times"}
    clock[0] += 29.0
    assert reports.now()["report.html"] == "made 1 times", "making it took 3 s, a tenth of the time is 30 s"
    clock[0] += 2.0
    assert reports.now()["report.html"] == "made 2 times"


def test_a_damaged_run_is_warned_of_once(tmp_path, caplog):
    make_run(tmp_path / "runs").summary_file.write_text("{")
    reports = serving.Reports([tmp_path / "runs"], "")
    for _ in range(2):
        reports._good_until = 0.0
        reports.now()
    assert len([line for line in caplog.messages if "summary" in line]) == 1


def test_what_cannot_be_served_is_told_in_a_line(tmp_path):
    with pytest.raises(ConfigurationError, match="no run"):
        serving.server([tmp_path], 0, "")
    make_run(tmp_path / "runs")
    with serving.server([tmp_path / "runs"], 0, "") as there:
        port = there.server_address[1]
        with pytest.raises(ResourceError, match=rf"the report cannot be served \(port={port}\): .*in use.* another --port"):
            serving.server([tmp_path / "runs"], port, "")
    with pytest.raises(ResourceError, match=r"cannot be served \(port=99999\)"):
        serving.server([tmp_path / "runs"], 99_999, "")


def test_runs_that_are_gone_are_told_of_and_the_server_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(serving, "REFRESH_SECONDS", 0)
    monkeypatch.setattr(serving, "MOST_SHARE", 1e9)
    folder = make_run(tmp_path / "runs")
    with served(tmp_path / "runs") as asking:
        assert ask(asking, "/")[0] == 200
        folder.path.rename(tmp_path / "elsewhere")
        status, _, said = ask(asking, "/")
        assert status == 500 and said.startswith("no run (DIR=")
        (tmp_path / "elsewhere").rename(folder.path)
        assert ask(asking, "/")[0] == 200
