import gzip
import struct

import numpy as np
import pytest
from gymnasium.spaces import Box

from distributed_kd.config import EnvConfig
from distributed_kd.envs.digits import from_folder, read_idx, stratified
from distributed_kd.envs.packages import DIGITS
from distributed_kd.envs.spec import make, read_spec
from distributed_kd.errors import ConfigurationError


def idx(array, kind=8):
    array = np.asarray(array, np.uint8)
    return bytes((0, 0, kind, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def packed(data):
    """Without the time, which would stand in a test's name: all who run the tests must know them by the same names."""
    return gzip.compress(data, mtime=0)


IMAGES = np.arange(5 * 28 * 28).reshape(5, 28, 28) % 256
LABELS = [3, 1, 4, 1, 5]


@pytest.fixture
def mnist(tmp_path):
    """A folder in which each file has another of the names that MNIST is found by."""
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(IMAGES))
    (tmp_path / "train-labels.idx1-ubyte").write_bytes(idx(LABELS))
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(packed(idx(IMAGES[:2])))
    (tmp_path / "t10k-labels.idx1-ubyte.gz").write_bytes(packed(idx([9, 0])))
    return tmp_path


def test_the_bundled_digits():
    load_digits = pytest.importorskip("sklearn.datasets").load_digits
    config = EnvConfig(DIGITS, {"split": "train"}, evaluation_kwargs={"split": "test"})
    spec = read_spec(config)
    assert (spec.observation_shape, spec.observation_dtype, spec.actions) == ((8, 8), "uint8", 10)
    assert (spec.scale, spec.channels) == (1 / 16, "none")
    train, test = make(config).unwrapped, make(config, evaluation=True).unwrapped
    assert len(train._images) + len(test._images) == len(load_digits().images) == 1797
    # All 1,797 images differ from one another, so that shared bytes would show a shared image.
    seen = [{image.tobytes() for image in env._images} for env in (train, test)]
    assert not seen[0] & seen[1]
    assert len(seen[0] | seen[1]) == 1797
    everything = np.bincount(load_digits().target)
    np.testing.assert_array_equal(np.bincount(test._labels), np.round(0.2 * everything))
    assert make(config).unwrapped._images is train._images  # loaded once in a process


def test_splits_are_stratified_and_always_the_same():
    labels = np.array([0] * 10 + [1] * 20 + [2] * 5)
    first, again = stratified(labels), stratified(labels)
    np.testing.assert_array_equal(np.bincount(labels[first["test"]]), [2, 4, 1])
    np.testing.assert_array_equal(np.sort(np.concatenate(list(first.values()))), np.arange(35))
    for split in ("train", "test"):
        np.testing.assert_array_equal(first[split], again[split])


def test_an_episode_is_one_image_and_one_answer(mnist):
    env = make(EnvConfig(DIGITS, {"folder": str(mnist)}))
    assert env.observation_space == Box(0, 255, (28, 28), np.uint8)
    shown = set()
    for seed in range(40):
        image, _ = env.reset(seed=seed)
        place = next(n for n in range(5) if np.array_equal(image, IMAGES[n]))
        shown.add(place)
        right = seed % 2 == 0
        after, reward, terminated, truncated, _ = env.step(LABELS[place] if right else (LABELS[place] + 1) % 10)
        assert (reward, terminated, truncated) == (float(right), True, False)
        np.testing.assert_array_equal(after, image)
        np.testing.assert_array_equal(env.reset(seed=seed)[0], image)
    assert shown == set(range(5))


def test_mnists_own_splits_and_scale(mnist):
    config = EnvConfig(DIGITS, {"folder": str(mnist)}, evaluation_kwargs={"split": "test"})
    assert read_spec(config).scale == 1 / 255
    images, labels = from_folder(str(mnist), "test")
    np.testing.assert_array_equal(images, IMAGES[:2])
    assert labels.tolist() == [9, 0]
    with pytest.raises(ValueError, match="read-only"):
        images[0] = 0


HEAD = bytes((0, 0, 8, 3))
PLAIN, PACKED = "train-images-idx3-ubyte", "train-images-idx3-ubyte.gz"


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        (PLAIN, b"", "begins with nothing, not with 00000803"),
        (PLAIN, b"<html>", "begins with 3c68746d, not with 00000803"),
        (PLAIN, idx(IMAGES, kind=0x0D), "begins with 00000d03, not with 00000803"),
        (PLAIN, idx(LABELS), "begins with 00000801, not with 00000803"),
        (PLAIN, idx(IMAGES)[:10], "ends within its head"),
        (PLAIN, idx(IMAGES)[:-1], "has fewer than the 3920 bytes that its head tells of"),
        (PLAIN, idx(IMAGES) + b"0", "has more than the 3920 bytes that its head tells of"),
        (PLAIN, HEAD + struct.pack(">3I", 0, 28, 28), "says that it has 0 bytes in [0, 28, 28]"),
        (PLAIN, HEAD + struct.pack(">3I", *[2**32 - 1] * 3), "which is not from 1 to 1073741824"),
        (PLAIN, idx(IMAGES[:4]), "train-labels.idx1-ubyte has 5 labels for the 4 images of train-images-idx3-ubyte"),
        (PACKED, idx(IMAGES), "cannot be read: Not a gzipped file"),
        (PACKED, packed(idx(IMAGES))[:-20], "cannot be read: Compressed file ended"),
        # Its head is that of zlib's data, whose rest is nonsense.
        (PACKED, packed(b"")[:10] + b"\xff" * 50, "cannot be read: Error -3"),
        (PACKED, packed(idx(IMAGES) + bytes(10**6)), "has more than the 3920 bytes"),
    ],
)
def test_a_damaged_file_is_one_line_with_its_name(mnist, name, content, told):
    (mnist / PLAIN).unlink()
    (mnist / name).write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        make(EnvConfig(DIGITS, {"folder": str(mnist)}))
    (line,) = caught.value.lines
    assert line.startswith(f"environment cannot be made (env.id={DIGITS}): ValueError: ")
    assert name in line
    assert told in line


def test_a_label_that_is_no_class_and_a_file_that_is_not_there(mnist):
    (mnist / "train-labels.idx1-ubyte").write_bytes(idx([3, 1, 4, 1, 10]))
    with pytest.raises(ValueError, match=r"train-labels\.idx1-ubyte has a label of 10, but the classes are 0 to 9"):
        from_folder(str(mnist), "train")
    (mnist / "train-labels.idx1-ubyte").unlink()
    with pytest.raises(ValueError, match=r"train-labels-idx1-ubyte is not in .*, neither packed"):
        from_folder(str(mnist), "train")


def test_the_split_is_one_of_two(mnist):
    with pytest.raises(ConfigurationError, match=r"split is \"train\" or \"test\", not 'dev'"):
        make(EnvConfig(DIGITS, {"split": "dev", "folder": str(mnist)}))


def test_files_are_read_as_they_are_written(tmp_path):
    (tmp_path / "any").write_bytes(idx([[1, 2, 3], [4, 5, 6]]))
    np.testing.assert_array_equal(read_idx(tmp_path / "any", 2), [[1, 2, 3], [4, 5, 6]])
