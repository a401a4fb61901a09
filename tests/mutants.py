"""Named mistakes that the tests must see: each is written into a copy of the package, and its mirrored tests must fail.

    python tests/mutants.py                      every mutant, one after the other
    python tests/mutants.py --kind ghosting      those of one kind or module
    python tests/mutants.py --sample 1           so many of each
    python tests/mutants.py --list

Prints one line a mutant and a table; the exit code is 1 if any mutant survives, or if its old text is no longer there.

The heavy libraries are imported once, and every mutant runs in a fork, so that it costs its tests and little more. A
fork sees only its own copy of the package: it writes no bytecode, and a mutant of a compiled kernel gets a kernel cache
of its own, so that nothing compiled from one text can run for another.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import shutil
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
TIMEOUT_S = 600
"""Of the wall clock: generous, for machines that are busy with other work."""
BROKEN = 99


@dataclass(frozen=True)
class Mutant:
    """One mistake: in `file` (below mrisim/), the one occurrence of `old` becomes `new`."""

    file: str
    old: str
    new: str
    name: str


MIRRORED = {
    "noise": "artifacts/test_noise.py",
    "motion": "artifacts/test_motion.py",
    "ghosting": "artifacts/test_ghosting.py",
    "spikes": "artifacts/test_spikes.py",
    "undersampling": "artifacts/test_undersampling.py",
    "bias-field": "artifacts/test_bias_field.py",
    "levels": "artifacts/test_levels.py",
    "fourier": "test_fourier.py",
    "fft": "test_host_fft.py",
    "finer-grid": "test_finer_grid.py",
    "rigid": "test_rigid.py",
    "echo-order": "test_echo_order.py",
    "counter-noise": "test_counter_noise.py",
    "seeding": "test_seeding.py",
    "quality": "test_quality.py",
    "corrupt": "test_corrupt.py",
    "espirit": "test_espirit.py",
    "encoding": "test_encoding.py",
    "solvers": "test_solvers.py",
    "sparsity": "test_sparsity.py",
    "coil-sums": "test_coil_sums.py",
    "plane-waves": "test_plane_waves.py",
    "object-model": "test_object_model.py",
}

CONTROL = Mutant("errors.py", "", "", "no mistake at all: the tests must pass")

NOISE, MOTION, GHOSTING = "artifacts/noise.py", "artifacts/motion.py", "artifacts/ghosting.py"
KERNELS, VECTORS = "gridding_kernels.py", "gridding_vectors.py"
SPIKES, UNDERSAMPLING, BIAS = "artifacts/spikes.py", "artifacts/undersampling.py", "artifacts/bias_field.py"

MUTANTS: dict[str, tuple[Mutant, ...]] = {
    "noise": (
        Mutant(NOISE, "add_correlated_noise(coils, factor, latents.key, everywhere)", "add_correlated_noise(coils, factor.conj(), latents.key, everywhere)", "conjugate covariance in images"),
        Mutant(NOISE, "add_correlated_noise(coils, factor, latents.key, everywhere)", "add_correlated_noise(coils, factor / np.sqrt(2), latents.key, everywhere)", "half the power in images"),
        Mutant(NOISE, "np.linalg.cholesky(covariance[part])", "np.linalg.cholesky(covariance[part]).conj()", "conjugate covariance"),
        Mutant(NOISE, "* (2 * n_with_noise / power", "* (n_with_noise / power", "s per complex sample, not per component"),
        Mutant(NOISE, "latents.signal_rms / self.snr", "latents.signal_rms / self.snr**0.5", "SNR of powers"),
        Mutant(NOISE, "* (2 * n_with_noise / power", "* (2 * n_coils / power", "dead coils counted"),
        Mutant(NOISE, "covariance[dead] = covariance[:, dead] = 0", "covariance[dead] += 0", "noise in dead coils"),
        Mutant(NOISE, "for coils in kspace:", "for coils in kspace.swapaxes(-1, -2)[..., : len(kspace[0, 0, 0])]:", "axes swapped"),
        Mutant(NOISE, "self.coil_correlation**distance", "self.coil_correlation ** (distance / 2)", "correlation of half steps"),
        Mutant(NOISE, "elif scan.noise_covariance is not None:", "elif False:", "the scan's covariance forgotten"),
        Mutant(NOISE, "elif air is not None:", "elif False:", "the covariance of the air forgotten"),
        Mutant("reference.py", "quiet @ quiet.conj().T", "quiet.conj() @ quiet.T", "conjugate covariance of the air"),
        Mutant("reference.py", "air / scan.n_slices / scan.sampled.mean()", "air / scan.n_slices", "air of the padded share"),
        Mutant(NOISE, "latents.key, scan.sampled)", "latents.key, np.ones_like(scan.sampled))", "noise in the padding"),
        Mutant(NOISE, "rng.integers(0, 2**32, size=2, dtype=np.uint32)", "np.array([1, 2], np.uint32)", "one noise for all seeds"),
        Mutant(NOISE, "return replace(scan, kspace=kspace, noise", "return replace(scan, kspace=np.abs(kspace) + 0j, noise", "magnitude for complex"),
    ),
    "motion": (
        Mutant(MOTION, "np.exp(-2j * np.pi * turns)", "np.exp(2j * np.pi * turns)", "sign of the encoding, line by line"),
        Mutant(MOTION, "spectrum = centred_fft(csm", "spectrum = centred_ifft(csm", "sign of the encoding, many lines of a pose"),
        Mutant(MOTION, "set_lines(hybrid, members, spectrum, lines[members])", "set_lines(hybrid, members, spectrum, members)", "lines counted among those that moved"),
        Mutant(MOTION, "& ~poses[:, :3].any(axis=1)", "", "a second motion starts from rest"),
        Mutant(MOTION, "& (poses[:, 5] != 0)", "", "shifts by gridding"),
        Mutant(VECTORS, "change = builder.fsub(moved, still)", "change = moved", "the object at rest not taken away, line by line"),
        Mutant(KERNELS, "apart[index % lanes, 2 * i + 1] - still[index, row, column + 1]", "apart[index % lanes, 2 * i + 1]", "the object at rest not taken away in the last columns"),
        Mutant(MOTION, "if index != made:", "if image is None:", "one pose for all lines"),
        Mutant(MOTION, "spectrum = centred_fft(csm * change(index)[:, None], axes=(-1,), overwrite=True)", "spectrum = csm.mean(3, keepdims=True) * centred_fft(change(index)[:, None], axes=(-1,), overwrite=True)", "coils outside the sum"),
        Mutant(MOTION, "self.rms * latents.unit_pose", "self.rms / 2 * latents.unit_pose", "half dose"),
        Mutant(MOTION, "np.sum(course**2, axis=1)))", "np.sum(course**2, axis=1))) / 3", "RMS per axis"),
        Mutant(MOTION, "time_ms = echo_order(scan, self.ordering).time_ms[lines]", "time_ms = 1000.0 * lines", "blocks of lines for the echo order"),
        Mutant(MOTION, "weights=reference_of(scan).line_energy[lines])", "weights=None)", "re-centred on the plain mean"),
        Mutant(MOTION, "        if self.recenter:\n", "        if not self.recenter:\n", "re-centring inverted"),
        Mutant(MOTION, "moving.at(distinct[index, 3:]) - moving.at(distinct[index, :3])", "moving.at(distinct[index, 3:])", "the object at rest not taken away"),
        Mutant(MOTION, "row = cosine * first[:, 0] - sine * first[:, 1]", "row = cosine * first[:, 0] + sine * first[:, 1]", "poses composed with the wrong turn"),
        Mutant("coil_sums.py", "if sampled[row, lines[i]]:", "if True:", "moved samples in the padding"),
        Mutant(MOTION, "np.sin(2 * np.pi * self.frequency_hz * time_ms / 1000 + phase)", "np.sin(self.frequency_hz * time_ms / 1000 + phase)", "radians for hertz"),
        Mutant(MOTION, "sudden = (fraction[:, None] >= move_at)", "sudden = (fraction[:, None] <= move_at)", "sudden moves undone instead of made"),
        Mutant(MOTION, "if np.abs(course).max() <= ROUNDING * extent:", "if False:", "rounding blown up to the full dose"),
    ),
    "ghosting": (
        Mutant(GHOSTING, "= n_before - n_before[scan.matrix[1] // 2]", "= n_before", "polarity from the edge, not from the centre"),
        Mutant(GHOSTING, "np.where(n_from_centre % 2 == 1, 1, -1)", "np.where(n_from_centre < 0, 1, -1)", "blocks for alternation"),
        Mutant(GHOSTING, "is_line = acquired.sampled.any(axis=0)", "is_line = np.ones(scan.matrix[1], int)", "polarity of lines that were not acquired counts"),
        Mutant(GHOSTING, "is_line = acquired.sampled", "is_line = scan.sampled", "polarity of the lines that undersampling left"),
        Mutant(GHOSTING, "0.5j * phase[:, None]", "1j * phase[:, None]", "double dose"),
        Mutant(GHOSTING, "np.exp(0.5j * phase", "np.exp(-0.5j * phase", "sign of the phase"),
        Mutant(GHOSTING, "np.exp(0.5j * phase[:, None] * latents.line_sign)", "np.exp(0.5j * phase[:, None] * (latents.line_sign + 1))", "error on every second line only"),
        Mutant(GHOSTING, "READOUT_AXIS, PHASE_ENCODE_AXIS = (-2,),", "READOUT_AXIS, PHASE_ENCODE_AXIS = (-1,),", "slope along the wrong axis"),
        Mutant(GHOSTING, "/ scan.acquisition.dwell_time_us / n_readout", "/ scan.acquisition.dwell_time_us / scan.matrix[1]", "slope over the wrong matrix"),
        Mutant(GHOSTING, "position = np.arange(n_readout) - n_readout // 2", "position = np.arange(n_readout)", "position from the edge"),
        Mutant(GHOSTING, "1 + wave if", "1 + wave - wave.mean() + 0.1 if", "main image not kept"),
        Mutant(GHOSTING, "self.modulation * latents.line_wave", "self.modulation / 2 * latents.line_wave", "half dose"),
        Mutant(GHOSTING, "time_ms / 1000", "time_ms", "milliseconds for seconds"),
        Mutant(GHOSTING, "kspace=xp.where(xp.asarray(scan.sampled), changed, scan.kspace))", "kspace=xp.abs(changed) + 0j)", "magnitude for complex"),
        Mutant(GHOSTING, "xp.where(xp.asarray(scan.sampled), changed, scan.kspace)", "changed", "padding multiplied"),
    ),
    "spikes": (
        Mutant(SPIKES, "kspace[:, :, readout, line] +=", "kspace[:, :, readout, line] =", "replaced for added"),
        Mutant(SPIKES, "for (readout, line), amplitude in", "for (line, readout), amplitude in", "axes swapped"),
        Mutant(SPIKES, "np.prod(scan.matrix) / alive.sum()", "np.prod(scan.matrix)", "stripe grows with the coils"),
        Mutant(SPIKES, "np.prod(scan.matrix) / alive.sum()", "np.prod(scan.matrix) / scan.n_coils", "dead coils counted"),
        Mutant(SPIKES, "alive[list(reference.dead_coils)] = 0", "pass", "spikes in dead coils"),
        Mutant(SPIKES, "modulus * np.exp(1j * phase)", "modulus * np.exp(1j * phase[:, :1] + 0 * phase)", "one phase for all coils"),
        Mutant(SPIKES, "modulus * np.exp(1j * phase)", "modulus + 0j * phase", "no phase"),
        Mutant(SPIKES, "np.argwhere(scan.sampled & _off_centre(scan.matrix))", "np.argwhere(_off_centre(scan.matrix))", "spikes in the padding"),
        Mutant(SPIKES, "np.argwhere(scan.sampled & _off_centre(scan.matrix))", "np.argwhere(scan.sampled)", "spikes on the centre"),
        Mutant(SPIKES, "rank += rank >= other", "rank += 0", "two spikes on one sample"),
        Mutant(SPIKES, "self.amplitude_ratio * amplitude", "self.amplitude_ratio**2 * amplitude", "power for amplitude"),
        Mutant(SPIKES, "uniform = rng.random(self.n_spikes)", "uniform = rng.random(self.n_spikes) ** 2", "not uniform"),
    ),
    "undersampling": (
        Mutant(UNDERSAMPLING, "xp.where(xp.asarray(kept), scan.kspace, xp.zeros((), scan.kspace.dtype))", "scan.kspace * xp.asarray(kept)", "product for selection"),
        Mutant(UNDERSAMPLING, "kspace=kspace, sampled=kept)", "kspace=kspace)", "the mask not recorded"),
        Mutant(UNDERSAMPLING, "n_kept = max(1, round(lines.size / self.acceleration))", "n_kept = max(1, acs.size + round((lines.size - acs.size) / self.acceleration))", "calibration lines come on top"),
        Mutant(UNDERSAMPLING, "round(lines.size / self.acceleration)", "round(scan.matrix[1] / self.acceleration)", "padding counted"),
        Mutant(UNDERSAMPLING, "np.where(np.isin(lines, acs), 2 + score, score)", "np.where(np.isin(lines, acs), 0.5 + score, score)", "calibration lines may go"),
        Mutant(UNDERSAMPLING, "lines[on_grid & (lines // spacing % step == first)]", "lines[: lines.size // step]", "a block for a comb"),
        Mutant(UNDERSAMPLING, "return widest if", "return 1 if", "lines counted in the matrix, not on the scan's own grid"),
        Mutant(UNDERSAMPLING, "int(latents.offset * 840) % step", "int(latents.offset * 841 * step) % step", "equispaced masks not nested"),
        Mutant(UNDERSAMPLING, "score = score ** (1 / weight)", "score = score * weight", "wrong density"),
        Mutant(UNDERSAMPLING, "distance = np.abs(lines - centre)", "distance = np.abs(lines - lines.mean())", "centre of the acquired lines"),
        Mutant(UNDERSAMPLING, "scan.acquisition.n_phase_encode_axes != 2", "False", "Poisson disc along the readout"),
        Mutant(UNDERSAMPLING, "score = latents.line_score[lines]", "score = (latents.line_score[lines] * self.acceleration) % 1", "redrawn at each level"),
    ),
    "bias-field": (
        Mutant(BIAS, "scan.kspace + added, scan.kspace)", "centred_fft(field[:, None] * coil_images(scan)), scan.kspace)", "noise shaded, too"),
        Mutant(BIAS, "np.exp(np.log(self.range_ratio) * unit)", "1 + (self.range_ratio - 1) * unit", "linear for exponential"),
        Mutant(BIAS, "np.exp(np.log(self.range_ratio) * unit)", "np.exp(np.log(self.range_ratio) / 2 * unit)", "half dose"),
        Mutant(BIAS, "np.average(inside, weights=weight)", "np.average(inside)", "plain mean"),
        Mutant(BIAS, "weight = np.square(reference.magnitude[reference.foreground], dtype=np.float64)", "weight = reference.magnitude[reference.foreground].astype(float)", "mean weighted with M"),
        Mutant(BIAS, "if 0 < sum(e) <= ORDER]", "if 0 < sum(e) <= ORDER + 1]", "order four"),
        Mutant(BIAS, "if 0 < sum(e) <= ORDER]", "if 0 < sum(e) <= ORDER and e[0] == 0]", "the same field on every slice"),
        Mutant(BIAS, "inside = field[reference.foreground]", "inside = field[reference.foreground | True]\n        reference = replace(reference, foreground=reference.foreground | True)", "range over the air"),
        Mutant(BIAS, "latents.lowest, latents.highest)", "-9, 9)", "unbounded outside the object"),
        Mutant(BIAS, "shaded = replace(model, csm=field[:, None] * model.csm)", "shaded = replace(model, image=field * model.image)", "the shading moves with the object"),
        Mutant(BIAS, "(field - 1)[:, None] * model.csm * model.image[:, None]", "(field - 1)[:, None] * model.csm * xp.abs(model.image[:, None])", "magnitude for complex"),
        Mutant(BIAS, "slice_ids = scan.slice_ids if scan.n_slices == n_measured else range(n_measured)", "slice_ids = range(n_measured)", "places for slice numbers"),
    ),
    "levels": (
        Mutant("artifacts/base.py", "np.interp(np.log(n_coils), np.log(entry[", "np.interp(n_coils, (entry[", "interpolated in coils, not in their logarithm"),
        Mutant("artifacts/base.py", "row[level - 1]", "row[5 - level]", "table upside down"),
        Mutant("artifacts/base.py", '{"level": level, severity: value, **parameters}', '{"level": level, **parameters, severity: value}', "the level overrides the parameter"),
        Mutant("artifacts/base.py", "cls.identity if level == 0", "0 if level == 0", "level 0 is the number 0"),
        Mutant("artifacts/base.py", 'extra="forbid"', 'extra="ignore"', "misspelt parameters swallowed"),
    ),
    "fourier": (
        Mutant("fourier.py", "array = xp.fft.ifftshift(array, axes)", "array = xp.fft.fftshift(array, axes)", "shift of odd axes"),
        Mutant("fourier.py", "return xp.fft.fftshift(spectrum, axes)", "return xp.fft.ifftshift(spectrum, axes)", "shift of odd axes, afterwards"),
        Mutant("fourier.py", '"ortho" if ortho else "backward"', '"backward"', "not orthonormal"),
        Mutant("fourier.py", "library.ifftn if inverse else library.fftn", "library.fftn if inverse else library.ifftn", "sign of the exponent"),
        Mutant("fourier.py", "transform(array, axes=axes", "transform(array.real + 0j, axes=axes", "real part"),
        Mutant("fourier.py", "IMAGE_AXES = (-2, -1)", "IMAGE_AXES = (-3, -1)", "wrong axes"),
        Mutant("fourier.py", "n**-0.5 if ortho", "1 / n if ortho", "not orthonormal in the compiled loops"),
        Mutant("fourier.py", "source, target = n_source // 2, n_target // 2", "source, target = n_source // 2, (n_target + 1) // 2", "crop off the centre pixel"),
    ),
    "fft": (
        Mutant("host_fft.py", "-np.sin(2 * np.pi * turns)", "np.sin(2 * np.pi * turns)", "sign of the twiddle factors"),
        Mutant("host_fft.py", "(LANES, 0) if inverse else (0, LANES)", "(0, LANES) if inverse else (LANES, 0)", "sign of the exponent"),
        Mutant("host_fft.py", "np.argsort(the_plan.order)[place]", "the_plan.order[place]", "the order of the frequencies, not its inverse"),
        Mutant("host_fft.py", "(n // 2 if centred else 0)) % n", "((n + 1) // 2 if centred else 0)) % n", "odd lengths off centre"),
        Mutant("host_fft.py", "np.float32(scale if last else 1)", "np.float32(scale)", "scaled on each axis"),
        Mutant("host_fft.py", "target = source if overwrite or not np.may_share_memory(source, array) else np.empty_like(source)", "target = source", "the input overwritten"),
        Mutant("host_fft.py", "np.ascontiguousarray(array)", "array.reshape(-1).reshape(array.shape).copy().swapaxes(-1, -2).copy().swapaxes(-1, -2)", "strides not looked at"),
        Mutant("fft_kernels.py", "(j * k % p)", "(j * (k + 1) % p)", "the sums of an odd radix mixed up"),
        Mutant("lane_vectors.py", "below = plus(a[0], b[1], flags=CONTRACT), minus(a[1], b[0], flags=CONTRACT)", "below = minus(a[0], b[1], flags=CONTRACT), plus(a[1], b[0], flags=CONTRACT)", "sign of i in a butterfly"),
        Mutant("fft_kernels.py", "factors + 2 * j if transposed and j else at", "factors + 2 * j if j else at", "twiddle factors before and after a long radix"),
        Mutant("fft_kernels.py", "            at += 2 * radix\n", "", "twiddle factors after a long radix displaced"),
        Mutant("fft_kernels.py", "builder.sub(turns, p))", "turns)", "turns of a long radix not taken modulo p"),
        Mutant("lane_vectors.py", "for distance in (1, 2, 4, 8):", "for distance in (1, 2, 4):", "rows not wholly transposed"),
        Mutant("host_fft.py", "(factors[the_plan.order] / n)", "(factors / n)", "factors not in the order of the transform"),
        Mutant("fft_kernels.py", "vectors.store_pair(product[::-1], tile, at)", "vectors.store_pair(product, tile, at)", "parts not exchanged in a filter"),
        Mutant("fft_kernels.py", "vectors.scale(weight, one)[::-1]", "vectors.scale(weight, one)", "parts not exchanged before the way back"),
        Mutant("fft_kernels.py", "_dft(vectors, turned(samples)) if transposed", "turned(_dft(vectors, samples)) if transposed", "the transposed form is not the transpose"),
    ),
    "finer-grid": (
        Mutant("finer_grid.py", "inner[..., xp.arange(after) % n_columns]", "inner[..., xp.arange(-after, 0) % n_columns]", "no wrap at the edge"),
        Mutant("finer_grid.py", "OVERSAMPLING / kernel_transform(", "1 / kernel_transform(", "intensity after oversampling"),
        Mutant("finer_grid.py", "turned = factor * np.exp(1j * np.pi * frequency / n)", "turned = factor * np.exp(-1j * np.pi * frequency / n)", "half a pixel the wrong way"),
        Mutant("finer_grid.py", "np.exp(1j * np.pi * frequency / n)", "np.exp(1j * np.pi * np.arange(n) / n)", "frequencies above half not taken as negative"),
        Mutant("finer_grid.py", "axis=1)[plan.order]", "axis=1)", "factors not in the order of the transform"),
        Mutant("finer_grid.py", ".reshape(2, n).T.ravel()", "", "samples in between put behind the given ones"),
        Mutant("finer_grid.py", "inner[periodic[:before]], inner[periodic[-after:]]", "inner[:before], inner[-after:]", "a border that repeats the edge"),
        Mutant("finer_grid.py", "below, above = (n + 1) // 2, n // 2", "below, above = n // 2, (n + 1) // 2", "odd lengths split in the wrong place"),
        Mutant("finer_grid_kernels.py", "spread(factors, of_factor), one)[::-1]", "spread(factors, of_factor), one)", "parts not exchanged before the way back"),
    ),
    "rigid": (
        Mutant(KERNELS, "wraps = lowest < 0 or", "wraps =", "no wrap above the first row"),
        Mutant(KERNELS, "leftmost < 0 or rightmost", "rightmost", "no wrap before the first column"),
        Mutant("rigid.py", "[cosine, sine * ratio, -sine / ratio, cosine]", "[cosine, sine * ratio, -sine * ratio, cosine]", "voxel ratio upside down"),
        Mutant("rigid.py", "[cosine, sine * ratio, -sine / ratio, cosine]", "[cosine, -sine * ratio, sine / ratio, cosine]", "sense of the rotation"),
        Mutant("rigid.py", "return matrices, np.einsum(\"pij,pj->pi\", matrices, poses[:, :2] / self.voxel_mm)", "return matrices, poses[:, :2] / self.voxel_mm", "translation before the rotation"),
        Mutant("rigid.py", "np.exp(-2j * np.pi * shift", "np.exp(2j * np.pi * shift", "sign of the shift"),
        Mutant("rigid.py", "poses[:, :2] / self.voxel_mm)", "poses[:, :2] / self.voxel_mm[::-1])", "voxel sizes swapped"),
        Mutant(KERNELS, "p, q = row - n_rows // 2,", "p, q = row - (n_rows - 1) / 2,", "turned about the middle of the matrix"),
        Mutant("kaiser_bessel.py", "BETA = math.pi *", "BETA = 0.6 * math.pi *", "a poor kernel"),
        Mutant(KERNELS, "sample_row * stride + width * sample_column", "sample_row * stride + width * (sample_column + 1)", "kernel one sample off"),
        Mutant(KERNELS, "n_rows // 2, begin - n_columns // 2", "n_rows // 2, -(n_columns // 2)", "every block of columns is the first"),
        Mutant("kaiser_bessel.py", "table[:-1, 1] = np.diff(table[:, 0], axis=0)", "pass", "nearest entry of a coarse table"),
        Mutant(VECTORS, "for distance in (1, 2, 4):", "for distance in (1, 2):", "slices of a bundle mixed up"),
        Mutant(VECTORS, "sample = builder.add(sample, stride)", "pass", "one row of taps for all six in a bundle"),
        Mutant(VECTORS, "[1.0, -1.0] * (LANES // 2)", "[1.0, 1.0] * (LANES // 2)", "no complex product of coil and change"),
        Mutant(KERNELS, "(index * n_maps + first_map + place) * n_fours", "(index * n_maps + place) * n_fours", "every eight poses are the first ones"),
        Mutant(KERNELS, "n_fours * COILS + coil)),", "n_fours * COILS)),", "every four coils are the first ones"),
        Mutant(KERNELS, "= csm[:, :, row]", "= csm[:, :, 0]", "the maps of one row for all"),
        Mutant(KERNELS, "grid[first + place, row, column]", "grid[0, row, column]", "every slice of a bundle is the first"),
    ),
    "echo-order": (
        Mutant("echo_order.py", "shot = rank - band_edges[echo]", "shot = rank // (-(-lines.size // n_shots))", "echoes side by side"),
        Mutant("echo_order.py", "np.lexsort((-signed, np.abs(signed)))", "np.lexsort((signed, np.abs(signed)))", "centric, negative side first"),
        Mutant("echo_order.py", "_one_line_a_shot(lines, n_lines_total // 2, ordering)", "_one_line_a_shot(lines, int(lines.mean()), ordering)", "centre of the acquired lines"),
        Mutant("echo_order.py", "[rank[0::2], rank[1::2]]", "[rank[1::2], rank[0::2]]", "odd lines first"),
        Mutant("echo_order.py", "shot[_one_line_a_shot(lines, n_lines_total // 2, ordering)] = rank", "shot[:] = _one_line_a_shot(lines, n_lines_total // 2, ordering)", "permutation for its inverse"),
        Mutant("echo_order.py", "echo * acquisition.echo_spacing_ms", "echo * acquisition.echo_time_ms", "echo time for echo spacing"),
        Mutant("echo_order.py", "lines, n_lines_total = scan.sampled_lines, scan.matrix[1]", "lines, n_lines_total = np.arange(scan.matrix[1]), scan.matrix[1]", "padding is given a time"),
    ),
    "counter-noise": (
        Mutant("counter_noise.py", "_N_ROUNDS = 10", "_N_ROUNDS = 7", "seven rounds"),
        Mutant("counter_noise.py", "words = [coil, readout, pair, xp.zeros_like(coil)]", "words = [readout, coil, pair, xp.zeros_like(coil)]", "array formula: counter words swapped"),
        Mutant("counter_noise.py", "_philox(coil, readout, pairs[i], key_0, key_1)", "_philox(coil, pairs[i], readout, key_0, key_1)", "kernel: counter words swapped"),
        Mutant("counter_noise.py", "np.sqrt(max(-logarithm, np.float32(0)))", "np.sqrt(max(-2 * logarithm, np.float32(0)))", "kernel: variance 2"),
        Mutant("counter_noise.py", "radius = xp.sqrt(-xp.log(xp.minimum(first, xp.float32(1))))", "radius = xp.sqrt(-2 * xp.log(xp.minimum(first, xp.float32(1))))", "array formula: variance 2"),
        Mutant("counter_noise.py", "imaginary[i] = radius * (-second if place >= 2 else second)", "imaginary[i] = real[i]", "parts not independent"),
        Mutant("counter_noise.py", "uniform[1, i] = min(np.float32(word_2)", "uniform[1, i] = min(np.float32(word_0)", "neighbours share a modulus"),
        Mutant("counter_noise.py", "if line < n_phase_encode and sampled[readout, line]:", "if line < n_phase_encode:", "noise beside an acquired sample"),
        Mutant("counter_noise.py", "for other in range(coil + 1):", "for other in range(coil):", "own noise left out"),
        Mutant("counter_noise.py", "(bits[i] - _EXPONENT_BIAS) >>", "(bits[i] + _EXPONENT_BIAS) >>", "kernel: exponent of the logarithm"),
        Mutant("counter_noise.py", "-first if place == 1 or place == 2 else first", "-first if place == 1 else first", "kernel: sign in the third quadrant"),
        Mutant("counter_noise.py", "weight = factor[coil, other]", "weight = factor[other, coil]", "factor transposed"),
    ),
    "seeding": (
        Mutant("seeding.py", '"".join(f"{len(part)}:{part};" for part in parts)', '"".join(parts)', "names run into each other"),
        Mutant("seeding.py", "str(int(seed)),", "'0',", "seed forgotten"),
        Mutant("seeding.py", "hashlib.sha256(path.encode()).digest()", "hash(path).to_bytes(32, 'little', signed=True)", "Python's hash"),
        Mutant("seeding.py", "or seed < 0", "", "negative seeds"),
        Mutant("seeding.py", "isinstance(name, int | np.integer)", "type(name) is int", "numpy integers name another stream"),
    ),
    "quality": (
        Mutant("quality.py", "0.1 * np.percentile(magnitude, 99)", "0.1 * magnitude.max()", "threshold of the maximum"),
        Mutant("quality.py", "grown = _grown(_grown(np.pad(plane, 2)))\n        closed = ~_grown(_grown(~grown))", "grown = _grown(np.pad(plane, 2))\n        closed = ~_grown(~grown)", "closes less"),
        Mutant("quality.py", "(regions != regions[0, 0])[1:-1, 1:-1]", "closed", "holes stay"),
        Mutant("quality.py", "np.pad(~closed, 1, constant_values=True)", "np.pad(~closed, 1, constant_values=False)", "air in the corner only"),
        Mutant("quality.py", "grown[:, 1:] |= mask[:, :-1]", "grown[:, 1:] |= grown[:, :-1]", "closes with a square, to one side"),
        Mutant("quality.py", "unbiased = n_samples / (n_samples - 1)", "unbiased = 1", "biased covariance"),
        Mutant("quality.py", "c1, c2 = (k1 * data_range) ** 2", "c1, c2 = (k2 * data_range) ** 2", "wrong constant"),
        Mutant("quality.py", "data_range = float(clean.max())", "data_range = float(image.max())", "range of the corrupted volume"),
        Mutant("coil_sums.py", "np.sqrt(power[i])", "np.sqrt(power[i] / n_coils)", "mean over coils"),
    ),
    "corrupt": (
        Mutant("corrupt.py", "sorted(effective, key=_physical_order)", "effective", "in the order of the user"),
        Mutant("corrupt.py", "occurrences[spec.kind] += 1", "pass", "two of a kind share a stream"),
        Mutant("corrupt.py", "for position, slice_id in enumerate(scan.slice_ids)", "for slice_id, position in enumerate(range(scan.n_slices))", "latents by place, not by slice number"),
        Mutant("corrupt.py", "rng=stream(seed, *names, slice_id)", "rng=stream(seed, *names)", "one noise for all slices"),
        Mutant("corrupt.py", "scan = replace(scan, reference=reference_of(scan))", "pass", "units of each slice"),
        Mutant("corrupt.py", "scan = replace(scan, sampled=spec.sampled_after(scan, next(iter(latents.values()))))", "pass", "spikes on lines that are gone"),
        Mutant("corrupt.py", "if not spec.is_identity]", "]", "level 0 computes"),
        Mutant("corrupt.py", "return spec.stage, list", "return -spec.stage, list", "backwards"),
        Mutant("corrupt.py", "spec.stage != Stage.SAMPLING", "spec.stage == Stage.SAMPLING", "lines computed to be dropped"),
        Mutant("corrupt.py", "for index in _lines_dropped_first(realisations):", "for index in range(len(realisations)):", "lines computed in physical order"),
    ),
    "espirit": (
        Mutant("espirit.py", "_dominant(matrix @ matrix.conj().T, threshold**2)", "_dominant(matrix @ matrix.conj().T, threshold)", "threshold of powers, few windows"),
        Mutant("espirit.py", "_dominant(matrix.conj().T @ matrix, threshold**2)[1].conj().T", "_dominant(matrix.conj().T @ matrix, threshold)[1].conj().T", "threshold of powers, many windows"),
        Mutant("espirit.py", "(1 - ROUNDING)", "(1 + ROUNDING)", "an eigenvalue missed"),
        Mutant("espirit.py", "threshold**2)[1].conj().T", "threshold**2)[1].T", "conjugate kernels"),
        Mutant("espirit.py", "np.exp(2j * np.pi * np.outer(np.arange(n) - n // 2, lag) / n)", "np.exp(-2j * np.pi * np.outer(np.arange(n) - n // 2, lag) / n)", "sign of the transform"),
        Mutant("espirit.py", "np.outer(np.arange(n) - n // 2, lag)", "np.outer(np.arange(n), lag)", "position from the edge"),
        Mutant("espirit.py", "u[other, i] += p[i] * x[coil, i] + q[i] * y[coil, i]", "u[other, i] += p[i] * x[coil, i] - q[i] * y[coil, i]", "not Hermitian"),
        Mutant("espirit.py", "if largest < tolerance**2:", "if largest < 1:", "one step of the power iteration"),
        Mutant("espirit.py", "s=(2 * width, 2 * width)", "s=(width, width)", "lags folded"),
    ),
    "encoding": (
        Mutant("encoding.py", "seen *= conjugate", "seen *= csm", "maps not conjugate in the normal operator"),
        Mutant("encoding.py", "self.axes = (-1,) if encoding.whole_lines", "self.axes = (-2,) if encoding.whole_lines", "transform along the readout for whole lines"),
        Mutant("encoding.py", "np.fft.ifftshift(encoding.sampled, self.axes)", "encoding.sampled", "mask from the edge"),
        Mutant("encoding.py", "energy_of_misfit(centred_fft(csm * image", "energy_of_misfit(centred_fft(csm.conj() * image", "maps conjugate in the misfit"),
        Mutant("encoding.py", "(self.sampled == self.sampled[:1]).all()", "True", "every mask is of whole lines"),
        Mutant("encoding.py", "centred_ifft(xp.where(mask, input, 0)), axis=-3)", "centred_ifft(input), axis=-3)", "unsampled garbage of several slices"),
        Mutant("encoding.py", "until garbage collection.\"\"\"\n        return _Adjoint(self)", "until garbage collection.\"\"\"\n        self.adj = self.adj or _Adjoint(self)\n        return self.adj", "maps held by a cycle"),
        Mutant("encoding_kernels.py", "product = vectors.multiply_conjugate(", "product = vectors.multiply(", "maps not conjugate in the compiled normal operator"),
        Mutant("encoding_kernels.py", "total[:] = 0", "pass", "the last image left in the sum"),
        Mutant("encoding_kernels.py", "tile[total : total + size] = 0", "pass", "the last rows left in the sum"),
        Mutant("host_normal.py", "_in_order(sampled[0], self._columns) / n_columns", "np.fft.ifftshift(sampled[0]) / n_columns", "lines not in the order of the transform"),
        Mutant("host_normal.py", "_in_order(_in_order(sampled.T, self._columns).T, self._rows)", "_in_order(sampled.T, self._columns).T", "readout positions not in the order of the transform"),
        Mutant("host_normal.py", "/ (n_rows * n_columns)", "/ n_columns", "scaled along one axis"),
    ),
    "solvers": (
        Mutant("solvers.py", 'return rows if n_axes == 1 else', 'return rows * 0 + rows.sum() if n_axes == 1 else', "one step size for all rows"),
        Mutant("solvers.py", "rows.sum(axis=-2, keepdims=True)", "rows.sum(keepdims=True)", "one step size for all slices"),
        Mutant("solvers.py", "xp.where(curvature > 0, self.power / xp.where(curvature > 0, curvature, 1), 0)", "self.power / curvature", "rows without signal"),
        Mutant("encoding_kernels.py", "curvature += direction[block, i] * (image[block, i] + damping", "curvature += direction[block, i] * (image[block, i] - damping", "sign of the damping in the step"),
        Mutant("encoding_kernels.py", "-= step * (image[block, i] + damping", "-= step * (image[block, i] - damping", "sign of the damping in the residual"),
        Mutant("encoding_kernels.py", "    direction[:] = residual\n", "    direction[:] = 0\n", "no first direction of the compiled solver"),
        Mutant("encoding_kernels.py", "    x[:] = 0\n", "    pass\n", "the compiled solver begins where it ended"),
        Mutant("encoding_kernels.py", "if curvature > 0 else", "if True else", "rows without signal in the compiled step"),
        Mutant("encoding_kernels.py", "direction[block, i] = residual[block, i] + turn", "direction[block, i] = residual[block, i] + 0 * turn", "steepest descent"),
        Mutant("solvers.py", "self.ahead *= (self.momentum - 1) / momentum", "self.ahead *= 0", "no momentum"),
        Mutant("solvers.py", "point += self.right", "point -= self.right", "sign of the data"),
        Mutant("solvers.py", "self.of_data /= 1 + step", "pass", "dual of the data not shrunk"),
        Mutant("solvers.py", "self.of_differences -= shrunk(self.of_differences, self.regularisation)", "self.of_differences = shrunk(self.of_differences, self.regularisation)", "threshold for its conjugate"),
        Mutant("solvers.py", "self.ahead = 2 * self.x - before", "self.ahead = self.x.copy()", "no extrapolation"),
        Mutant("solvers.py", "self.difference.H(self.of_differences)) / (9", "self.difference.H(self.of_differences)) / (8", "another primal step"),
    ),
    "sparsity": (
        Mutant("sparsity.py", "np.float32(1) - threshold / modulus", "np.float32(1) - threshold", "shrunk in proportion"),
        Mutant("sparsity.py", "row = 2 * k + 1 - tap", "row = 2 * k - tap", "filter one sample off"),
        Mutant("sparsity.py", "tap = row + _N_TAPS - 2 - 2 * k", "tap = 2 * k - row + 1", "synthesis reversed"),
        Mutant("sparsity.py", "            for band in bands:\n                shrink(band, threshold)\n", "", "details kept"),
        Mutant("sparsity.py", "        shrink(rough, threshold)\n", "", "approximation kept"),
        Mutant("sparsity.py", "self.threshold * float(alpha)\n        if not isinstance(input, np.ndarray) or input.dtype != np.complex64 or", "self.threshold * 2\n        if not isinstance(input, np.ndarray) or input.dtype != np.complex64 or", "double threshold"),
        Mutant("sparsity.py", "bands[..., : len(rows) // 2, : len(columns) // 2] = rough", "pass", "approximation of the matrices kept"),
    ),
    "plane-waves": (
        Mutant("plane_waves.py", "= -value.imag, value.real", "= value.imag, -value.real", "sign of i in a wave"),
        Mutant("plane_waves.py", "            before[i]\n", "            np.float32(0)\n", "images left out"),
        Mutant("plane_waves.py", "_add_four(after[image, row], after[image, row]", "_add_four(before[image, row], after[image, row]", "the first waves lost"),
        Mutant("plane_waves.py", "(n_waves + TOGETHER - 1) // TOGETHER) * TOGETHER", "n_waves // TOGETHER) * TOGETHER", "the last waves lost"),
        Mutant("plane_waves.py", "image % n_coils", "0", "one coil's amplitude for all"),
        Mutant("plane_waves.py", "turn = -(n_columns // 2) * step % n_columns", "turn = 0 * step", "phase from the edge"),
        Mutant("plane_waves.py", "(position[k, 0] - n_rows // 2)", "position[k, 0]", "k-space from the edge"),
    ),
    "coil-sums": (
        Mutant("coil_sums.py", "power = np.empty(n_columns)  # double", "power = np.empty(n_columns, images.dtype)  # double", "single precision underflows"),
        Mutant("coil_sums.py", "magnitude[row, i] = np.sqrt(power[i])", "magnitude[row, i] = power[i]", "sum of squares"),
        Mutant("coil_sums.py", "s_real * imaginary - s_imaginary * real\n        for", "s_real * imaginary + s_imaginary * real\n        for", "maps not conjugate"),
        Mutant("coil_sums.py", "s_real * imaginary - s_imaginary * real\n\n", "s_real * imaginary + s_imaginary * real\n\n", "maps not conjugate in a sum"),
        Mutant("coil_sums.py", "kept = np.float32(1) if sampled[row, i] else np.float32(0)", "kept = np.float32(1)", "misfit where nothing was acquired"),
        Mutant("coil_sums.py", "of_row += real**2 + imaginary**2", "of_row += real**2", "real part of the misfit only"),
        Mutant("coil_sums.py", "if seen[row, i] else", "if power[i] > 0 else", "where no coil sees anything"),
        Mutant("coil_sums.py", "energy[i] += np.float64(kspace[coil, row, 2 * i]) ** 2 +", "energy[i] +=", "imaginary part only"),
        Mutant("coil_sums.py", "kept = kspace[coil, row, i] if sampled[row, i] else", "kept = kspace[coil, row, i] if True else", "what was not acquired is copied"),
        Mutant("coil_sums.py", "nothing += kept * np.float32(0)", "nothing += (np.float32(0) if i % 2 else kept) * np.float32(0)", "infinite imaginary parts pass"),
    ),
    "object-model": (
        Mutant("object_model.py", "if not scan.fully_sampled and", "if False and", "the folded image for the object"),
        Mutant("object_model.py", "and scan.n_coils > 1:", "and scan.n_coils > 0:", "the object of one coil shrunk by the regularisation of SENSE"),
        Mutant("object_model.py", "xp.sum(csm.conj() * images, axis=0)", "xp.sum(csm * images, axis=0)", "maps not conjugate"),
        Mutant("object_model.py", "combine(centred_ifft(kspace, overwrite=True), csm, seen)", "combine(centred_ifft(kspace, overwrite=True), csm.conj(), seen)", "maps not conjugate, every sample acquired"),
        Mutant("object_model.py", "math.sqrt(misfit / energy)", "misfit / energy", "share of the energy"),
        Mutant("object_model.py", "(1 - 1 / scan.n_coils)", "(1 + 1 / scan.n_coils)", "noise of more coils than there are"),
    ),
}  # fmt: skip
"""By kind or module. Keep five or more of each."""


def run_mutant(kind: str, mutant: Mutant, kernels: Path) -> tuple[str, str]:
    """Return "killed", "SURVIVED", "LOST" (old text not there exactly once), "BROKEN" or "TIMEOUT"; and by which test."""
    source = (ROOT / "mrisim" / mutant.file).read_text(encoding="utf-8")
    if mutant is not CONTROL and source.count(mutant.old) != 1:
        return "LOST", ""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy = Path(folder)
        shutil.copytree(ROOT / "mrisim", copy / "mrisim", ignore=shutil.ignore_patterns("__pycache__"))
        (copy / "mrisim" / mutant.file).write_text(
            source.replace(mutant.old, mutant.new) if mutant.old else source, encoding="utf-8"
        )
        compiled = "njit" in source or mutant.file == "lane_vectors.py"
        os.environ["NUMBA_CACHE_DIR"] = str(copy / "kernels" if compiled else kernels)
        code = _run_in_fork(copy, MIRRORED[kind], copy / "log")
        report = (copy / "log").read_text(encoding="utf-8")
    if code not in (0, 1, -1):  # the copy could not be imported, or this file is at fault: that proves nothing
        print(report[-2000:], file=sys.stderr)
        return "BROKEN", ""
    by = re.search(r"^FAILED \S+?::(\S+)", report, re.MULTILINE)
    return {0: "SURVIVED", 1: "killed", -1: "TIMEOUT"}[code], by.group(1) if by else ""


def _run_in_fork(copy: Path, test: str, log: Path) -> int:
    child = os.fork()
    if child == 0:
        try:
            os._exit(_run_tests(copy, test, log))
        except BaseException:
            traceback.print_exc()
            os._exit(BROKEN)
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return -1


def _run_tests(copy: Path, test: str, log: Path) -> int:
    import pytest

    assert not any(name == "mrisim" or name.startswith("mrisim.") for name in sys.modules)
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(copy))
    os.environ["PYTHONPATH"] = str(copy)
    os.environ.pop("CI", None)
    with log.open("w") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
        package = importlib.import_module("mrisim")
        assert package.__file__ is not None and Path(package.__file__).is_relative_to(copy)
        os.chdir(copy)
        config = [
            "-c",
            str(ROOT / "pyproject.toml"),
            f"--rootdir={ROOT}",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            "--assert=plain",
        ]
        return int(pytest.main(["-x", "-q", *config, str(TESTS / "mrisim" / test)]))


def _import_libraries() -> None:
    for name in ("numpy", "scipy.fft", "scipy.ndimage", "scipy.signal", "scipy.special", "scipy.stats", "numba", "pydantic",
                 "pytest", "hypothesis", "hypothesis.extra.numpy", "sigpy.mri", "pywt"):  # fmt: skip
        importlib.import_module(name)


def main(arguments: list[str] | None = None) -> int:
    """Run the mutants that the command line asks for."""
    parser = argparse.ArgumentParser(description="Write named mistakes into copies of mrisim and see the tests fail.")
    parser.add_argument("--kind", choices=sorted(MUTANTS), action="append", help="only this kind; may be repeated")
    parser.add_argument("--sample", type=int, default=None, help="so many mutants of each kind")
    parser.add_argument("--list", action="store_true", help="only print the names")
    options = parser.parse_args(arguments)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    chosen = {kind: MUTANTS[kind][: options.sample] for kind in options.kind or MUTANTS}
    if options.list:
        print("\n".join(f"{kind}: {mutant.name}" for kind, mutants in chosen.items() for mutant in mutants))
        return 0
    _import_libraries()
    outcomes: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory(prefix="mutant-kernels-") as kernels:
        for kind, mutants in chosen.items():
            if options.sample is None and run_mutant(kind, CONTROL, Path(kernels))[0] != "SURVIVED":
                print(f"the tests of {kind} fail without any mutant", file=sys.stderr)
                return 1
            for mutant in mutants:
                begin = time.monotonic()
                outcome, by = run_mutant(kind, mutant, Path(kernels))
                outcomes.setdefault(kind, []).append(outcome)
                print(f"{outcome:9} {time.monotonic() - begin:5.1f} s  {kind}: {mutant.name}  [{by}]", flush=True)
    print()
    for kind, results in outcomes.items():
        print(f"{kind:15} {results.count('killed'):3} of {len(results)} killed")
    return 0 if all(outcome == "killed" for results in outcomes.values() for outcome in results) else 1


if __name__ == "__main__":
    sys.exit(main())
