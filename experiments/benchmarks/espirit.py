"""ESPIRiT: maps of 8 coils on 320 x 320 from 24 x 24 calibration samples, against BART's ecalib and SigPy.

    python experiments/benchmarks/espirit.py [--quick]

Kernels of 6 x 6, one set of maps, no cropping, signal above 0.03 of the largest singular value. BART is a process that
reads and writes files, its start included. SigPy makes its default of 100 power iterations, and mrisim iterates until
an eigenvector stands still.
"""

import numpy as np
from comparison import Benchmark, Contender, Target, main
from inputs import NO_BART, bart_or_none, scan_of

from mrisim.espirit import espirit_maps
from mrisim.fourier import resize_centred
from mrisim.quality import foreground_mask, rss


def build(quick: bool) -> Benchmark:
    """Make k-space, and each program's call on it."""
    from sigpy.mri.app import EspiritCalib

    n, n_coils = (48, 4) if quick else (320, 8)
    kspace = scan_of(n, n_coils).kspace[0]
    inside = foreground_mask(rss(np.fft.fftshift(np.fft.ifft2(kspace, norm="ortho"), (-2, -1)))[None])[0]

    def sigpy() -> np.ndarray:
        return EspiritCalib(kspace, thresh=0.03, crop=0, show_pbar=False).run()

    benchmark = Benchmark(
        [
            Contender("mrisim", lambda: espirit_maps(resize_centred(kspace, (24, 24)), (n, n))),
            Contender("SigPy", sigpy),
        ],
        targets=[Target("BART", "mrisim", 5), Target("SigPy", "mrisim", 40)],
        agreement=lambda results: {
            f"median distance of the maps to {name}'s": float(np.median(_distance(results["mrisim"], maps)[inside]))
            for name, maps in results.items()
            if name != "mrisim"
        },
    )
    bart = bart_or_none()
    if bart is None:
        benchmark.left_out.append(NO_BART)
        return benchmark
    bart.write("kspace", kspace)

    def ecalib() -> np.ndarray:
        bart("ecalib", "-m1", "-r24", "-k6", "-c0", "kspace", "maps")
        return bart.read("maps")

    benchmark.contenders.append(Contender("BART", ecalib))
    return benchmark


def _distance(maps: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return ||maps - reference|| of each pixel, the phase common to all coils aligned first."""
    phase = np.angle(np.sum(reference.conj() * maps, axis=0))
    return np.sqrt(np.sum(np.abs(maps * np.exp(-1j * phase) - reference) ** 2, axis=0))


if __name__ == "__main__":
    main("ESPIRiT; 8 coils, 320 x 320, 24 x 24 calibration samples", build)
