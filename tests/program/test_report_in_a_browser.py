"""The page of a report as a browser shows it: nothing refused, nothing fetched, pictures there, and the table sorts."""

import functools
import http.server
import json
import re
import shutil
import subprocess
import threading

import pytest
from launching import DEADLINE

from distributed_kd.reports.report import write_report

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason=f"no browser is installed (looked for {', '.join(NAMES)})")

TOLD = re.compile(r"<html[^>]* data-told=\"([^\"]*)\"")
PROBE = """
const told = {};
const rows = () => [...document.querySelectorAll("table.sortable tbody tr")].map((row) => row.cells[0].dataset.value);
const button = (name) => [...document.querySelectorAll("th button")].find((one) => one.textContent === name);
told.before = rows();
button("parameters").click();
told.ascending = rows();
told.sort = button("parameters").closest("th").getAttribute("aria-sort");
button("parameters").click();
told.descending = rows();
button("policy").focus();
told.focused = document.activeElement === button("policy");
button("policy").click();
told.names = rows();
told.left = document.querySelectorAll("[aria-sort]").length;
const pictures = [...document.querySelectorAll("figure svg")];
told.pictures = pictures.length;
told.flat = pictures.filter((one) => one.getBoundingClientRect().height < 40 || !one.getAttribute("aria-label")).length;
const paths = pictures.flatMap((one) => [...one.querySelectorAll("path")]);
told.colours = [...new Set(paths.map((path) => getComputedStyle(path).stroke))];
told.wider = document.documentElement.scrollWidth > document.documentElement.clientWidth;
told.font = getComputedStyle(document.querySelector("h1")).fontSize;
document.documentElement.dataset.told = JSON.stringify(told);
"""


class Server(http.server.ThreadingHTTPServer):
    """Serves a folder and remembers every path that was asked for."""

    def __init__(self, folder):
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))


class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        super().do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def page(finished, tmp_path_factory):
    """A report's page, and the same with a probe that the page's own policy is told to allow beside its script."""
    out = tmp_path_factory.mktemp("page")
    write_report([finished.folder], out)
    text = (out / "report.html").read_text()
    allowed = text.replace("script-src &#x27;", "script-src &#x27;nonce-probe&#x27; &#x27;", 1)
    assert allowed != text
    (out / "probed.html").write_text(allowed.replace("</body>", f'<script nonce="probe">{PROBE}</script></body>'))
    return out


def shown(folder, name, profile, *flags) -> tuple[str, str, list[str]]:
    """The page's DOM after its scripts, what the browser logged of it, and every path that it asked for."""
    with Server(folder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            ended = subprocess.run(
                [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
                 "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", f"--user-data-dir={profile}",
                 "--enable-logging=stderr", "--v=0", *flags, "--virtual-time-budget=4000", "--dump-dom",
                 f"http://127.0.0.1:{server.server_port}/{name}"],
                capture_output=True, text=True, timeout=DEADLINE,
            )  # fmt: skip
        finally:
            server.shutdown()
    assert ended.returncode == 0, ended.stderr
    return ended.stdout, "\n".join(line for line in ended.stderr.splitlines() if "CONSOLE" in line), server.asked


def test_it_sorts_and_shows_its_pictures(page, tmp_path):
    dom, console, asked = shown(page, "probed.html", tmp_path / "profile", "--window-size=390,800")
    assert console == ""
    told = json.loads(TOLD.search(dom)[1].replace("&quot;", '"').replace("&amp;", "&"))
    assert told["before"] == ["teacher", "half", "tiny"]
    assert (told["ascending"], told["descending"]) == (["tiny", "half", "teacher"], ["teacher", "half", "tiny"])
    assert told["sort"] == "ascending" and told["focused"] and told["left"] == 1
    assert told["names"] == ["half", "teacher", "tiny"]
    assert told["pictures"] >= 8 and told["flat"] == 0
    assert len(told["colours"]) > 3, "colours out of the style sheet"
    assert told["font"] == "24px", "the style sheet is in force"
    assert not told["wider"], "on a phone the page itself does not scroll sideways"
    assert [path for path in asked if path != "/favicon.ico"] == ["/probed.html"]


def test_as_it_is_nothing_of_it_is_refused_and_nothing_fetched(page, tmp_path):
    _, console, asked = shown(page, "report.html", tmp_path / "profile", "--window-size=1400,1000")
    assert console == ""
    assert [path for path in asked if path != "/favicon.ico"] == ["/report.html"]


def test_the_policy_refuses_what_is_not_the_pages_own(page, tmp_path):
    """Else the two tests before would see nothing: script, style and picture that somebody slipped in are refused, aloud."""
    text = (page / "report.html").read_text()
    slipped = '<script>document.title = "slipped"</script><p style="color: red">x</p><img src="/slipped.png" alt="">'
    (page / "slipped.html").write_text(text.replace("<main>", f"<main>{slipped}"))
    dom, console, asked = shown(page, "slipped.html", tmp_path / "profile")
    assert "<title>slipped" not in dom
    assert console.count("Content Security Policy") >= 3
    assert "/slipped.png" not in asked
