"""Checkpoints: written so that a crash at any point leaves a whole one, read only where every hash agrees.

What goes into a state is its owner's business; when to save and what to do after a load belongs to the training loop; how
files come to a folder or to an object store is that of `places.py`.

A place of checkpoints holds `step-N/` for each, with `<part>.safetensors` and `<part>.json` for every part and
`manifest.json`, and `LATEST`, the name of the one committed last. LATEST is for people and scripts: loading goes by the
folders' names, so that a damaged LATEST costs nothing. A committed checkpoint is never written again: a step that is
saved twice (resumed and stopped at once; reached again after a damaged one) becomes `step-N-2`, which counts as newer.
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from safetensors.numpy import load_file

from distributed_kd.config import NAME
from distributed_kd.errors import CheckpointError, ConfigurationError, Problem, StorageError
from distributed_kd.records import State
from distributed_kd.storage.places import CHECKPOINT, MANIFEST, Place, open_place
from distributed_kd.storage.state_format import decode, encode, safetensors_chunks

SCHEMA = 3

_NO_DIGEST = "0" * 64

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A checkpoint whose every byte was verified."""

    step: int
    name: str
    path: Path | str
    """its folder, or its URL"""
    parts: dict[str, State]
    """what was saved; tensors come back as NumPy arrays, tuples as lists"""
    about: dict[str, object]
    """the small free record given to `save`"""
    skipped: list[str] = field(default_factory=list)
    """newer checkpoints that could not be used: one line each, with the file and the reason"""


class Committed(NamedTuple):
    """What `save` has written."""

    path: Path | str
    """its folder, or its URL"""
    bytes: int
    """of all its files but the manifest"""


class _Damaged(Exception):
    """Why a checkpoint cannot be used, behind the name of its file."""


def save(where: Path | str, step: int, parts: Mapping[str, State], about: Mapping[str, object], keep: int) -> Committed:
    """Commit a checkpoint to a folder or a URL and keep the `keep` newest there; gives the checkpoint's place and size.

    Checkpoints of a later step are of a course that was given up (damaged, or rolled back behind): they are removed
    once this one is committed, so that the newest step is always the last one saved.

    Raises StorageError where the disk or the store refuses (earlier checkpoints stay as they are), TypeError naming the path
    of a value that cannot be stored, ValueError for a bad name of a part, a negative step or keep below 1.
    """
    if step < 0 or keep < 1:
        raise ValueError(f"step must be at least 0 and keep at least 1, not {step} and {keep}")
    for name in parts:
        if not NAME.fullmatch(name) or f"{name}.json" == MANIFEST:
            raise ValueError(f"{name!r} cannot name a part of a checkpoint")
    encoded = {name: encode(state, name) for name, state in parts.items()}
    about_text, arrays = encode(about, "about")
    if arrays:
        raise TypeError(f"about{next(iter(arrays))}: an array cannot be stored there")
    contents = {}
    for name, (text, part_arrays) in encoded.items():
        contents[f"{name}.safetensors"] = safetensors_chunks(part_arrays)
        contents[f"{name}.json"] = [text]
    sizes: list[int] = []

    def seal(files: dict[str, dict[str, object]]) -> bytes:
        sizes.extend(file["bytes"] for file in files.values())
        manifest = {"schema": SCHEMA, "step": step, "parts": list(parts), "files": files}
        return _seal(manifest | {"about": json.loads(about_text)})

    place = open_place(where)
    with place.errors("a checkpoint could not be written"):
        place.begin()
        name = _unused_name(place, step)
        place.commit(name, contents, seal)
        _prune(place, name, keep)
    return Committed(place.at(name), sum(sizes))


def load_newest(where: Path | str) -> Checkpoint:
    """The newest checkpoint in a folder or at a URL that is whole; damaged ones on the way are named in its `skipped`.

    Sizes and hashes of all files are verified before any is parsed; nothing is ever unpickled.
    Raises CheckpointError, one line per candidate with its reason, where none can be used, StorageError where a store cannot
    be read.
    """
    place = open_place(where)
    skipped: list[str] = []
    for step, _, name in reversed(_in_order(_committed(place, where))):
        try:
            with place.fetched(name) as path:
                parts, about = _load(path, step)
        except _Damaged as reason:
            skipped.append(f"{name}: {reason}")
        else:
            return Checkpoint(step, name, place.at(name), parts, about, skipped)
    why = f"none of the {len(skipped)} there is whole" if skipped else "there is none"
    fix = "Bring back the folder from a copy, or start a new run"
    raise CheckpointError(Problem("no checkpoint to start from", "path", where, why, fix), *skipped)


def has_some(where: Path | str) -> bool:
    """Whether anything was committed there, whole or not. Raises RunError where the place cannot be read."""
    return bool(_in_order(_committed(open_place(where), where)))


def check_unused(url: str) -> None:
    """Raise ConfigurationError where something stands at a URL that is, or was to be, a checkpoint: another run's, perhaps.

    Raises StorageError where nothing can be written there.
    """
    place = open_place(url)
    with place.errors("no checkpoint can be written there"):
        taken = _in_order(place.names())
        if not taken:
            place.probe()
    if taken:
        why, fix = f"it holds {taken[-1][2]} already", "Give another --checkpoint.to, or go on with that run"
        raise ConfigurationError(Problem("the place is in use", "checkpoint.to", url, why, fix))


def _committed(place: Place, where: Path | str) -> list[str]:
    try:
        return place.committed()
    except OSError as error:
        why, fix = error.strerror or str(error), "Make the place readable"
        raise CheckpointError(Problem("no checkpoint can be read", "path", where, why, fix)) from error


def _in_order(names: Iterable[str]) -> list[tuple[int, int, str]]:
    """(step, attempt, name) of those that name a checkpoint, oldest first."""
    matches = ((CHECKPOINT.fullmatch(name), name) for name in names)
    return sorted((int(match[1]), int(match[2] or 1), name) for match, name in matches if match)


def _unused_name(place: Place, step: int) -> str:
    attempts = [attempt for taken, attempt, _ in _in_order(place.names()) if taken == step]
    return f"step-{step}-{max(attempts) + 1}" if attempts else f"step-{step}"


def _prune(place: Place, written: str, keep: int) -> None:
    committed = [name for _, _, name in _in_order(place.committed())]
    position = committed.index(written)
    old = committed[: max(0, position + 1 - keep)] + committed[position + 1 :]
    for remove in (*(partial(place.remove, name) for name in old), place.sweep):
        # The new checkpoint stands, so a place that will not give up an old one is no reason to end the run: it is
        # said aloud, and tried again at the next save.
        try:
            with place.errors("an old checkpoint could not be removed"):
                remove()
        except StorageError as error:
            logger.warning("warning: %s", error)


def _seal(manifest: Mapping[str, object]) -> bytes:
    """The manifest's bytes, its own hash last: the sha256 of these bytes with zeros in the hash's place."""
    text = json.dumps({**manifest, "manifest_sha256": _NO_DIGEST}, indent=1)
    before, _, after = text.rpartition(_NO_DIGEST)
    return f"{before}{hashlib.sha256(text.encode()).hexdigest()}{after}".encode()


def _load(path: Path, step: int) -> tuple[dict[str, State], dict[str, object]]:
    manifest = _read_manifest(path / MANIFEST)
    try:
        names = _check_manifest(manifest, path, step)
    except (KeyError, TypeError, AttributeError) as error:  # sealed, but written by something else
        raise _Damaged(f"{MANIFEST}: it is no manifest") from error
    return {name: _read_part(path, name) for name in names}, manifest["about"]


def _check_manifest(manifest: Mapping, path: Path, step: int) -> list[str]:
    """Check every file that the manifest lists; gives the names of the parts."""
    if manifest["schema"] != SCHEMA:
        raise _Damaged(f"{MANIFEST}: schema {manifest['schema']}, where this version reads {SCHEMA}")
    if manifest["step"] != step:
        raise _Damaged(f"{MANIFEST}: it is of step {manifest['step']}")
    names, files = manifest["parts"], manifest["files"]
    expected = {f"{name}.{ending}" for name in names for ending in ("json", "safetensors")}
    if set(files) != expected or not all(NAME.fullmatch(name) for name in names) or not isinstance(manifest["about"], dict):
        raise _Damaged(f"{MANIFEST}: its files are not those of its parts")
    for name in sorted(expected):
        _verify(path / name, files[name]["bytes"], files[name]["sha256"])
    return names


def _read_manifest(path: Path) -> dict[str, object]:
    try:
        _check_regular(path)
        data = path.read_bytes()
        manifest = json.loads(data)
        digest = manifest["manifest_sha256"]
        zeroed = data.replace(digest.encode(), _NO_DIGEST.encode())
    except OSError as error:
        raise _Damaged(f"{MANIFEST}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _Damaged(f"{MANIFEST}: it is no manifest") from error
    if hashlib.sha256(zeroed).hexdigest() != digest:
        raise _Damaged(f"{MANIFEST}: sha256 differs")
    return manifest


def _check_regular(path: Path) -> None:
    if path.exists() and not path.is_file():  # reading a pipe would wait for ever
        raise _Damaged(f"{path.name}: it is no regular file")


def _verify(path: Path, expected_size: int, expected_digest: str) -> None:
    try:
        _check_regular(path)
        size = path.stat().st_size
        if size != expected_size:
            raise _Damaged(f"{path.name}: {size} bytes, not {expected_size}")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _Damaged(f"{path.name}: {error.strerror}") from error
    if digest != expected_digest:
        raise _Damaged(f"{path.name}: sha256 differs")


def _read_part(path: Path, name: str) -> State:
    file = f"{name}.safetensors"
    try:
        arrays = load_file(path / file)
        file = f"{name}.json"
        return decode((path / file).read_bytes(), arrays)
    # Its hash agrees, so this file was made to look right: whatever a parser says of it, it is one more candidate lost.
    except Exception as error:
        raise _Damaged(f"{file}: {error}") from error
