"""Cited tissue values: T1, T2, T2*, proton density, fat fraction and chemical shift per field strength.

Every number carries the source that was opened for it. A number for which no source could be opened is absent, and a
request for it is refused by name. A *proxy* is an explicit entry that borrows another tissue's, quantity's or field's
number, with its reason; nothing is borrowed silently.

Limits
------
Single-exponential values of whole tissues. Magic angle, temperature, age, blood oxygenation and magnetisation
transfer are not modelled. "secondary" marks a number read in a document that quotes the paper's table, not in the
paper itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Quantity = Literal["t1_ms", "t2_ms", "t2_star_ms", "proton_density", "fat_fraction", "chemical_shift_ppm"]
FIELD_DEPENDENT: tuple[Quantity, ...] = ("t1_ms", "t2_ms", "t2_star_ms")


@dataclass(frozen=True)
class Source:
    """A publication and what exactly was opened of it.

    Attributes
    ----------
    citation : authors, year, journal.
    doi : DOI or stable address of the publication.
    opened : the page that was read, and whether it is the paper's own text or a document that quotes it.
    """

    citation: str
    doi: str
    opened: str


@dataclass(frozen=True)
class Measured:
    """A published number; `spread` is the published standard deviation where one was printed."""

    number: float
    source: str
    spread: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Proxy:
    """A borrowed number: this entry takes the value of (tissue, quantity, field_strength_t), for the stated reason."""

    tissue: str
    quantity: Quantity
    field_strength_t: float | None
    reason: str


@dataclass(frozen=True)
class Value:
    """What a lookup returns: the number, its source, and the proxies it was reached through (outermost first)."""

    number: float
    source: Source
    proxies: tuple[Proxy, ...] = ()
    spread: float | None = None
    note: str = ""


_DICTIONARY = "secondary: tissue dictionary quoting the table as read (index ids 69129465159, 68914558224)"

SOURCES: dict[str, Source] = {
    "wright2008": Source(
        "Wright et al. 2008, MAGMA 21:121",
        "10.1007/s10334-008-0104-8",
        "abstract, link.springer.com/article/10.1007/s10334-008-0104-8",
    ),
    "cox2010": Source(
        "Cox & Gowland 2010, Magn Reson Med 64:1440", "10.1002/mrm.22522", "abstract, pubmed.ncbi.nlm.nih.gov/20593370"
    ),
    "peters2007": Source(
        "Peters et al. 2007, Magn Reson Imaging",
        "pii S0730725X07001701",
        "secondary: MRI simulation parameters citing it (index id 6738714830)",
    ),
    "rooney2007": Source("Rooney et al. 2007, Magn Reson Med 57:308", "10.1002/mrm.21122", _DICTIONARY),
    "spijkerman2018": Source(
        "Spijkerman et al. 2018, MAGMA",
        "10.1007/s10334-017-0659-3",
        "secondary: spectroscopy water-reference table (index id 3820388590)",
    ),
    "stanisz2005": Source(
        "Stanisz et al. 2005, Magn Reson Med 54:507, Table 1 (in vitro, 37 C)",
        "10.1002/mrm.20605",
        "abstract archive.ismrm.org/2006/2494.html; numbers secondary: index ids 61347270586, 69129465159",
    ),
    "gold2004": Source("Gold et al. 2004, AJR 183:343", "10.2214/ajr.183.2.1830343", _DICTIONARY),
    "debazelaire2004": Source("de Bazelaire et al. 2004, Radiology 230:652", "10.1148/radiol.2303021331", _DICTIONARY),
    "lester2016": Source(
        "Le Ster et al. 2016, J Magn Reson Imaging 44:549, Table 1", "10.1002/jmri.25205", _DICTIONARY
    ),
    "woodard1986": Source(
        "Woodard & White 1986, Br J Radiol 59:1209, Table I", "10.1259/0007-1285-59-708-1209", _DICTIONARY
    ),
    "guglielmo2023": Source("Guglielmo et al. 2023, RadioGraphics 43:e220181", "10.1148/rg.220181", _DICTIONARY),
    "campbell2019": Source(
        "Campbell-Washburn et al. 2019, Radiology 293:384",
        "10.1148/radiol.2019190452",
        "secondary: KomaMRI cardiac phantom citing it (index id 42038249482)",
    ),
    "meniscus_map": Source(
        "Femorotibial cartilage and meniscus T1/T2 mapping, PMC7016502, figure 3",
        "PMC7016502",
        "figure caption, pmc.ncbi.nlm.nih.gov/articles/PMC7016502/figure/f0003",
    ),
    "wright2011": Source(
        "Wright et al. 2011, ISMRM abstract 2760 (and 2010 abstract 3221, 3 T)",
        "archive.ismrm.org/2011/2760.html",
        "abstract, archive.ismrm.org/2011/2760.html",
    ),
    "ligament_ute": Source(
        "UTE-T2* of normal knee ligaments and tendons at 1.5 T, Acta Radiologica",
        "10.1177/02841851211043834",
        "abstract at that DOI",
    ),
    "lockard2019": Source(
        "Lockard et al. 2019, Br J Radiol 92:20190221",
        "10.1259/bjr.20190221",
        "abstract, pmc.ncbi.nlm.nih.gov/articles/PMC6913360",
    ),
    "ion_therapy2013": Source(
        "MRI-based plan simulation for ion radiotherapy 2013, Radiat Oncol 8:51, Table 1",
        "10.1186/1748-717X-8-51",
        "Table 1, ro-journal.biomedcentral.com",
    ),
    "gach2008": Source(
        "Gach et al. 2008, 2D & 3D Shepp-Logan phantom standards for MRI",
        "10.1109/ICSEng.2008.15",
        "secondary: dcmri constants documentation quoting it (index id 69022343457)",
    ),
    "hamilton2011": Source(
        "Hamilton et al. 2011, NMR Biomed 24:784",
        "10.1002/nbm.1622",
        "abstract PMC3860876; Table 3 secondary (index id 68914558224)",
    ),
}

_SAME_FIELD_MISSING = "no source could be opened at this field; the nearest opened field stands in"
_STAR_FOR_T2 = "no spin-echo T2 could be opened; T2* stands in and is a lower bound"
_FLUID = "no synovial-fluid value could be opened; cerebrospinal fluid is the nearest cited free fluid"

Entry = Measured | Proxy
Key = tuple[str, Quantity, float | None]

TABLE: dict[Key, Entry] = {
    # Brain. At 0.3 T only the fluid: the power law of Rooney 2007 for tissue was not seen in a source that was opened.
    ("white_matter", "t1_ms", 1.5): Measured(646, "wright2008", 32),
    ("white_matter", "t1_ms", 3.0): Measured(838, "wright2008", 50),
    ("white_matter", "t1_ms", 7.0): Measured(1126, "wright2008", 97),
    ("white_matter", "t2_ms", 1.5): Measured(80, "cox2010"),
    ("white_matter", "t2_ms", 3.0): Measured(71, "cox2010"),
    ("white_matter", "t2_ms", 7.0): Measured(47, "cox2010"),
    ("white_matter", "t2_star_ms", 1.5): Measured(66.2, "peters2007"),
    ("white_matter", "t2_star_ms", 3.0): Measured(53.2, "peters2007"),
    ("white_matter", "t2_star_ms", 7.0): Measured(26.8, "peters2007"),
    ("white_matter", "proton_density", None): Measured(0.685, "woodard1986", note="water by mass"),
    ("grey_matter", "t1_ms", 1.5): Measured(1197, "wright2008", 134),
    ("grey_matter", "t1_ms", 3.0): Measured(1607, "wright2008", 112),
    ("grey_matter", "t1_ms", 7.0): Measured(1939, "wright2008", 149),
    ("grey_matter", "t2_ms", 1.5): Measured(87, "cox2010", note="frontal grey matter; occipital 80"),
    ("grey_matter", "t2_ms", 3.0): Measured(76, "cox2010", note="frontal grey matter; occipital 68"),
    ("grey_matter", "t2_ms", 7.0): Measured(47, "cox2010", note="frontal grey matter; occipital 46"),
    ("grey_matter", "t2_star_ms", 1.5): Measured(84.0, "peters2007"),
    ("grey_matter", "t2_star_ms", 3.0): Measured(66.0, "peters2007"),
    ("grey_matter", "t2_star_ms", 7.0): Measured(33.2, "peters2007"),
    ("grey_matter", "proton_density", None): Measured(0.826, "woodard1986", note="water by mass"),
    ("csf", "t1_ms", 0.3): Measured(4300, "rooney2007", 200, "reported independent of field"),
    ("csf", "t1_ms", 1.5): Measured(4300, "rooney2007", 200, "reported independent of field"),
    ("csf", "t1_ms", 3.0): Measured(4300, "rooney2007", 200, "reported independent of field"),
    ("csf", "t1_ms", 7.0): Measured(4300, "rooney2007", 200, "reported independent of field"),
    ("csf", "t2_ms", 1.5): Proxy("csf", "t2_ms", 3.0, _SAME_FIELD_MISSING),
    ("csf", "t2_ms", 3.0): Measured(2030, "spijkerman2018"),
    ("csf", "t2_ms", 7.0): Measured(1050, "spijkerman2018"),
    ("csf", "proton_density", None): Measured(0.990, "woodard1986", note="water by mass"),
    # Blood at rest; flow voids belong to the phantom, not to this table.
    ("blood", "t1_ms", 0.55): Measured(1122, "campbell2019"),
    ("blood", "t2_ms", 0.55): Measured(263, "campbell2019"),
    ("blood", "t1_ms", 1.5): Measured(1441, "stanisz2005", 120),
    ("blood", "t1_ms", 3.0): Measured(1932, "stanisz2005", 85),
    ("blood", "t2_ms", 1.5): Measured(290, "stanisz2005", 30),
    ("blood", "t2_ms", 3.0): Measured(275, "stanisz2005", 50),
    ("blood", "proton_density", None): Measured(0.790, "woodard1986", note="water by mass, whole blood"),
    # Musculoskeletal.
    ("muscle", "t1_ms", 1.5): Measured(1130, "gold2004", 92),
    ("muscle", "t1_ms", 3.0): Measured(1420, "gold2004", 38),
    ("muscle", "t2_ms", 1.5): Measured(35.3, "gold2004", 3.9),
    ("muscle", "t2_ms", 3.0): Measured(31.7, "gold2004", 1.9),
    ("muscle", "proton_density", None): Measured(0.741, "woodard1986", note="water by mass, skeletal muscle 2"),
    ("cartilage", "t1_ms", 1.5): Measured(1060, "gold2004", 155),
    ("cartilage", "t1_ms", 3.0): Measured(1240, "gold2004", 107),
    ("cartilage", "t2_ms", 1.5): Measured(42.1, "gold2004", 7.1),
    ("cartilage", "t2_ms", 3.0): Measured(36.9, "gold2004", 3.8),
    ("cartilage", "proton_density", None): Measured(0.750, "woodard1986", note="water by mass"),
    ("meniscus", "t1_ms", 1.5): Proxy("meniscus", "t1_ms", 3.0, _SAME_FIELD_MISSING),
    ("meniscus", "t1_ms", 3.0): Measured(
        600, "meniscus_map", note="598 medial, 603 lateral; field not on the opened page"
    ),
    ("meniscus", "t2_ms", 1.5): Proxy("meniscus", "t2_ms", 3.0, _SAME_FIELD_MISSING),
    ("meniscus", "t2_ms", 3.0): Measured(14.6, "meniscus_map", note="medial; field not on the opened page"),
    ("meniscus", "proton_density", None): Proxy(
        "cartilage", "proton_density", None, "no meniscus water content opened"
    ),
    ("tendon", "t1_ms", 1.5): Proxy("tendon", "t1_ms", 3.0, _SAME_FIELD_MISSING),
    ("tendon", "t1_ms", 3.0): Measured(725, "wright2011", 42, "Achilles tendon, saturation-recovery UTE"),
    ("tendon", "t2_ms", 1.5): Proxy("tendon", "t2_star_ms", 1.5, _STAR_FOR_T2),
    ("tendon", "t2_ms", 3.0): Proxy("tendon", "t2_star_ms", 3.0, _STAR_FOR_T2),
    ("tendon", "t2_star_ms", 1.5): Measured(5.2, "ligament_ute", 2.1, "patellar tendon"),
    ("tendon", "t2_star_ms", 3.0): Measured(7.0, "lockard2019", 1.0, "tibialis posterior tendon"),
    ("tendon", "proton_density", None): Measured(0.604, "woodard1986", note="water by mass, connective tissue"),
    ("acl", "t1_ms", 1.5): Proxy("tendon", "t1_ms", 1.5, "no ligament T1 could be opened"),
    ("acl", "t1_ms", 3.0): Proxy("tendon", "t1_ms", 3.0, "no ligament T1 could be opened"),
    ("acl", "t2_ms", 1.5): Proxy("acl", "t2_star_ms", 1.5, _STAR_FOR_T2),
    ("acl", "t2_ms", 3.0): Proxy("acl", "t2_star_ms", 1.5, _STAR_FOR_T2 + "; 1.5 T is the only field opened"),
    ("acl", "t2_star_ms", 1.5): Measured(11.9, "ligament_ute", 2.4),
    ("acl", "proton_density", None): Proxy("tendon", "proton_density", None, "same class of connective tissue"),
    ("pcl", "t1_ms", 1.5): Proxy("tendon", "t1_ms", 1.5, "no ligament T1 could be opened"),
    ("pcl", "t1_ms", 3.0): Proxy("tendon", "t1_ms", 3.0, "no ligament T1 could be opened"),
    ("pcl", "t2_ms", 1.5): Proxy("pcl", "t2_star_ms", 1.5, _STAR_FOR_T2),
    ("pcl", "t2_ms", 3.0): Proxy("pcl", "t2_star_ms", 1.5, _STAR_FOR_T2 + "; 1.5 T is the only field opened"),
    ("pcl", "t2_star_ms", 1.5): Measured(8.3, "ligament_ute", 2.1),
    ("pcl", "proton_density", None): Proxy("tendon", "proton_density", None, "same class of connective tissue"),
    ("cortical_bone", "t1_ms", 1.5): Measured(200, "ion_therapy2013", note="140-260"),
    ("cortical_bone", "t1_ms", 3.0): Proxy("cortical_bone", "t1_ms", 1.5, _SAME_FIELD_MISSING),
    ("cortical_bone", "t2_ms", 1.5): Proxy("cortical_bone", "t2_star_ms", 1.5, _STAR_FOR_T2),
    ("cortical_bone", "t2_ms", 3.0): Proxy("cortical_bone", "t2_star_ms", 1.5, _STAR_FOR_T2),
    ("cortical_bone", "t2_star_ms", 1.5): Measured(0.46, "ion_therapy2013", note="0.42-0.50"),
    ("cortical_bone", "proton_density", None): Measured(0.122, "woodard1986", note="water by mass"),
    ("synovial_fluid", "t1_ms", 1.5): Proxy("csf", "t1_ms", 1.5, _FLUID),
    ("synovial_fluid", "t1_ms", 3.0): Proxy("csf", "t1_ms", 3.0, _FLUID),
    ("synovial_fluid", "t2_ms", 1.5): Proxy("csf", "t2_ms", 1.5, _FLUID),
    ("synovial_fluid", "t2_ms", 3.0): Proxy("csf", "t2_ms", 3.0, _FLUID),
    ("synovial_fluid", "proton_density", None): Proxy("csf", "proton_density", None, _FLUID),
    ("skin", "t1_ms", 1.5): Proxy("muscle", "t1_ms", 1.5, "no skin T1 could be opened"),
    ("skin", "t1_ms", 3.0): Proxy("muscle", "t1_ms", 3.0, "no skin T1 could be opened"),
    ("skin", "t2_ms", 1.5): Measured(70, "gach2008"),
    ("skin", "t2_ms", 3.0): Proxy("skin", "t2_ms", 1.5, _SAME_FIELD_MISSING),
    ("skin", "proton_density", None): Measured(0.80, "gach2008"),
    # Lipid pools. Relaxation of adipose tissue and of marrow is dominated by methylene and stands for the fat pool.
    ("fat", "t1_ms", 0.55): Measured(183, "campbell2019"),
    ("fat", "t2_ms", 0.55): Measured(93, "campbell2019"),
    ("fat", "t1_ms", 1.5): Measured(288, "gold2004", 8, "subcutaneous"),
    ("fat", "t1_ms", 3.0): Measured(371, "gold2004", 8, "subcutaneous"),
    ("fat", "t2_ms", 1.5): Measured(165, "gold2004", 6, "sequence dependent (J coupling): 58 by single-shot TSE"),
    ("fat", "t2_ms", 3.0): Measured(133, "gold2004", 4, "sequence dependent (J coupling): 68 by single-shot TSE"),
    ("fat", "proton_density", None): Measured(
        0.953, "woodard1986", note="water 0.212 + lipid 0.741 by mass, adipose tissue 2"
    ),
    ("fat", "fat_fraction", None): Measured(0.945, "guglielmo2023", note="subcutaneous PDFF, typically 0.93-0.96"),
    ("fat", "chemical_shift_ppm", None): Measured(
        -3.40, "hamilton2011", note="methylene 1.30 ppm against water 4.70 ppm"
    ),
    ("marrow", "t1_ms", 1.5): Measured(288, "gold2004", 5, "fat pool of knee marrow"),
    ("marrow", "t1_ms", 3.0): Measured(365, "gold2004", 9, "fat pool of knee marrow"),
    ("marrow", "t2_ms", 1.5): Measured(165, "gold2004", note="fat pool of knee marrow"),
    ("marrow", "t2_ms", 3.0): Measured(133, "gold2004", note="fat pool of knee marrow"),
    ("marrow", "t2_star_ms", 1.5): Measured(11.4, "lester2016", 2.7, "fat pool, lumbar"),
    ("marrow", "proton_density", None): Measured(
        0.957, "woodard1986", note="water 0.153 + lipid 0.804 by mass, yellow marrow"
    ),
    ("marrow", "fat_fraction", None): Measured(0.84, "woodard1986", note="lipid / (lipid + water), yellow marrow"),
    ("marrow", "chemical_shift_ppm", None): Proxy("fat", "chemical_shift_ppm", None, "same triglyceride"),
    ("marrow_water", "t1_ms", 1.5): Measured(701, "lester2016", 151, "water pool, lumbar"),
    ("marrow_water", "t1_ms", 3.0): Proxy("marrow_water", "t1_ms", 1.5, _SAME_FIELD_MISSING),
    ("marrow_water", "t2_ms", 1.5): Measured(49, "debazelaire2004", 8, "whole vertebral marrow"),
    ("marrow_water", "t2_ms", 3.0): Measured(49, "debazelaire2004", 4, "whole vertebral marrow"),
    ("marrow_water", "t2_star_ms", 1.5): Measured(13.7, "lester2016", 2.9, "water pool, lumbar"),
}
TISSUES: tuple[str, ...] = tuple(dict.fromkeys(key[0] for key in TABLE))


def lookup(tissue: str, quantity: Quantity, field_strength_t: float | None = None) -> Value:
    """Return one cited value, following explicit proxies.

    Parameters
    ----------
    tissue : one of `TISSUES`.
    quantity : `t1_ms`, `t2_ms`, `t2_star_ms` (need a field strength), `proton_density` (1 = pure water),
        `fat_fraction` (of proton density) or `chemical_shift_ppm` (against water, negative for fat).
    field_strength_t : tesla; ignored for the last three quantities.

    Raises
    ------
    ValueError : unknown tissue, or no source could be opened for this tissue, quantity and field.
    """
    if tissue not in TISSUES:
        raise ValueError(f"tissue is {tissue!r}; expected one of {', '.join(TISSUES)}")
    proxies: list[Proxy] = []
    key: Key = (
        tissue,
        quantity,
        float(field_strength_t) if quantity in FIELD_DEPENDENT and field_strength_t is not None else None,
    )
    while True:
        entry = TABLE.get(key)
        if entry is None:
            raise ValueError(_refusal(*key))
        if isinstance(entry, Measured):
            return Value(entry.number, SOURCES[entry.source], tuple(proxies), entry.spread, entry.note)
        proxies.append(entry)
        key = (entry.tissue, entry.quantity, entry.field_strength_t)


def value(tissue: str, quantity: Quantity, field_strength_t: float | None = None) -> float:
    """Return the number of `lookup`; refuse by name where no source was opened."""
    return lookup(tissue, quantity, field_strength_t).number


def fat_water_shift_hz(field_strength_t: float) -> float:
    """Return the frequency of fat against water in Hz (negative), from the cited shift in ppm."""
    proton_hz_per_t = 267.52218708e6 / (2 * math.pi)  # CODATA 2022, shielded correction neglected (26 ppm of the shift)
    return value("fat", "chemical_shift_ppm") * 1e-6 * proton_hz_per_t * field_strength_t


def _refusal(tissue: str, quantity: str, field_strength_t: float | None) -> str:
    fields = sorted(key[2] for key in TABLE if key[:2] == (tissue, quantity) and key[2] is not None)
    where = f" at {field_strength_t:g} T" if field_strength_t is not None else ""
    known = f"; known at {', '.join(f'{field:g}' for field in fields)} T" if fields else "; known at no field"
    return f"no opened source gives {quantity} of {tissue}{where}{known if quantity in FIELD_DEPENDENT else ''}"
