"""Classification of small images as an environment of one step: scikit-learn's digits, or MNIST from a folder."""

import functools
import gzip
import math
import zlib
from pathlib import Path
from typing import BinaryIO

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

CLASSES = 10
TEST_SHARE = 0.2
SPLIT_SEED = 0
LARGEST = 1 << 30
"""bytes that a file may hold; MNIST's largest holds 47 million"""

UNSIGNED_BYTES = 0x08
"""type of the numbers in an IDX file: http://yann.lecun.com/exdb/mnist (2024), "the IDX file format\""""


class Digits(gym.Env):
    """An episode is one image and one action, the class that it is taken for: reward 1 where it is right, else 0.

    Without a folder the images are scikit-learn's 1,797 digits [8, 8] uint8 from 0 to 16, a fifth of each class kept for
    the split "test". With a folder that holds MNIST's four IDX files, packed or not, they are those, [28, 28] uint8 from 0
    to 255, in MNIST's own splits.
    """

    def __init__(self, split: str = "train", folder: str = ""):
        if split not in ("train", "test"):
            raise ValueError(f'split is "train" or "test", not {split!r}')
        self._images, self._labels = from_folder(folder, split) if folder else bundled(split)
        high = 255 if folder else 16
        self.observation_space = Box(0, high, self._images.shape[1:], np.uint8)
        self.action_space = Discrete(CLASSES)
        self._shown = 0

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        super().reset(seed=seed)
        self._shown = int(self.np_random.integers(len(self._images)))
        return self._images[self._shown].copy(), {}

    def step(self, action: int):
        reward = float(action == self._labels[self._shown])
        return self._images[self._shown].copy(), reward, True, False, {}


@functools.cache
def bundled(split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images [n, 8, 8] and labels [n] of one split of scikit-learn's digits, which are part of that package."""
    from sklearn.datasets import load_digits

    all_of_them = load_digits()
    images, labels = all_of_them.images.astype(np.uint8), all_of_them.target.astype(np.int64)
    chosen = stratified(labels)[split]
    return _fixed(images[chosen]), _fixed(labels[chosen])


def stratified(labels: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """Places of the two splits, each in rising order: the same fifth of every class is the test set in every run."""
    random = np.random.default_rng(SPLIT_SEED)
    test = []
    for label in np.unique(labels):
        places = random.permutation(np.flatnonzero(labels == label))
        test.append(places[: round(TEST_SHARE * len(places))])
    chosen = np.sort(np.concatenate(test))
    return {"train": np.setdiff1d(np.arange(len(labels)), chosen), "test": chosen}


@functools.cache
def from_folder(folder: str, split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images [n, height, width] and labels [n] of one of MNIST's own splits. Raises ValueError, which names the file."""
    begin = {"train": "train", "test": "t10k"}[split]
    images_file, labels_file = _find(folder, f"{begin}-images-idx3-ubyte"), _find(folder, f"{begin}-labels-idx1-ubyte")
    images, labels = read_idx(images_file, 3), read_idx(labels_file, 1).astype(np.int64)
    if len(images) != len(labels):
        raise ValueError(f"{labels_file.name} has {len(labels)} labels for the {len(images)} images of {images_file.name}")
    if labels.max() >= CLASSES:
        raise ValueError(f"{labels_file.name} has a label of {labels.max()}, but the classes are 0 to {CLASSES - 1}")
    return _fixed(images), _fixed(labels)


def _find(folder: str, name: str) -> Path:
    other = name.replace("-idx", ".idx")
    for candidate in (name, f"{name}.gz", other, f"{other}.gz"):
        if (path := Path(folder) / candidate).is_file():
            return path
    raise ValueError(f"{name} is not in {folder}, neither packed (.gz) nor unpacked")


def read_idx(path: Path, axes: int) -> NDArray[np.uint8]:
    """The array of bytes in an IDX file, unpacked where its name ends in .gz. Raises ValueError, which names the file.

    The head is two zero bytes, the type, the number of axes, and each axis' length as four bytes, the highest first.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return _read_idx(file, axes, path.name)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path.name} cannot be read: {error}") from error


def _read_idx(file: BinaryIO, axes: int, name: str) -> NDArray[np.uint8]:
    head = file.read(4 + 4 * axes)
    expected = bytes((0, 0, UNSIGNED_BYTES, axes))
    if head[:4] != expected:
        raise ValueError(f"{name} begins with {head[:4].hex() or 'nothing'}, not with {expected.hex()}")
    if len(head) < 4 + 4 * axes:
        raise ValueError(f"{name} ends within its head")
    shape = tuple(int(length) for length in np.frombuffer(head, ">u4", offset=4))
    size = math.prod(shape)
    if not 0 < size <= LARGEST:
        raise ValueError(f"{name} says that it has {size} bytes in {list(shape)}, which is not from 1 to {LARGEST}")
    # One byte more than there should be: a packed file that goes on for ever is not unpacked to its end.
    body = file.read(size + 1)
    if len(body) != size:
        amount = "more" if len(body) > size else "fewer"
        raise ValueError(f"{name} has {amount} than the {size} bytes that its head tells of")
    return np.frombuffer(body, np.uint8).reshape(shape)


def _fixed(array: NDArray) -> NDArray:
    """Read-only, since all environments of a process share it."""
    array.flags.writeable = False
    return array
