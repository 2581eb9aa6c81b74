"""Checkpoints on disk: written so that a crash at any point leaves a whole one, read only where every hash agrees.

What goes into a state is its owner's business; when to save and what to do after a load belongs to the training loop.

A folder of checkpoints holds `step-N/` for each, with `<part>.safetensors` and `<part>.json` for every part and
`manifest.json`, and `LATEST`, the name of the one committed last. LATEST is for people and scripts: loading goes by the
folders' names, so that a damaged LATEST costs nothing. A committed checkpoint is never written again: a step that is
saved twice (resumed and stopped at once; reached again after a damaged one) becomes `step-N-2`, which counts as newer.
"""

import hashlib
import json
import logging
import os
import re
import shutil
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from safetensors.numpy import load_file

from distributed_kd.config import NAME
from distributed_kd.errors import CheckpointError, Problem
from distributed_kd.records import State
from distributed_kd.storage.files import make_folder, replace_file, storage_errors, sync_folder, write_synced
from distributed_kd.storage.state_format import decode, encode, safetensors_chunks

SCHEMA = 3
MANIFEST = "manifest.json"
LATEST = "LATEST"

_COMMITTED = re.compile(r"step-([0-9]{1,18})(?:-([0-9]{1,9}))?")
_STALE = re.compile(r"(step-[0-9-]+|LATEST)\.tmp-[0-9a-f]+")
_NO_DIGEST = "0" * 64

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A checkpoint whose every byte was verified."""

    step: int
    path: Path
    parts: dict[str, State]
    """what was saved; tensors come back as NumPy arrays, tuples as lists"""
    about: dict[str, object]
    """the small free record given to `save`"""
    skipped: list[str] = field(default_factory=list)
    """newer checkpoints that could not be used: one line each, with the file and the reason"""


class Committed(NamedTuple):
    """What `save` has written."""

    path: Path
    bytes: int
    """of all its files but the manifest"""


class _Damaged(Exception):
    """Why a checkpoint cannot be used, behind the name of its file."""


def save(folder: Path, step: int, parts: Mapping[str, State], about: Mapping[str, object], keep: int) -> Committed:
    """Commit a checkpoint and prune the folder to the `keep` newest; gives the checkpoint's folder and size.

    Checkpoints of a later step are of a course that was given up (damaged, or rolled back behind): they are removed
    once this one is committed, so that the newest step is always the last one saved.

    Raises StorageError where the disk refuses (earlier checkpoints stay as they are), TypeError naming the path of a
    value that cannot be stored, ValueError for a bad name of a part, a negative step or keep below 1.
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

    with storage_errors("a checkpoint could not be written", folder):
        make_folder(folder)
        _sweep(folder)  # what a killed save left may be what fills the disk
        name = _unused_name(folder, step)
        temporary = folder / f"{name}.tmp-{uuid.uuid4().hex}"
        try:
            temporary.mkdir()
            files = {}
            for part, (text, part_arrays) in encoded.items():
                contents = {"safetensors": safetensors_chunks(part_arrays), "json": [text]}
                for ending, chunks in contents.items():
                    size, digest = write_synced(temporary / f"{part}.{ending}", chunks)
                    files[f"{part}.{ending}"] = {"bytes": size, "sha256": digest}
            manifest = {"schema": SCHEMA, "step": step, "parts": list(parts), "files": files}
            write_synced(temporary / MANIFEST, [_seal(manifest | {"about": json.loads(about_text)})])
            sync_folder(temporary)
            os.replace(temporary, folder / name)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync_folder(folder)
        replace_file(folder / LATEST, f"{name}\n".encode())
    _prune(folder, folder / name, keep)
    return Committed(folder / name, sum(file["bytes"] for file in files.values()))


def load_newest(folder: Path) -> Checkpoint:
    """The newest checkpoint that is whole; damaged ones on the way are named in its `skipped`.

    Sizes and hashes of all files are verified before any is parsed; nothing is ever unpickled.
    Raises CheckpointError, one line per candidate with its reason, where none can be used.
    """
    skipped: list[str] = []
    for step, _, path in reversed(_committed(folder)):
        try:
            parts, about = _load(path, step)
        except _Damaged as reason:
            skipped.append(f"{path.name}: {reason}")
        else:
            return Checkpoint(step, path, parts, about, skipped)
    why = f"none of the {len(skipped)} there is whole" if skipped else "there is none"
    fix = "Bring back the folder from a copy, or start a new run"
    raise CheckpointError(Problem("no checkpoint to start from", "path", folder, why, fix), *skipped)


def _committed(folder: Path) -> list[tuple[int, int, Path]]:
    """(step, attempt, path) of every committed checkpoint, oldest first."""
    try:
        paths = list(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        fix = "Make the folder readable"
        raise CheckpointError(Problem("no checkpoint can be read", "path", folder, error.strerror, fix)) from error
    matches = ((_COMMITTED.fullmatch(path.name), path) for path in paths)
    return sorted((int(match[1]), int(match[2] or 1), path) for match, path in matches if match)


def _unused_name(folder: Path, step: int) -> str:
    attempts = [attempt for taken, attempt, _ in _committed(folder) if taken == step]
    return f"step-{step}-{max(attempts) + 1}" if attempts else f"step-{step}"


def _sweep(folder: Path) -> None:
    """Remove what was never committed, or was on its way out."""
    for path in folder.iterdir():
        if _STALE.fullmatch(path.name):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _prune(folder: Path, written: Path, keep: int) -> None:
    committed = [path for _, _, path in _committed(folder)]
    position = committed.index(written)
    for path in committed[: max(0, position + 1 - keep)] + committed[position + 1 :]:
        # The new checkpoint stands, so a disk that will not give up an old one is no reason to end the run: it is
        # said aloud, and tried again at the next save.
        try:
            os.replace(path, path.with_name(f"{path.name}.tmp-{uuid.uuid4().hex}"))  # never half of one under its name
        except OSError as error:
            logger.warning("an old checkpoint could not be removed (path=%s): %s", path, error.strerror)
    with suppress(OSError):
        _sweep(folder)


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
