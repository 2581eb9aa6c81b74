"""distributed_kd/storage/policy_files.py: numbers that were changed are found, and files without a hash still read."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from distributed_kd.network_config import HeadConfig, NetworkConfig
from distributed_kd.storage.foreign import Unusable, read_safetensors
from distributed_kd.storage.policy_files import METADATA, NORMAL, Source, packed, unpacked

ARRAYS = {
    "body.0.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "body.0.bias": np.zeros(3, np.float32),
    "advantage.weight": np.ones((2, 3), np.float32),
    "advantage.bias": np.ones(2, np.float32),
}


def read(path):
    return unpacked(*read_safetensors(path, METADATA))


def written(tmp_path, **metadata):
    source = Source("a run", NetworkConfig(hidden=(3,)), HeadConfig(), ARRAYS, np.full((2, 4), 7, np.float32))
    path = tmp_path / "a.safetensors"
    path.write_bytes(packed(source, **metadata))
    return path


def metadata_of(path):
    return read_safetensors(path, METADATA)[1]


def test_a_policy_comes_back_whatever_else_is_in_its_metadata(tmp_path):
    source = read(written(tmp_path, another="word"))
    assert (source.origin, source.network, source.head) == ("a run", NetworkConfig(hidden=(3,)), HeadConfig())
    assert source.parameters.keys() == ARRAYS.keys()
    assert all(np.array_equal(source.parameters[name], value) for name, value in ARRAYS.items())
    assert source.normal.tolist() == np.full((2, 4), 7).tolist()
    assert metadata_of(tmp_path / "a.safetensors")["another"] == "word"


def one_more_at_the_end(array):
    array.flat[-1] += 1
    return array


CHANGES = [*((name, one_more_at_the_end) for name in (*ARRAYS, NORMAL)), ("body.0.weight", lambda one: one.reshape(4, 3))]


@pytest.mark.parametrize(("name", "change"), CHANGES)
def test_a_number_or_a_shape_that_was_changed_is_found(name, change, tmp_path):
    path = written(tmp_path)
    arrays, metadata = load_file(path), metadata_of(path)
    arrays[name] = change(arrays[name])
    save_file(arrays, path, metadata)
    with pytest.raises(Unusable, match="its numbers are not those that were written: sha256 differs"):
        read(path)


def test_a_file_of_an_earlier_version_has_no_hash_and_is_read(tmp_path):
    path = written(tmp_path)
    arrays, metadata = load_file(path), metadata_of(path)
    about = json.loads(metadata[METADATA])
    del about["sha256"]
    save_file(arrays, path, {METADATA: json.dumps(about)})
    assert read(path).parameters.keys() == ARRAYS.keys()
