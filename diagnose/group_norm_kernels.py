"""Compiled loops of group norm on channels-last memory: float32, or bfloat16 in its 16 bits; all sums are in float32.

An image is rows of `n_repeats` positions times C channels side by side, so that the inner loops are long and no sum
has to wait for the one before it.
"""

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types

from mrisim.lane_vectors import intrinsic

FLOAT, INT32, INT16 = ir.FloatType(), ir.IntType(32), ir.IntType(16)
QUIET_NAN = 0x7FC00000
_compiled: Any = numba.njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy")


@intrinsic
def _float_of(context: Any, stored: Any) -> Any:
    """Return a stored value as float32: bfloat16 is its upper half."""
    if stored == types.float32:
        return types.float32(stored), lambda _context, _builder, _signature, values: values[0]

    def code(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return builder.bitcast(builder.shl(builder.zext(values[0], INT32), ir.Constant(INT32, 16)), FLOAT)

    return types.float32(types.uint16), code


@intrinsic
def _as_stored(context: Any, value: Any, like: Any) -> Any:
    """Return a float32 value in the type of a stored one: bfloat16 is rounded to the nearest, ties to even."""
    if like == types.float32:
        return types.float32(value, like), lambda _context, _builder, _signature, values: values[0]

    def code(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        bits = builder.bitcast(values[0], INT32)
        last = builder.and_(builder.lshr(bits, ir.Constant(INT32, 16)), ir.Constant(INT32, 1))
        rounded = builder.add(builder.add(bits, ir.Constant(INT32, 0x7FFF)), last)
        is_nan = builder.fcmp_unordered("uno", values[0], values[0])
        chosen = builder.select(is_nan, ir.Constant(INT32, QUIET_NAN), rounded)
        return builder.trunc(builder.lshr(chosen, ir.Constant(INT32, 16)), INT16)

    return types.uint16(types.float32, types.uint16), code


@_compiled
def _sum_of_group(sums: Any, group: int, depth: int, n_channels: int) -> float:
    total = 0.0
    for repeat in range(0, sums.size, n_channels):
        for channel in range(group * depth, (group + 1) * depth):
            total += sums[repeat + channel]
    return total


@_compiled
def _fill_group(values: Any, value: float, group: int, depth: int, n_channels: int) -> None:
    for repeat in range(0, values.size, n_channels):
        values[repeat + group * depth : repeat + (group + 1) * depth] = value


@_compiled
def normalise(x: Any, weight: Any, bias: Any, eps: float, y: Any, mean: Any, rstd: Any) -> None:
    """Normalise each group of each image, then scale and shift each channel.

    Parameters
    ----------
    x : numpy.ndarray
        (image, row, n_repeats * C), float32 or uint16.
    weight, bias : numpy.ndarray
        (C,), float32.
    eps : float
    y : numpy.ndarray
        Written, of the shape and type of x.
    mean, rstd : numpy.ndarray
        Written: (image, group) float32, mean and reciprocal of the square root of variance plus eps.
    """
    n_images, n_rows, length = x.shape
    n_channels, n_groups = weight.size, mean.shape[1]
    depth = n_channels // n_groups
    count = n_rows * length // n_groups
    sums, centre = np.empty(length, np.float32), np.empty(length, np.float32)
    scale, shift = np.empty(length, np.float32), np.empty(length, np.float32)
    for image in range(n_images):
        sums[:] = 0
        for row in range(n_rows):
            for k in range(length):
                sums[k] += _float_of(x[image, row, k])
        for group in range(n_groups):
            mean[image, group] = _sum_of_group(sums, group, depth, n_channels) / count
            _fill_group(centre, mean[image, group], group, depth, n_channels)
        sums[:] = 0
        for row in range(n_rows):
            for k in range(length):
                difference = _float_of(x[image, row, k]) - centre[k]
                sums[k] += difference * difference
        for group in range(n_groups):
            variance = _sum_of_group(sums, group, depth, n_channels) / count
            rstd[image, group] = 1 / np.sqrt(variance + eps) if variance < np.inf else np.nan
        for k in range(length):
            channel = k % n_channels
            scale[k] = rstd[image, channel // depth] * weight[channel]
            shift[k] = bias[channel]
        for row in range(n_rows):
            for k in range(length):
                stored = x[image, row, k]
                y[image, row, k] = _as_stored(scale[k] * (_float_of(stored) - centre[k]) + shift[k], stored)


@_compiled
def normalise_backward(
    gradient: Any, x: Any, weight: Any, mean: Any, rstd: Any, x_gradient: Any, weight_gradient: Any, bias_gradient: Any
) -> None:
    """Propagate the gradient of the output back to input, weight and bias.

    With u = (x - mean) rstd, g the gradient of the output, w the weight, and < > the mean over a group:
    dx = rstd (w g - <w g> - u <w g u>); dw is the sum of g u and db that of g, over images and positions.

    Parameters
    ----------
    gradient, x : numpy.ndarray
        (image, row, n_repeats * C), float32 or uint16.
    weight : numpy.ndarray
        (C,), float32.
    mean, rstd : numpy.ndarray
        As `normalise` left them.
    x_gradient, weight_gradient, bias_gradient : numpy.ndarray
        Written, of the shapes and types of x and weight.
    """
    n_images, n_rows, length = x.shape
    n_channels, n_groups = weight.size, mean.shape[1]
    depth = n_channels // n_groups
    count = n_rows * length // n_groups
    plain, centred = np.empty(length, np.float32), np.empty(length, np.float32)
    centre, scale = np.empty(length, np.float32), np.empty(length, np.float32)
    slope, level = np.empty(length, np.float32), np.empty(length, np.float32)
    weight_gradient[:] = 0
    bias_gradient[:] = 0
    for image in range(n_images):
        for group in range(n_groups):
            _fill_group(centre, mean[image, group], group, depth, n_channels)
        plain[:] = 0
        centred[:] = 0
        for row in range(n_rows):
            for k in range(length):
                value = _float_of(gradient[image, row, k])
                plain[k] += value
                centred[k] += value * (_float_of(x[image, row, k]) - centre[k])
        for k in range(length):
            channel = k % n_channels
            bias_gradient[channel] += plain[k]
            weight_gradient[channel] += rstd[image, channel // depth] * centred[k]
            scale[k] = rstd[image, channel // depth] * weight[channel]
            plain[k] *= weight[channel]
            centred[k] *= weight[channel]
        for group in range(n_groups):
            r = rstd[image, group]
            mean_plain = _sum_of_group(plain, group, depth, n_channels) / count
            mean_centred = _sum_of_group(centred, group, depth, n_channels) / count
            _fill_group(level, -r * mean_plain, group, depth, n_channels)
            _fill_group(slope, -r * r * r * mean_centred, group, depth, n_channels)
        for row in range(n_rows):
            for k in range(length):
                stored = x[image, row, k]
                change = scale[k] * _float_of(gradient[image, row, k]) + level[k]
                x_gradient[image, row, k] = _as_stored(change + slope[k] * (_float_of(stored) - centre[k]), stored)
