"""Distributions by name and by attribute filter, and the embedded cohorts that the names are of."""

import pytest

from diagnose.reconstruction.data_selection import AttributedVolume, select
from diagnose.reconstruction.distributions import DISTRIBUTIONS, EMBEDDED_COHORTS, filters_of
from diagnose.volumes import Volume
from mrisim.cohort_protocol import ACQUISITIONS
from mrisim.errors import ConfigError


def test_a_filter_is_read_as_entries_that_all_hold_and_alternatives():
    assert filters_of("acquisition=AXT1, field_strength_t=3") == ({"acquisition": "AXT1", "field_strength_t": 3.0},)
    assert filters_of("acquisition=AXT1|scanner=sim3t-a,plane=axial") == (
        {"acquisition": "AXT1"},
        {"scanner": "sim3t-a", "plane": "axial"},
    )
    assert filters_of("knee-pd-15t") == (
        {"anatomy": "knee", "acquisition": "CORPD_FBK", "field_strength_t": 1.5},
    )  # fmt: skip


@pytest.mark.parametrize("text", ["", "knee", "acquisition=", "=AXT1", "acquisition=AXT1,", "acquisition=AXT1|"])
def test_what_is_neither_name_nor_filter_is_refused(text):
    with pytest.raises(ConfigError, match="is no distribution; expected one of knee-pd-3t"):
        filters_of(text)


def test_an_attribute_is_named_once():
    with pytest.raises(ConfigError, match="names acquisition twice; expected alternatives separated by"):
        filters_of("acquisition=AXT1,acquisition=AXT2")


def test_every_file_of_the_embedded_cohorts_is_in_exactly_one_distribution():
    files = [
        AttributedVolume(
            Volume(None, f"{part.anatomy}/{contrast}-{scanner.name}.h5", "p", "", 1),
            {
                "anatomy": part.anatomy,
                "acquisition": ACQUISITIONS[part.anatomy][contrast],
                "field_strength_t": scanner.field_strength_t,
            },
        )
        for part in EMBEDDED_COHORTS.parts
        for contrast in part.contrasts
        for scanner in part.scanners
    ]
    found = [file for name in DISTRIBUTIONS for file in select(files, filters_of(name))]
    assert sorted(file.volume.file for file in found) == sorted(file.volume.file for file in files)
    assert len(found) == len(DISTRIBUTIONS) == 7


def test_all_embedded_scans_have_one_size():
    sizes = {(one.matrix, one.n_coils) for part in EMBEDDED_COHORTS.parts for one in part.scanners}
    assert sizes == {((96, 96), 4)}
