"""Where checkpoints lie: in a folder of this machine, or wherever fsspec reaches by a URL. Not what they hold.

Both kinds of place make one promise: at whatever moment a `commit` breaks off, `committed` names nothing that is not whole.
A folder is written beside its place and renamed. An object store cannot rename: there the manifest is written last and
removed first, and whatever has none is no checkpoint.
"""

import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote, urlsplit

from distributed_kd.errors import ConfigurationError, Problem, RunError, StorageError
from distributed_kd.storage.files import make_folder, replace_file, storage_errors, sync_folder, write_synced

MANIFEST = "manifest.json"
LATEST = "LATEST"

Contents = Mapping[str, Iterable[bytes | memoryview]]
"""Files by name, each in chunks"""
Seal = Callable[[dict[str, dict[str, object]]], bytes]
"""Makes the manifest out of each file's `bytes` and `sha256`"""

CHECKPOINT = re.compile(r"step-([0-9]{1,18})(?:-([0-9]{1,9}))?")
"""A checkpoint's name: its step, and which attempt at that step it is"""

_STALE = re.compile(r"(step-[0-9-]+|LATEST)\.tmp-[0-9a-f]+")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_BLOCK = 1 << 24
_KEY = "checkpoint.to"


class Folder:
    """A folder on a disk: what is committed is durable, and stands under its name whole or not at all."""

    def __init__(self, path: Path):
        self._path = path

    def at(self, name: str) -> Path:
        """Where a checkpoint of this name lies."""
        return self._path / name

    def errors(self, what: str) -> AbstractContextManager[None]:
        """Turns what goes wrong inside into a StorageError that begins with `what`."""
        return storage_errors(what, self._path)

    def names(self) -> list[str]:
        """Every name that is taken; none where the folder is not there."""
        try:
            return os.listdir(self._path)
        except FileNotFoundError:
            return []

    committed = names

    def begin(self) -> None:
        """Make the folder, and remove what was never committed: it may be what fills the disk."""
        make_folder(self._path)
        self.sweep()

    def commit(self, name: str, contents: Contents, seal: Seal) -> None:
        """Write a checkpoint under a name that is not taken, and let LATEST name it."""
        temporary = self.at(f"{name}.tmp-{uuid.uuid4().hex}")
        try:
            temporary.mkdir()
            files = {}
            for file, chunks in contents.items():
                size, digest = write_synced(temporary / file, chunks)
                files[file] = {"bytes": size, "sha256": digest}
            write_synced(temporary / MANIFEST, [seal(files)])
            sync_folder(temporary)
            os.replace(temporary, self.at(name))
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync_folder(self._path)
        replace_file(self._path / LATEST, f"{name}\n".encode())

    def remove(self, name: str) -> None:
        """Take a checkpoint's name away; `sweep` removes the rest: there is never half of one under its name."""
        os.replace(self.at(name), self.at(f"{name}.tmp-{uuid.uuid4().hex}"))

    def sweep(self) -> None:
        """Remove what was never committed, or was on its way out."""
        for path in self._path.iterdir():
            if _STALE.fullmatch(path.name):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)

    def probe(self) -> None:
        """Write something and remove it again: whatever forbids that raises."""
        make_folder(self._path)
        probe = self.at(f"LATEST.tmp-{uuid.uuid4().hex}")
        write_synced(probe, [])
        probe.unlink()

    @contextmanager
    def fetched(self, name: str) -> Iterator[Path]:
        """The folder of a checkpoint, to read from."""
        yield self.at(name)


class Remote:
    """A prefix in an object store, or on any file system that fsspec knows."""

    def __init__(self, url: str):
        """Raises ConfigurationError where what it needs is not installed, StorageError where it cannot be reached."""
        self.url = url.rstrip("/")
        self._fs, root = _connect(self.url)
        self._root = root.rstrip("/")

    def at(self, name: str) -> str:
        return f"{self.url}/{name}"

    @contextmanager
    def errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except RunError:
            raise
        # Each store's library raises errors of its own, and each means that it did not do what it was asked for.
        except Exception as error:
            raise StorageError(_problem(what, self.url, error)) from error

    def _files(self) -> dict[str, list[str]]:
        """The files of each name that is a checkpoint's, whole or not."""
        with self.errors("the checkpoints' place cannot be read"):
            self._fs.invalidate_cache()  # what another process has written since is there too
            names = [name for name in self._list(self._root) if CHECKPOINT.fullmatch(name)]
            return {name: self._list(f"{self._root}/{name}") for name in names}

    def _list(self, path: str) -> list[str]:
        try:
            return [entry.rstrip("/").rpartition("/")[2] for entry in self._fs.ls(path, detail=False)]
        except FileNotFoundError:
            return []

    def names(self) -> list[str]:
        return list(self._files())

    def committed(self) -> list[str]:
        return [name for name, files in self._files().items() if MANIFEST in files]

    def begin(self) -> None:
        self.sweep()

    def commit(self, name: str, contents: Contents, seal: Seal) -> None:
        files = {}
        for file, chunks in contents.items():
            size, digest = 0, sha256()
            with self._fs.open(f"{self._root}/{name}/{file}", "wb") as out:
                for chunk in chunks:
                    for start in range(0, len(chunk), _BLOCK):  # what is handed over is copied
                        out.write(chunk[start : start + _BLOCK])
                    digest.update(chunk)
                    size += len(chunk)
            files[file] = {"bytes": size, "sha256": digest.hexdigest()}
        self._fs.pipe_file(f"{self._root}/{name}/{MANIFEST}", seal(files))
        self._fs.pipe_file(f"{self._root}/{LATEST}", f"{name}\n".encode())

    def remove(self, name: str) -> None:
        self._fs.rm_file(f"{self._root}/{name}/{MANIFEST}")

    def sweep(self) -> None:
        for name, files in self._files().items():
            if files and MANIFEST not in files:
                self._fs.rm(f"{self._root}/{name}", recursive=True)

    @contextmanager
    def fetched(self, name: str) -> Iterator[Path]:
        """Its files are brought here for as long as the block lasts."""
        with TemporaryDirectory(prefix="distributed_kd-") as folder:
            with self.errors("a checkpoint could not be read"):
                for file in filter(_FILE.fullmatch, self._files().get(name, [])):
                    self._fs.get_file(f"{self._root}/{name}/{file}", f"{folder}/{file}")
            yield Path(folder)

    def probe(self) -> None:
        probe = f"{self._root}/probe-{uuid.uuid4().hex}"
        self._fs.pipe_file(probe, b"")
        self._fs.rm_file(probe)


Place = Folder | Remote


def open_place(where: Path | str) -> Place:
    """The place of a folder, or of a URL; raises as `Remote` does."""
    if isinstance(where, Path):
        return Folder(where)
    parts = urlsplit(where)
    return Folder(Path(unquote(parts.path))) if parts.scheme == "file" else Remote(where)


def _connect(url: str):
    """The file system of a URL, and the path in it."""
    kind = urlsplit(url).scheme
    try:
        from fsspec.core import url_to_fs

        return url_to_fs(url, **({"auto_mkdir": True} if kind == "local" else {}))
    except ImportError as error:
        fix = 'Install it: pip install "distributed-kd[remote]"'
        why = f"{kind}:// needs one that cannot be imported ({error})"
        raise ConfigurationError(Problem("missing package", _KEY, url, why, fix)) from error
    except Exception as error:  # of the store's library, as in Remote.errors
        if isinstance(error, ValueError) and "Protocol not known" in str(error):
            why, fix = f"fsspec knows no {kind}://", f"Set --{_KEY} s3://BUCKET/PREFIX or gs://BUCKET/PREFIX"
            raise ConfigurationError(Problem("unknown kind of place", _KEY, url, why, fix)) from error
        raise StorageError(_problem("the checkpoints' place cannot be reached", url, error)) from error


def _problem(what: str, url: str, error: Exception) -> Problem:
    # A signed request carries its signature behind the question mark.
    why = re.sub(r"\?\S*", "", " ".join(str(error).split()))[:200].rstrip(".")
    if isinstance(error, PermissionError) or "credential" in type(error).__name__.lower():
        fix = f"Give credentials in the environment, as {urlsplit(url).scheme}:// expects them"
    elif isinstance(error, FileNotFoundError):
        fix = f"Make the bucket, or give another --{_KEY}"
    else:
        fix = f"Check the store and the way to it, or give another --{_KEY}"
    return Problem(what, _KEY, url, f"{type(error).__name__}: {why}" if why else type(error).__name__, fix)
