"""Head protocols and the signal of each pure tissue in them, water and fat pools apart.

Lesion relaxation is built from ratios that sources print against the same subjects' white matter, because absolute
values by fingerprinting run short; the cited white matter of `tissue` is multiplied with them.

Limits
------
No magnetisation transfer: in multi-slice clinical FLAIR it darkens white matter more than grey, so that grey is a
little brighter there; with the cited single-exponential T1 of 3 T it is darker here. Venous blood is a flow void
before contrast agent and takes the tumour's rise of R1 after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mrisim.phantoms import signal, tissue
from mrisim.phantoms.brain_anatomy import INDEX, TISSUES
from mrisim.phantoms.tissue import Source

Contrast = Literal["t1", "t1ce", "t2", "flair"]
CONTRASTS: tuple[Contrast, ...] = ("t1", "t1ce", "t2", "flair")

FINGERPRINTING = Source(
    "de Blank et al. 2019, magnetic resonance fingerprinting of childhood and young adult brain tumours",
    "neurosurgerywiki.com/wiki/doku.php?id=magnetic_resonance_fingerprinting",
    "secondary: abstract as quoted there. T1/T2 in ms: contralateral white matter 938/38 (with the solid tumours) and "
    "933/38 (with the peritumoral regions), high-grade tumour 1863/90, peritumoral white matter 1261/65",
)
T1_DIFFERENCE = Source(
    "Quantitative T1 mapping indicates tumor infiltration beyond the enhancing part of glioblastomas, 2020",
    "publikationen.ub.uni-frankfurt.de/frontdoor/index/index/year/2020/docId/57191",
    "abstract: T1 before minus after gadolinium is 838 +- 210 ms in the enhancing tumour; field not on that page, "
    "taken as 3 T",
)
RELAXIVITY = Source(
    "Szomolanyi et al. 2019, Invest Radiol 54:559",
    "10.1097/RLI.0000000000000577",
    "abstract PMC6738537: gadobutrol r1 in human plasma 4.78 (1.5 T), 4.97 (3 T) L/(mmol s)",
)
TUMOUR_RATIO = (1863 / 938, 90 / 38)
"""T1 and T2 of solid high-grade tumour over contralateral white matter; source `FINGERPRINTING`."""
OEDEMA_RATIO = (1261 / 933, 65 / 38)
"""T1 and T2 of peritumoral over contralateral white matter; source `FINGERPRINTING`."""
ENHANCEMENT_MS = 838.0
RELAXIVITY_PER_MM_S = {1.5: 4.78, 3.0: 4.97}

# Borrowed with reason: no value of its own could be opened.
_PROXY = {
    "vitreous": "csf",  # nearest cited free fluid
    "gliosis": "oedema",  # the lesion's conspicuity is the share of it that is painted
    "necrosis": "enhancing",  # solid tumour without contrast agent; its fluid is painted as csf
}


@dataclass(frozen=True)
class Protocol:
    """One contrast: a (turbo) spin echo, prepared by an inversion that nulls fluid if `nulls_csf`."""

    tr_ms: float
    te_ms: float
    echo_spacing_ms: float
    echo_train_length: int
    nulls_csf: bool = False
    contrast_agent: bool = False


# Assumed, within what clinical head protocols use: no header of a real brain scan could be opened here.
PROTOCOLS: dict[Contrast, Protocol] = {
    "t1": Protocol(500, 10, 10.0, 1),
    "t1ce": Protocol(500, 10, 10.0, 1, contrast_agent=True),
    "t2": Protocol(5000, 100, 10.0, 16),
    "flair": Protocol(9000, 110, 110.0, 1, nulls_csf=True),
}


def inversion_time_ms(contrast: Contrast, field_strength_t: float) -> float | None:
    """Inversion time that nulls the cited cerebrospinal fluid, or None for a contrast without inversion."""
    protocol = PROTOCOLS[contrast]
    if not protocol.nulls_csf:
        return None
    t1 = tissue.value("csf", "t1_ms", field_strength_t)
    return float(signal.null_inversion_time_ms(t1, tr_ms=protocol.tr_ms, te_ms=protocol.te_ms))


def signal_of(
    contrast: Contrast,
    field_strength_t: float,
    t1_ms: NDArray[np.floating],
    t2_ms: NDArray[np.floating],
    proton_density: NDArray[np.floating],
) -> NDArray[np.floating]:
    """Signed signal of a contrast for given relaxation times: the one equation for phantom and measured maps."""
    protocol = PROTOCOLS[contrast]
    inversion = inversion_time_ms(contrast, field_strength_t)
    if inversion is not None:
        return signal.inversion_recovery(
            t1_ms, t2_ms, proton_density, tr_ms=protocol.tr_ms, te_ms=protocol.te_ms, ti_ms=inversion
        )
    return signal.turbo_spin_echo(
        t1_ms,
        t2_ms,
        proton_density,
        tr_ms=protocol.tr_ms,
        te_ms=protocol.te_ms,
        echo_spacing_ms=protocol.echo_spacing_ms,
        echo_train_length=protocol.echo_train_length,
    )


def signal_weights(
    contrast: Contrast, field_strength_t: float, relaxation_jitter: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Signal of pure tissues, (2, n_tissues): water and fat pool.

    Parameters
    ----------
    relaxation_jitter : (3, n_tissues), factors on T1, T2 and proton density.

    Raises
    ------
    ValueError : no cited value at this field strength.
    """
    rows = reference_values(field_strength_t) * relaxation_jitter
    if PROTOCOLS[contrast].contrast_agent:
        rows = rows.copy()
        rise = _enhancement_per_ms(field_strength_t)
        for name in ("enhancing", "blood"):
            rows[0, 0, INDEX[name]] = 1 / (1 / rows[0, 0, INDEX[name]] + rise)
    weights = np.stack([signal_of(contrast, field_strength_t, *pool) for pool in rows])
    if not PROTOCOLS[contrast].contrast_agent:
        weights[:, INDEX["blood"]] = 0  # flow void of the sinuses
    return weights.astype(np.float32)


def _enhancement_per_ms(field_strength_t: float) -> float:
    """Rise of R1 by contrast agent: the cited difference of T1 at 3 T, scaled by the relaxivity of the field."""
    if field_strength_t not in RELAXIVITY_PER_MM_S:
        known = ", ".join(f"{field:g}" for field in RELAXIVITY_PER_MM_S)
        raise ValueError(f"no opened source gives the relaxivity at {field_strength_t:g} T; known at {known} T")
    native = TUMOUR_RATIO[0] * tissue.value("white_matter", "t1_ms", 3.0)
    rise = 1 / (native - ENHANCEMENT_MS) - 1 / native
    return rise * RELAXIVITY_PER_MM_S[field_strength_t] / RELAXIVITY_PER_MM_S[3.0]


@lru_cache(maxsize=8)
def reference_values(field_strength_t: float) -> NDArray[np.float64]:
    """Cited (T1, T2, pool density) of the water and fat pool per tissue, (2, 3, n_tissues), before contrast agent."""
    rows = np.zeros((2, 3, len(TISSUES)))
    for i, name in enumerate(TISSUES):
        rows[:, :, i] = _pools(_PROXY.get(name, name), field_strength_t)
    return rows


def _pools(name: str, field_strength_t: float) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """(T1, T2, density) of the water pool and of the fat pool of one tissue."""
    fat = (tissue.value("fat", "t1_ms", field_strength_t), tissue.value("fat", "t2_ms", field_strength_t), 0.0)
    if name in ("oedema", "enhancing"):
        t1_ratio, t2_ratio = TUMOUR_RATIO if name == "enhancing" else OEDEMA_RATIO
        t1 = t1_ratio * tissue.value("white_matter", "t1_ms", field_strength_t)
        t2 = t2_ratio * tissue.value("white_matter", "t2_ms", field_strength_t)
        # No water content of tumour or oedema could be opened. Grey matter's stands in for solid tumour; white matter's
        # for oedema (a lower bound), as grey matter's would hide it in T1, where readers see it dark.
        borrowed = "grey_matter" if name == "enhancing" else "white_matter"
        return (t1, t2, tissue.value(borrowed, "proton_density")), fat
    density = tissue.value(name, "proton_density")
    lipid = tissue.value(name, "fat_fraction") if name in ("fat", "marrow") else 0.0
    # The water of adipose tissue and marrow relaxes like marrow water; the tissue's own values are its fat pool's.
    water, own = ("marrow_water", name) if lipid else (name, "fat")
    return (
        (
            tissue.value(water, "t1_ms", field_strength_t),
            tissue.value(water, "t2_ms", field_strength_t),
            density * (1 - lipid),
        ),
        (tissue.value(own, "t1_ms", field_strength_t), tissue.value(own, "t2_ms", field_strength_t), density * lipid),
    )
