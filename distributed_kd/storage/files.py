"""Writing files so that a crash leaves the old or the new one, and strict JSON. What the files mean lives elsewhere."""

import errno
import hashlib
import json
import math
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from distributed_kd.errors import Problem, StorageError

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

_FIXES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "Free some space there, or give another --out"),
    errno.EFBIG: "Raise the limit on the size of files (ulimit -f), or give another --out",
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "Make the folder writable, or give another --out"),
}


@contextmanager
def storage_errors(what: str, path: Path) -> Iterator[None]:
    """Turn an OSError inside into StorageError: one line with what failed, the path, why, and the fix."""
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error) or type(error).__name__
        fix = _FIXES.get(error.errno, "Check the disk, or give another --out")
        raise StorageError(Problem(what, "path", path, why, fix)) from error


def make_folder(path: Path) -> None:
    """Make a folder and its parents where they are missing; NotADirectoryError where a file is in the way."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, "a file is in the place of a folder", str(path)) from error


def sync_folder(folder: Path) -> None:
    """Make the names inside the folder durable: a rename that is not synced can be lost with the power."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot sync a folder
            raise
    finally:
        os.close(descriptor)


def write_synced(path: Path, chunks: Iterable[bytes | memoryview]) -> tuple[int, str]:
    """Write a file that must not exist yet, and fsync it; gives its size in bytes and its sha256.

    The hash is of what was meant to be written, so a fault on the way to the disk is found too.
    """
    size, digest = 0, hashlib.sha256()
    with open(path, "xb") as file:
        for chunk in chunks:
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
        file.flush()
        os.fsync(file.fileno())
    return size, digest.hexdigest()


def replace_file(path: Path, data: bytes) -> None:
    """Put data at path: whoever reads it, also after a crash, finds the old file or the new one, whole."""
    temporary = path.with_name(f"{path.name}.tmp-{uuid.uuid4().hex}")
    try:
        write_synced(temporary, [data])
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def strict(value: object) -> object:
    """The same value for strict JSON: NaN and infinities are None, NumPy scalars numbers, no control characters."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return CONTROL.sub("", value)
    if isinstance(value, Mapping):
        return {CONTROL.sub("", str(key)): strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict(item) for item in value]
    return value


def strict_json(value: object, indent: int | None = None) -> str:
    """Strict JSON text of a value; TypeError where JSON has no word for it."""
    return json.dumps(strict(value), allow_nan=False, indent=indent)
