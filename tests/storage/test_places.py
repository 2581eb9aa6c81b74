"""distributed_kd/storage/places.py: checkpoints at a URL. A store has no rename, and fails wherever it likes."""

import contextlib
import os
import sys
import uuid
from pathlib import Path

import fsspec
import pytest
from checkpoint_samples import parts
from fsspec.implementations.local import LocalFileOpener, LocalFileSystem
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem
from fsspec.registry import _registry

from distributed_kd.errors import CheckpointError, ConfigurationError, StorageError
from distributed_kd.storage.checkpoints import check_unused, load_newest, save
from distributed_kd.storage.places import open_place

STORES = {"memory": (MemoryFileSystem, MemoryFile), "local": (LocalFileSystem, LocalFileOpener)}


@pytest.fixture(params=STORES)
def url(request, tmp_path):
    return f"memory://{uuid.uuid4().hex}/run" if request.param == "memory" else f"local://{tmp_path}/store/run"


def stored(url: str, *steps: int, keep: int = 3) -> str:
    for step in steps:
        save(url, step, parts(step), {"policies": ["teacher"]}, keep)
    return url


def listed(url: str) -> list[str]:
    """Every file at the URL, in order."""
    fs, root = fsspec.core.url_to_fs(url)
    return sorted(path.removeprefix(f"{root}/") for path in fs.find(root))


def newest(url: str) -> int:
    """The step of the newest checkpoint, which is complete."""
    loaded = load_newest(url)
    assert loaded.parts["learner"]["updates"] == loaded.step
    assert loaded.parts["replay"]["action"].tolist() == list(range(loaded.step))
    assert loaded.parts["learner"]["weights"].tolist() == parts(loaded.step)["learner"]["weights"].tolist()
    return loaded.step


FILES = ["learner.json", "learner.safetensors", "manifest.json", "replay.json", "replay.safetensors"]


def test_a_checkpoint_comes_back_as_it_was(url):
    path, size = save(url, 100, parts(100), {"policies": ["teacher"]}, 3)
    assert path == f"{url}/step-100"
    assert newest(url) == 100
    loaded = load_newest(url)
    assert (loaded.name, loaded.path, loaded.about, loaded.skipped) == ("step-100", path, {"policies": ["teacher"]}, [])
    assert listed(url) == ["LATEST", *(f"step-100/{file}" for file in FILES)]
    fs, root = fsspec.core.url_to_fs(url)
    assert fs.cat_file(f"{root}/LATEST") == b"step-100\n"
    assert size == sum(fs.size(f"{root}/step-100/{file}") for file in FILES if file != "manifest.json")


def test_the_newest_are_kept_and_none_is_written_over(url):
    stored(url, 5, 6, 7, 7, keep=2)
    assert {name.partition("/")[0] for name in listed(url)} == {"LATEST", "step-7", "step-7-2"}
    assert load_newest(url).name == "step-7-2"
    stored(url, 6)  # gone back behind them
    assert {name.partition("/")[0] for name in listed(url)} == {"LATEST", "step-6"}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.999])
def test_a_truncated_file_is_named_and_the_checkpoint_before_used(url, file, share):
    fs, root = fsspec.core.url_to_fs(stored(url, 100, 200))
    whole = fs.cat_file(f"{root}/step-200/{file}")
    fs.pipe_file(f"{root}/step-200/{file}", whole[: min(int(len(whole) * share), len(whole) - 1)])
    assert newest(url) == 100
    (line,) = load_newest(url).skipped
    assert line.startswith(f"step-200: {file}: ")


@pytest.mark.parametrize("file", FILES)
def test_a_flipped_bit_or_a_file_that_is_gone_is_named(url, file):
    fs, root = fsspec.core.url_to_fs(stored(url, 100, 200))
    flipped = bytearray(fs.cat_file(f"{root}/step-200/{file}"))
    flipped[len(flipped) // 2] ^= 1
    fs.pipe_file(f"{root}/step-200/{file}", bytes(flipped))
    (line,) = load_newest(url).skipped
    assert newest(url) == 100 and line.startswith(f"step-200: {file}: ")
    fs.rm_file(f"{root}/step-200/{file}")
    skipped = load_newest(url).skipped
    # Without its manifest it is no checkpoint at all.
    assert newest(url) == 100
    assert skipped == ([] if file == "manifest.json" else [f"step-200: {file}: No such file or directory"])


class FailingStore:
    """Counts every call to a store and every write, and fails at the k-th; what is written gets half through."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, kind: str, k: int, error: BaseException):
        self.left, self.error = k, error
        store, file = STORES[kind]
        for name in ("ls", "_open", "rm_file", "rm"):
            monkeypatch.setattr(store, name, self.counted(getattr(store, name)))
        monkeypatch.setattr(store, "pipe_file", self.halved(store.pipe_file))
        if "write" in vars(file) or file is MemoryFile:
            monkeypatch.setattr(file, "write", self.halved_write(file.write), raising=False)

    def tick(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise self.error

    def counted(self, method):
        def call(*arguments, **options):
            self.tick()
            return method(*arguments, **options)

        return call

    def halved(self, method):
        def pipe(store, path, value, **options):
            if self.left == 1:
                self.left = 0
                method(store, path, value[: len(value) // 2], **options)
                raise self.error
            self.left -= 1
            return method(store, path, value, **options)

        return pipe

    def halved_write(self, method):
        def write(file, data):
            if self.left == 1:
                method(file, data[: len(data) // 2])
            self.tick()
            return method(file, data)

        return write


class Stop(BaseException):
    """Stands for the end of the process: nothing may catch it."""


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("error", [ConnectionError("the network is down"), Stop()], ids=repr)
def test_a_save_that_breaks_off_anywhere_leaves_the_one_before_or_the_new_one(kind, error, tmp_path, caplog):
    k, passed, steps = 0, False, []
    while not passed:
        k += 1
        name = uuid.uuid4().hex
        url = stored(f"memory://{name}" if kind == "memory" else f"local://{tmp_path}/{name}", 100)
        done = False
        with pytest.MonkeyPatch.context() as monkeypatch:
            store = FailingStore(monkeypatch, kind, k, error)
            with contextlib.suppress(Stop if isinstance(error, Stop) else StorageError):
                save(url, 200, parts(200), {}, 1)
                done = True
            passed = store.left > 0
        steps.append(newest(url))
        assert steps[-1] == 200 or not done
        stored(url, 300, keep=1)
        assert newest(url) == 300
        assert listed(url) == ["LATEST", *(f"step-300/{file}" for file in FILES)]
    assert set(steps) == {100, 200} and k > 12


def test_an_old_one_loses_its_manifest_first(url, monkeypatch, caplog):
    """A removal that breaks off leaves no half of a checkpoint, and is made up for at the next save."""

    def refuse(*_, **__):
        raise ConnectionError("the network is down")

    stored(url, 100)
    with monkeypatch.context() as patched:
        patched.setattr(STORES[url.partition(":")[0]][0], "rm", refuse)
        stored(url, 200, keep=1)
    assert "an old checkpoint could not be removed" in caplog.text
    left = [name for name in listed(url) if name.startswith("step-100/")]
    assert left == [f"step-100/{file}" for file in FILES if file != "manifest.json"]
    assert newest(url) == 200 and load_newest(url).skipped == []
    stored(url, 300, keep=1)
    assert listed(url) == ["LATEST", *(f"step-300/{file}" for file in FILES)]


def test_an_error_of_the_store_is_one_line(url, monkeypatch):
    store = STORES[url.partition(":")[0]][0]
    stored(url, 100)

    class NoCredentialsError(Exception):
        pass

    errors = {
        PermissionError("Access Denied"): "PermissionError: Access Denied. Give credentials in the environment, as ",
        NoCredentialsError("Unable to locate credentials"): "NoCredentialsError: Unable to locate credentials. Give cred",
        IsADirectoryError("a prefix"): "IsADirectoryError: a prefix. Check the store and the way to it, or give another --",
        ConnectionError("POST https://x/o?X-Signature=abc failed"): "ConnectionError: POST https://x/o failed. Check the",
    }
    for error, told in errors.items():

        def refuse(*_, error=error, **__):
            raise error

        with monkeypatch.context() as patched:
            patched.setattr(store, "pipe_file", refuse)
            with pytest.raises(StorageError) as raised:
                stored(url, 200)
            (line,) = raised.value.lines
            assert line.startswith(f"a checkpoint could not be written (checkpoint.to={url}): {told}")
        with monkeypatch.context() as patched:
            patched.setattr(store, "ls", refuse)
            with pytest.raises(StorageError) as raised:
                load_newest(url)
            (line,) = raised.value.lines
            assert line.startswith(f"the checkpoints' place cannot be read (checkpoint.to={url}): {told}")
    assert newest(url) == 100


def test_a_bucket_that_is_not_there_is_told_when_writing(url, monkeypatch):
    def missing(*_, **__):
        raise FileNotFoundError("The specified bucket does not exist")

    store = STORES[url.partition(":")[0]][0]
    for name in ("ls", "pipe_file"):
        monkeypatch.setattr(store, name, missing)
    with pytest.raises(StorageError, match=r"The specified bucket does not exist\. Make the bucket, or give another"):
        check_unused(url)


def test_a_place_of_another_run_is_refused(url):
    check_unused(url)
    assert listed(url) == []
    stored(url, 100)
    with pytest.raises(ConfigurationError, match=r"the place is in use \(checkpoint\.to=.*\): it holds step-100 already"):
        check_unused(url)


def test_a_place_that_refuses_is_told_before_anything_starts(url, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError("Access Denied")

    monkeypatch.setattr(STORES[url.partition(":")[0]][0], "pipe_file", refuse)
    with pytest.raises(StorageError, match=r"no checkpoint can be written there .*Access Denied"):
        check_unused(url)


def test_none_at_a_url_is_one_clear_line(url):
    with pytest.raises(CheckpointError) as error:
        load_newest(url)
    (line,) = error.value.lines
    assert line.startswith(f"no checkpoint to start from (path={url}): there is none")


@pytest.mark.parametrize("module", ["fsspec.core", "s3fs"])
def test_a_package_that_is_not_there_is_named(module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(_registry, "s3", raising=False)
    with pytest.raises(ConfigurationError) as error:
        open_place("s3://bucket/prefix")
    (line,) = error.value.lines
    assert line.startswith("missing package (checkpoint.to=s3://bucket/prefix): s3:// needs one that cannot be imported (")
    assert line.endswith('. Install it: pip install "distributed-kd[remote]"')


def test_a_kind_of_place_that_nobody_knows():
    with pytest.raises(ConfigurationError, match=r"unknown kind of place .*: fsspec knows no nowhere://"):
        open_place("nowhere://bucket")


def test_a_file_url_is_a_folder(tmp_path: Path):
    save(f"file://{tmp_path}/with%20space", 100, parts(100), {}, 3)
    assert os.listdir(tmp_path / "with space" / "step-100")
    assert load_newest(f"file://{tmp_path}/with%20space").step == load_newest(tmp_path / "with space").step == 100
