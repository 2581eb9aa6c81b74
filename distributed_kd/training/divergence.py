"""What is kept of a run that diverged, for whoever is to find out why."""

from distributed_kd.errors import DivergedError
from distributed_kd.records import Divergence
from distributed_kd.storage.files import make_folder, replace_file, storage_errors, strict_json
from distributed_kd.storage.run_folder import RunFolder
from distributed_kd.storage.state_format import safetensors_chunks


def kept(found: Divergence, folder: RunFolder) -> DivergedError:
    """Save the batch under `diverged/`, as safetensors with a JSON beside it; gives the error that names it.

    Raises StorageError where it cannot be written.
    """
    path = folder.diverged / f"{found.network}-{found.update}.safetensors"
    about = {"network": found.network, "update": found.update, "skipped_in_a_row": found.skipped, "loss": found.loss}
    with storage_errors("the batch could not be saved", path):
        make_folder(path.parent)
        replace_file(path, b"".join(safetensors_chunks(found.batch)))
        replace_file(path.with_suffix(".json"), strict_json(about, indent=2).encode())
    return DivergedError(
        f"the run diverged ({found.network}.loss={found.loss}): {found.skipped} updates in a row were skipped up to update "
        f"{found.update}, as its gradient or loss was not finite; the last batch lies in {path}. "
        f"Lower the learning rate of {found.network}, or clip or scale the rewards"
    )
