"""The house: its floors, the size of its files, and what may never stand in them."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "distributed_kd"
SOURCES = sorted(PACKAGE.rglob("*.py"))
LONGEST = 300


def test_the_floors_hold():
    checked = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as check; check()", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "0 broken" in checked.stdout


@pytest.mark.parametrize("path", [*SOURCES, *ROOT.glob("*.py")], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_grows_too_long(path):
    assert len(path.read_text().splitlines()) <= LONGEST


@pytest.mark.parametrize("module", ["distributed_kd", "distributed_kd.training.inline", "distributed_kd.learning.learner"])
def test_it_is_imported_without_ray(module):
    code = f"import sys, {module}; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def faults(source: str) -> list[str]:
    """Calls in a source that unpickle, run text as code, or may do so."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name.partition(".")[0] for alias in node.names}
            names.add((getattr(node, "module", None) or "").partition(".")[0])
            found += [
                f"import of {name}" for name in names & {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
            ]
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if called in ("eval", "exec", "compile", "os.system", "os.popen") or called.endswith(
            ("pickle.load", "pickle.loads")
        ):
            found.append(called)
        if called.endswith("torch.load") and keywords.get("weights_only") != "True":
            found.append("torch.load without weights_only=True")
        if called.endswith(("np.load", "numpy.load")) and keywords.get("allow_pickle", "False") != "False":
            found.append("np.load with allow_pickle")
        if keywords.get("shell") == "True":
            found.append("shell=True")
        if called.startswith("yaml.") and not called.startswith("yaml.safe_"):
            found.append(called)
    return found


@pytest.mark.parametrize("path", [*SOURCES, *ROOT.glob("*.py")], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_pickle_is_read_and_no_text_is_run(path):
    assert faults(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from cloudpickle import loads",
        "x = pickle.load(f)",
        "eval(text)",
        "exec(text)",
        "torch.load(p)",
        "torch.load(p, weights_only=False)",
        "np.load(p, allow_pickle=True)",
        "subprocess.run(x, shell=True)",
    ],
)
def test_the_check_itself_sees(source):
    assert faults(source)


def test_the_check_itself_is_not_shy():
    assert faults("torch.load(p, weights_only=True); np.load(p, allow_pickle=False); network.eval(); json.load(f)") == []


def test_the_entry_point_only_hands_over():
    defined = [node for node in ast.parse((ROOT / "launch.py").read_text()).body if isinstance(node, ast.FunctionDef)]
    assert not defined
