"""What `export` prints."""

from collections.abc import Iterator
from pathlib import Path

from distributed_kd.exports import SAFETENSORS, TORCH
from distributed_kd.exports.exporting import POLICY_PY, sidecar
from distributed_kd.exports.formats import is_run_by_policy_py
from distributed_kd.reports.shown import DASH, return_form
from distributed_kd.reports.sizes import aligned
from distributed_kd.storage.files import CONTROL

HEADINGS = ("read by", "largest difference", "of the scale", "other actions", "ties", "same action", "µs/decision")


def lines(told: dict, out: Path) -> Iterator[str]:
    """A table of those who read the file, then its score where it was played, and how it is run."""
    file, network, parity, times = (told[key] for key in ("file", "network", "parity", "decision_microseconds"))
    size = f"{network['parameters']:,} parameters, after {told['updates']:,} updates"
    yield CONTROL.sub("", f"{told['policy']} of {told['run']}: {network['label']}, {size}")
    yield ""
    rows = [
        (name, f"{one['largest_difference']:.1e}", f"{one['largest_share']:.1e}", f"{one['other_actions']:,}",
         f"{one['ties']:,}", f"{100 * one['agreement']:.2f} %", f"{times[name]:.1f}" if name in times else DASH)
        for name, one in parity["readers"].items()
    ]  # fmt: skip
    rows.append(("PyTorch", *[DASH] * 5, f"{times['PyTorch']:.1f}"))
    yield aligned(HEADINGS, rows, words=1)
    yield ""
    yield f"states    {parity['states']:,}: {parity['seen']:,} that the run has seen, {parity['perturbed']:,} perturbed"
    if score := told.get("score"):
        yield f"score     {_returns(score, 'int8')} in 8 bits, {_returns(score, 'policy')} as it was"
        yield f"          difference {_returns(score, 'difference')}, over {score['episodes']} episodes on the same seeds"
    yield f"file      {out}  {file['bytes']:,} bytes"
    yield f"about it  {sidecar(out)}"
    if is_run_by_policy_py(file["format"], told):
        needs = "NumPy alone" if file["format"] == SAFETENSORS else "NumPy and onnxruntime alone"
        yield f"run it    python {out.with_name(POLICY_PY)} {out} < observation.json  ({needs})"
    if file["format"] == TORCH:
        yield f'run it    torch.export.load("{out}").module()(observations)'
    if file["format"] == SAFETENSORS:
        yield f"teach     python launch.py train --teacher.source {out}"


def _returns(score: dict, name: str) -> str:
    form = return_form(*(score[which]["return_mean"] for which in ("int8", "policy")))
    mean, (low, high) = score[name]["return_mean"], score[name]["return_ci95"]
    return f"{mean:{form}} ({low:{form}} … {high:{form}})"
