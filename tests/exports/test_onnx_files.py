"""distributed_kd/exports/onnx_files.py: which layers stay floats, and what is said without the packages."""

import logging
import sys
import warnings
from types import SimpleNamespace

import pytest

from distributed_kd.errors import ConfigurationError
from distributed_kd.exports.onnx_files import check_installed, kept_as_floats, quiet


def graph(*nodes):
    """Nodes as (operation, inputs, output), named by what they give."""
    return SimpleNamespace(node=[SimpleNamespace(name=o, op_type=k, input=i, output=[o]) for k, i, o in nodes])


CHAIN = [("Gemm", ["observation", "w"], "a"), ("Relu", ["a"], "b"), ("Gemm", ["b"], "c"), ("Gemm", ["c"], "d")]


@pytest.mark.parametrize(
    ("nodes", "kept"),
    [
        (CHAIN, ["a", "d"]),
        ([*CHAIN, ("Conv", ["c"], "value"), ("Add", ["d", "value"], "e")], ["a", "d", "value"]),  # both heads
        (CHAIN[:3], ["a"]),
        (CHAIN[:1], []),
        ([("Relu", ["observation"], "a")], []),
    ],
)
def test_the_first_and_the_last_layer_stay_floats(nodes, kept):
    assert kept_as_floats(graph(*nodes)) == kept


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_without_a_package_it_says_what_to_install(package, monkeypatch):
    for name in ("onnx", "onnxscript", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None if name == package else SimpleNamespace())
    with pytest.raises(ConfigurationError) as error:
        check_installed("onnx")
    fix = 'Install it: pip install "distributed-kd[onnx]"'
    assert error.value.lines == (f"missing package (format=onnx): it needs {package}, which is not installed. {fix}",)


def test_a_package_that_is_there_and_broken_is_told_so(tmp_path, monkeypatch):
    (tmp_path / "onnxruntime.py").write_text("import a_library_that_is_missing")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("onnx", "onnxscript"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace())
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    with pytest.raises(ConfigurationError, match=r"cannot be imported \(No module named 'a_library_that_is_missing'\)"):
        check_installed("onnx")


def test_what_was_not_to_be_heard_before_is_not_heard_after(caplog):
    with quiet():
        logging.getLogger("torch.onnx").warning("of no use")
        warnings.warn("of no use", FutureWarning, stacklevel=1)
    logging.getLogger("torch.onnx").warning("of use")
    assert [record.message for record in caplog.records] == ["of use"]
