"""Whether a run can go on from a checkpoint: what of its configuration may change, and that every network has its shapes."""

from distributed_kd import run_file
from distributed_kd.config import RunConfig
from distributed_kd.errors import CheckpointError, Problem
from distributed_kd.storage import checkpoints
from distributed_kd.storage.checkpoints import Checkpoint
from distributed_kd.storage.run_folder import RunFolder
from distributed_kd.storage.sources import policy_parameters
from distributed_kd.training.parts import Parts

MAY_CHANGE = ("stop", "evaluation", "checkpoint", "supervision", "placement", "tracking", "learner")
"""Tables of the run file that a resumed run may change"""
MAY_NOT_CHANGE = ("checkpoint.to",)
"""Keys in them that may not: the checkpoints that there are would not be found"""


def open_checkpoint(folder: RunFolder, config: RunConfig, before: RunConfig) -> Checkpoint:
    """The newest good checkpoint of a run that goes on with `config`.

    Raises CheckpointError where the configuration changed in what may not change, or where none is whole or fits.
    """
    new = [name for name in config.students if name not in before.students]

    def is_new(key: str) -> bool:
        return any(key.startswith(f"students.{name}.") for name in new)

    wrong = [
        Problem(
            "the run was made with another value",
            key,
            new,
            f"it is {old} in {folder.config_file}",
            f"Leave it, or start a new run; only {', '.join(MAY_CHANGE)} and new students may change",
        )
        for key, (old, new) in run_file.changed(before, config).items()
        if (key.partition(".")[0] not in MAY_CHANGE or key in MAY_NOT_CHANGE) and not is_new(key)
    ]
    if wrong:
        raise CheckpointError(*wrong)
    return checkpoints.load_newest(folder.checkpoints_at(config.checkpoint.to))


def check_fits(restored: Checkpoint, parts: Parts) -> None:
    """Raise CheckpointError naming every network whose saved shapes are not those of the run file."""
    misfits = []
    learner = restored.parts["learner"]
    added = set(parts.config.policies) - set(restored.about["policies"])
    for name, network in parts.networks().items():
        if name in added:
            continue
        saved = policy_parameters(learner, name)
        wanted = {key: tuple(value.shape) for key, value in network.state_dict().items()}
        found = {key: tuple(value.shape) for key, value in saved.items()} if saved else {}
        misfits += [
            Problem(
                "the checkpoint does not fit",
                f"{name}.{key}",
                found.get(key, "missing"),
                f"the run file makes it {shape}",
                "Use the run file that the checkpoint was made with",
            )
            for key, shape in wanted.items()
            if found.get(key) != shape
        ]
    if misfits:
        raise CheckpointError(*misfits)
