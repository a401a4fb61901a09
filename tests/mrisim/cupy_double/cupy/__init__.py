"""A stand-in for CuPy on the host, stricter than CuPy: what mixes host and device, or two devices, is an error.

For machines without a GPU. It holds NumPy arrays and keeps the two sides apart as CuPy does: nothing is converted
implicitly, a sum over all axes is an array, operands lie on the current device. It counts what crosses. It has what the
project and the parts of SigPy in use call; each was looked up in CuPy 14.2.
"""

from __future__ import annotations

import builtins
import sys
from collections import Counter
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import scipy.fft
from numpy import complex64, float32, uint64  # noqa: F401
from numpy.lib.mixins import NDArrayOperatorsMixin

from cupy import cuda
from cupy.cuda import memory

crossings: Counter[str] = Counter()
"""How often something went "to device" and "to host", and how many "bytes to device"."""


class ndarray(NDArrayOperatorsMixin):
    """An array on a device: a NumPy array that only `get`, `bool`, `int` and `float` give back."""

    def __init__(self, held: Any, device: cuda.Device | None = None) -> None:
        self._held = np.asarray(held)
        self.device = device or cuda.Device()

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("implicit conversion to a NumPy array is not allowed; use .get()")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: tuple[Any, ...] = (), **options: Any) -> Any:
        options = _options_on_device(options)
        if out:
            options["out"] = tuple(_on_device(array) for array in out)
        result = getattr(ufunc, method)(*(_on_device(value) for value in inputs), **options)
        return out[0] if out else _wrapped(result)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        own = globals().get(function.__name__)
        return NotImplemented if own is None else own(*args, **kwargs)

    def __getitem__(self, index: Any) -> ndarray:
        return ndarray(self._held[_on_device(index)], self.device)

    def __setitem__(self, index: Any, value: Any) -> None:
        self._held[_on_device(index)] = _on_device(value)

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Any:
        return (ndarray(part, self.device) for part in self._held)

    def get(self) -> np.ndarray:
        crossings["to host"] += 1
        return self._held.copy()

    def __bool__(self) -> bool:
        return bool(self.get())

    def __int__(self) -> int:
        return int(self.get())

    def __float__(self) -> float:
        return float(self.get())

    @property
    def real(self) -> ndarray:
        return ndarray(self._held.real, self.device)

    @real.setter
    def real(self, value: Any) -> None:
        self._held.real = _on_device(value)

    @property
    def imag(self) -> ndarray:
        return ndarray(self._held.imag, self.device)

    @imag.setter
    def imag(self, value: Any) -> None:
        self._held.imag = _on_device(value)

    @property
    def T(self) -> ndarray:
        return ndarray(self._held.T, self.device)


def _method(name: str) -> Any:
    def method(self: ndarray, *args: Any, **kwargs: Any) -> Any:
        bound = getattr(_on_device(self), name)
        return _wrapped(bound(*(_on_device(a) for a in args), **_options_on_device(kwargs)))

    return method


METHODS = (
    "all", "any", "astype", "conj", "copy", "max", "mean", "reshape", "sum", "swapaxes", "transpose", "view",
)  # fmt: skip
for _name in METHODS:
    setattr(ndarray, _name, _method(_name))
for _name in ("shape", "dtype", "ndim", "size", "nbytes", "itemsize", "flags", "strides"):
    setattr(ndarray, _name, property(lambda self, name=_name: getattr(self._held, name)))


def _on_device(value: Any) -> Any:
    """Return what the device would work on, or refuse it."""
    if isinstance(value, ndarray):
        if value.device != cuda.Device():
            raise ValueError(f"an array on device {value.device.id}; the current device is {cuda.Device().id}")
        return value._held
    if isinstance(value, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if type(value) in (list, tuple):
        return type(value)(_on_device(part) for part in value)
    return value


LACKS = {"where", "initial", "overwrite_x", "workers"}
"""Options of NumPy's ufuncs and reductions, and of SciPy's FFT, that CuPy has not."""


def _options_on_device(options: dict[str, Any]) -> dict[str, Any]:
    if LACKS & options.keys():
        raise TypeError(f"Wrong arguments {options}")
    return {name: _on_device(value) for name, value in options.items()}


def _wrapped(result: Any) -> Any:
    if isinstance(result, (np.ndarray, np.generic)):
        return ndarray(result)
    if type(result) in (list, tuple):
        return type(result)(_wrapped(part) for part in result)
    return result


def _function(function: Any) -> Any:
    def on_device(*args: Any, **kwargs: Any) -> Any:
        return _wrapped(function(*(_on_device(a) for a in args), **_options_on_device(kwargs)))

    return on_device


FUNCTIONS = (
    "abs", "arange", "concatenate", "cos", "dot", "einsum", "empty", "isfinite", "log", "matmul", "meshgrid", "minimum",
    "moveaxis", "multiply", "ptp", "roll", "sin", "sqrt", "square", "stack", "sum", "tensordot", "where",
    "zeros", "zeros_like",
)  # fmt: skip
for _name in FUNCTIONS:
    globals()[_name] = _function(getattr(np, _name))


def percentile(array: ndarray, *args: Any, **kwargs: Any) -> ndarray:
    if array.dtype.kind == "c":
        raise TypeError("a percentile of complex numbers, for which CuPy's kernel does not compile")
    return _function(np.percentile)(array, *args, **kwargs)


fft = ModuleType("cupy.fft")
for _name in ("fftshift", "ifftshift"):
    setattr(fft, _name, _function(getattr(scipy.fft, _name)))
for _name in ("fftn", "ifftn"):
    setattr(fft, _name, memory.planned(_function(getattr(scipy.fft, _name))))
fft.config = SimpleNamespace(get_plan_cache=memory.get_plan_cache)
sys.modules["cupy.fft"] = fft


def asarray(value: Any, dtype: Any = None) -> ndarray:
    """Return an array on the current device; what lies there, and has the type, is not copied."""
    if isinstance(value, ndarray):
        if value.device == cuda.Device():
            return value if dtype is None or value.dtype == dtype else value.astype(dtype)
        return ndarray(np.array(value._held, dtype))
    uploaded = np.array(value, dtype)
    _count_upload(uploaded)
    return ndarray(uploaded)


def _count_upload(array: np.ndarray) -> None:
    crossings["to device"] += 1
    crossings["bytes to device"] += array.nbytes


def ascontiguousarray(value: Any, dtype: Any = None) -> ndarray:
    return ndarray(np.ascontiguousarray(_on_device(asarray(value, dtype))))


def get_array_module(*arrays: Any) -> Any:
    import cupy

    return cupy if builtins.any(isinstance(array, ndarray) for array in arrays) else np


class ElementwiseKernel:
    """Source for a GPU, which a host cannot run."""

    def __init__(self, _in: str, _out: str, _operation: str, name: str = "kernel", **_: Any) -> None:
        self.name = name

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError(f"the CUDA source of {self.name} needs a GPU")


_POOL = memory.MemoryPool()
_PINNED_POOL = memory.MemoryPool()


def get_default_memory_pool() -> Any:
    return _POOL


def get_default_pinned_memory_pool() -> Any:
    return _PINNED_POOL
