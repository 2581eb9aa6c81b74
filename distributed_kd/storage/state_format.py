"""A `State` as JSON and the bytes of a safetensors file, and back. Files and folders live in checkpoints.py.

Every array is a placeholder `{"__array__": KEY}` in the JSON; KEY is its JSON pointer (RFC 6901), such as
`/teacher/online/weights`, and its name in the safetensors file.
"""

import json
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

PLACEHOLDER = "__array__"

_DTYPES = {
    np.dtype(name): word
    for name, word in {
        "bool": "BOOL", "int8": "I8", "uint8": "U8", "int16": "I16", "uint16": "U16", "int32": "I32", "uint32": "U32",
        "int64": "I64", "uint64": "U64", "float16": "F16", "float32": "F32", "float64": "F64",
    }.items()
}  # fmt: skip


def encode(state: Mapping[str, object], name: str) -> tuple[bytes, dict[str, NDArray]]:
    """JSON bytes of a state, and its arrays by key.

    Tensors become arrays, NumPy scalars plain numbers, tuples lists. Raises TypeError, naming the path from `name` on,
    for a key that is not a str (or is the placeholder's) and for a value that JSON or safetensors cannot hold exactly.
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"{name}: a state is a dict with str keys, not {type(state).__name__}")
    arrays: dict[str, NDArray] = {}
    return json.dumps(_encode(state, "", name, arrays)).encode(), arrays


def _encode(value: object, key: str, name: str, arrays: dict[str, NDArray]) -> object:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, torch.Tensor):
        try:
            value = value.detach().cpu().numpy()
        except (TypeError, RuntimeError) as error:  # bfloat16, sparse, quantized
            raise TypeError(f"{name}{key}: a tensor that NumPy cannot hold: {error}") from error
    if isinstance(value, np.ndarray):
        if value.dtype not in _DTYPES:
            raise TypeError(f"{name}{key}: arrays of {value.dtype} cannot be stored")
        arrays[key] = value
        return {PLACEHOLDER: key}
    if isinstance(value, Mapping):
        return {_key(k, key, name): _encode(v, f"{key}/{_escape(k)}", name, arrays) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_encode(item, f"{key}/{index}", name, arrays) for index, item in enumerate(value)]
    raise TypeError(f"{name}{key}: {type(value).__name__} cannot be stored")


def _key(key: object, parent: str, name: str) -> str:
    if not isinstance(key, str) or key == PLACEHOLDER or not _is_unicode(key):
        raise TypeError(f"{name}{parent}: the key {key!r} cannot be stored: keys are str, and not {PLACEHOLDER!r}")
    return key


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair: safetensors would refuse to read the file again
        return False
    return True


def _escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")  # so that {"a/b": x} and {"a": {"b": x}} differ


def decode(text: bytes, arrays: Mapping[str, NDArray]) -> dict[str, object]:
    """The state that `encode` took; ValueError where the JSON is no state or names an array that is not there."""
    state = _decode(json.loads(text), arrays)
    if not isinstance(state, dict):
        raise ValueError("it holds no state")
    return state


def _decode(value: object, arrays: Mapping[str, NDArray]) -> object:
    if isinstance(value, list):
        return [_decode(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    if PLACEHOLDER not in value:
        return {key: _decode(item, arrays) for key, item in value.items()}
    key = value[PLACEHOLDER]
    if not isinstance(key, str) or key not in arrays:
        raise ValueError(f"it names an array that is not there: {str(key)[:80]!r}")
    return arrays[key]


def safetensors_chunks(arrays: Mapping[str, NDArray]) -> Iterator[bytes | memoryview]:
    """The bytes of a safetensors file, array by array.

    safetensors' own writer copies everything into one block first, which doubles the memory of a large replay, and
    takes the memory of an array that is not contiguous as it lies. Reading is left to the library.
    """
    ordered = sorted(arrays.items(), key=lambda item: -item[1].dtype.itemsize)  # keeps every array aligned
    header, offset = {}, 0
    for key, array in ordered:
        span = [offset, offset + array.nbytes]
        header[key] = {"dtype": _DTYPES[array.dtype], "shape": list(array.shape), "data_offsets": span}
        offset += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for _, array in ordered:
        yield memoryview(np.ravel(array, order="C").view(np.uint8))
