"""Steady-state signal of spin echo, turbo spin echo, spoiled gradient echo and inversion recovery, in closed form.

Plain functions of tissue (T1, T2, T2* in ms, proton density) and sequence (TR, TE, TI in ms, flip angle in degrees).
All arguments broadcast. Signals are signed transverse magnetisation in units of the proton density; magnitude is the
caller's.

Limits
------
Ideal pulses, perfect spoiling, TR periodic steady state, no magnetisation transfer, no stimulated echoes (refocusing is
180 degrees), no diffusion, no slice profile.

References
----------
Bloch equations as integrated in tests/mrisim/phantoms/test_signal.py, which is the oracle of every function here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.floating]


def spin_echo(
    t1_ms: ArrayLike, t2_ms: ArrayLike, proton_density: ArrayLike = 1.0, *, tr_ms: float, te_ms: float
) -> FloatArray:
    """Transverse magnetisation at the echo of 90 - TE/2 - 180 - TE/2, repeated every TR.

    Law: PD (1 - 2 exp(-(TR - TE/2)/T1) + exp(-TR/T1)) exp(-TE/T2); the middle term is the inversion by the refocusing
    pulse.
    """
    return turbo_spin_echo(
        t1_ms, t2_ms, proton_density, tr_ms=tr_ms, te_ms=te_ms, echo_spacing_ms=te_ms, echo_train_length=1
    )


def turbo_spin_echo(
    t1_ms: ArrayLike,
    t2_ms: ArrayLike,
    proton_density: ArrayLike = 1.0,
    *,
    tr_ms: float,
    te_ms: float,
    echo_spacing_ms: float,
    echo_train_length: int,
) -> FloatArray:
    """Transverse magnetisation at the effective echo time of a train of 180 degree pulses, repeated every TR.

    Each refocusing pulse inverts what has recovered, so a long train starts the next recovery late:
    Mz(TR) = 1 - 2 exp(-(TR - t_n)/T1) (1 - (-q)^n)/(1 + q) - (-1)^n exp(-TR/T1), q = exp(-spacing/T1), t_n = (n -
    1/2) spacing.

    Raises
    ------
    ValueError : the train does not fit into TR.
    """
    if echo_train_length * echo_spacing_ms > tr_ms:
        raise ValueError(
            f"echo train lasts {echo_train_length * echo_spacing_ms:g} ms; expected at most TR = {tr_ms:g} ms"
        )
    t1, t2 = np.asarray(t1_ms, float), np.asarray(t2_ms, float)
    last_pulse_ms = (echo_train_length - 0.5) * echo_spacing_ms
    q = np.exp(-echo_spacing_ms / t1)
    train = (1 - (-q) ** echo_train_length) / (1 + q)
    longitudinal = (
        1 - 2 * np.exp(-(tr_ms - last_pulse_ms) / t1) * train - (-1) ** echo_train_length * np.exp(-tr_ms / t1)
    )
    return np.asarray(proton_density, float) * longitudinal * np.exp(-te_ms / t2)


def spoiled_gradient_echo(
    t1_ms: ArrayLike,
    t2_star_ms: ArrayLike,
    proton_density: ArrayLike = 1.0,
    *,
    tr_ms: float,
    te_ms: float,
    flip_deg: ArrayLike,
) -> FloatArray:
    """Transverse magnetisation of a perfectly spoiled gradient echo.

    Law: PD sin(a) (1 - E1)/(1 - E1 cos(a)) exp(-TE/T2*), E1 = exp(-TR/T1). `flip_deg` may be a map (B1+ inhomogeneity).
    """
    angle = np.deg2rad(np.asarray(flip_deg, float))
    e1 = np.exp(-tr_ms / np.asarray(t1_ms, float))
    steady = np.sin(angle) * (1 - e1) / (1 - e1 * np.cos(angle))
    return np.asarray(proton_density, float) * steady * np.exp(-te_ms / np.asarray(t2_star_ms, float))


def inversion_recovery(
    t1_ms: ArrayLike,
    t2_ms: ArrayLike,
    proton_density: ArrayLike = 1.0,
    *,
    tr_ms: float,
    te_ms: float,
    ti_ms: float,
) -> FloatArray:
    """Signed transverse magnetisation of 180 - TI - 90 - TE/2 - 180 - TE/2 (FLAIR, STIR), repeated every TR.

    Law: PD (1 - 2 exp(-TI/T1) + 2 exp(-(TR - TE/2)/T1) - exp(-TR/T1)) exp(-TE/T2); negative before the null.

    Raises
    ------
    ValueError : TI + TE does not fit into TR.
    """
    if ti_ms + te_ms > tr_ms:
        raise ValueError(f"TI + TE = {ti_ms + te_ms:g} ms; expected at most TR = {tr_ms:g} ms")
    t1, t2 = np.asarray(t1_ms, float), np.asarray(t2_ms, float)
    prepared = 1 - 2 * np.exp(-ti_ms / t1) + 2 * np.exp(-(tr_ms - te_ms / 2) / t1) - np.exp(-tr_ms / t1)
    return np.asarray(proton_density, float) * prepared * np.exp(-te_ms / t2)


def null_inversion_time_ms(t1_ms: ArrayLike, *, tr_ms: float, te_ms: float = 0.0) -> FloatArray:
    """Inversion time that nulls a tissue in `inversion_recovery`.

    Law: T1 ln(2 / (1 + 2 exp(-(TR - TE/2)/T1) - exp(-TR/T1))); T1 ln 2 for a long TR.
    """
    t1 = np.asarray(t1_ms, float)
    return t1 * np.log(2 / (1 + 2 * np.exp(-(tr_ms - te_ms / 2) / t1) - np.exp(-tr_ms / t1)))


def saturated_fraction(t1_ms: ArrayLike, *, delay_ms: float, flip_deg: ArrayLike = 90.0) -> FloatArray:
    """Longitudinal fraction that a spectrally selective pulse of flip angle a and a delay leave to excite.

    Law: 1 - (1 - cos a) exp(-delay/T1). 90 degrees is chemical saturation (the residual grows with the delay),
    180 degrees adiabatic inversion (SPAIR, null at delay = T1 ln 2). Multiplies the signal of the selected pool only.

    Limits: the pool is taken as fully relaxed before the pulse (TR of several T1: below 0.1 % for fat at TR 2.5 s); a
    field offset that moves the pool out of the pulse's band is not modelled.
    """
    residual = 1 - np.cos(np.deg2rad(np.asarray(flip_deg, float)))
    return 1 - residual * np.exp(-delay_ms / np.asarray(t1_ms, float))
