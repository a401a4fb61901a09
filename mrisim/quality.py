"""Image error against the clean scan, on a fixed window: NRMSE over the foreground, whole-image NRMSE, PSNR, SSIM."""

import numpy as np
import scipy.ndimage as ndi


def rss(coil_images: np.ndarray) -> np.ndarray:
    """Return the root sum of squares over coils: (slice, coil, rows, columns) -> (slice, rows, columns), float32.

    References
    ----------
    Roemer et al. 1990, 10.1002/mrm.1910160203.
    """
    from mrisim.coil_sums import root_sum_of_squares  # compiled: Numba takes its time to import

    return root_sum_of_squares(coil_images)


def foreground_mask(magnitude: np.ndarray) -> np.ndarray:
    """Return where the object is: above a tenth of the 99th percentile of the volume, closed, holes filled.

    Parameters
    ----------
    magnitude : (slice, rows, columns)

    Returns
    -------
    bool array of the same shape; closing and filling act slice by slice
    """
    threshold = 0.1 * np.percentile(magnitude, 99)
    mask = magnitude > threshold
    filled = np.empty_like(mask)
    for index, plane in enumerate(mask):
        grown = _grown(_grown(np.pad(plane, 2)))
        closed = ~_grown(_grown(~grown))[2:-2, 2:-2]
        regions, _ = ndi.label(np.pad(~closed, 1, constant_values=True))
        filled[index] = (regions != regions[0, 0])[1:-1, 1:-1]  # what the air around it does not reach
    return filled


def _grown(mask: np.ndarray) -> np.ndarray:
    """Return a mask (rows, columns) with the four neighbours of its pixels: a tenth of the time of SciPy's dilation."""
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    return grown


def nrmse(image: np.ndarray, clean: np.ndarray, where: np.ndarray | None = None) -> float:
    """Return ||image - clean|| / ||clean|| over `where` (everything if None); no gain is fitted."""
    difference = np.subtract(image, clean, dtype=np.float64)
    norm = np.asarray(clean, np.float64)
    if where is not None:
        difference, norm = difference[where], norm[where]
    denominator = float(np.linalg.norm(norm))
    return float(np.linalg.norm(difference)) / denominator if denominator > 0 else float("nan")


def psnr(image: np.ndarray, clean: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio in dB; the peak is that of the clean volume."""
    error = float(np.mean(np.square(np.subtract(image, clean, dtype=np.float64))))
    return float("inf") if error == 0 else 10 * float(np.log10(float(clean.max()) ** 2 / error))


def ssim(image: np.ndarray, clean: np.ndarray) -> float:
    """Return the structural similarity as fastMRI defines it: window 7, data range the maximum of the clean volume.

    Parameters
    ----------
    image, clean : (slice, rows, columns)

    Returns
    -------
    float
        Mean over the slices; nan where an axis is shorter than the window.

    References
    ----------
    Wang et al. 2004, 10.1109/TIP.2003.819861; Zbontar et al. 2018, arXiv:1811.08839.
    """
    window, k1, k2 = 7, 0.01, 0.03
    if min(clean.shape[-2:]) < window:
        return float("nan")
    data_range = float(clean.max())
    c1, c2 = (k1 * data_range) ** 2, (k2 * data_range) ** 2
    n_samples = window**2
    unbiased = n_samples / (n_samples - 1)

    def mean(plane: np.ndarray) -> np.ndarray:
        # "valid" part only, as in scikit-image
        edge = window // 2
        return ndi.uniform_filter(plane, window)[edge:-edge, edge:-edge]

    values = []
    for a, b in zip(np.asarray(image, np.float64), np.asarray(clean, np.float64), strict=True):
        mean_a, mean_b = mean(a), mean(b)
        variance_a, variance_b = unbiased * (mean(a * a) - mean_a**2), unbiased * (mean(b * b) - mean_b**2)
        covariance = unbiased * (mean(a * b) - mean_a * mean_b)
        numerator = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
        values.append(np.mean(numerator / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2))))
    return float(np.mean(values))
