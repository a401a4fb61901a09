"""Turn latents into JSON and back without losing a bit, so that every realised number stands in the sidecar."""

import base64
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

READABLE_SIZE = 4096
"""Arrays with at most this many values are written as lists, larger ones as base64."""


def to_json(latents: Any) -> dict[str, Any]:
    """Return a dataclass of arrays and numbers as plain JSON values."""
    assert is_dataclass(latents)
    return {entry.name: _encoded(getattr(latents, entry.name)) for entry in fields(latents)}


def from_json(latents_type: type, record: dict[str, Any]) -> Any:
    """Rebuild a dataclass that `to_json` wrote, bit for bit."""
    return latents_type(**{name: _decoded(value) for name, value in record.items()})


def _encoded(value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    record: dict[str, Any] = {"dtype": value.dtype.newbyteorder("<").str, "shape": list(value.shape)}
    if value.size > READABLE_SIZE:
        data = np.ascontiguousarray(value, record["dtype"]).tobytes()
        return {**record, "base64": base64.b64encode(data).decode()}
    if value.dtype.kind == "c":
        # repr of a double is exact, and a complex64 is exact in double
        flat = np.ascontiguousarray(value, complex).ravel().view(float)
        return {**record, "real_imaginary": flat.tolist()}
    return {**record, "values": value.ravel().tolist()}


def _decoded(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    dtype, shape = np.dtype(value["dtype"]), value["shape"]
    if "base64" in value:
        return np.frombuffer(base64.b64decode(value["base64"]), dtype).reshape(shape).copy()
    if "real_imaginary" in value:
        return np.array(value["real_imaginary"], float).view(complex).astype(dtype).reshape(shape)
    return np.array(value["values"], dtype).reshape(shape)
