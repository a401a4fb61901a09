"""The tissue table: every number has an opened source, every borrowed number says so, every gap is refused by name."""

import numpy as np
import pytest

from mrisim.phantoms import tissue


def test_every_entry_is_measured_or_a_proxy_that_ends_in_a_measurement() -> None:
    for name, quantity, field in tissue.TABLE:
        found = tissue.lookup(name, quantity, field)
        assert found.number != 0
        assert found.source.opened and found.source.doi
        assert all(proxy.reason for proxy in found.proxies)


def test_every_source_is_used_and_known() -> None:
    cited = {entry.source for entry in tissue.TABLE.values() if isinstance(entry, tissue.Measured)}
    assert cited == set(tissue.SOURCES)


def test_t2_star_is_never_longer_than_t2_of_the_same_tissue_and_field() -> None:
    for name, quantity, field in tissue.TABLE:
        if quantity == "t2_star_ms" and (name, "t2_ms", field) in tissue.TABLE:
            assert tissue.value(name, "t2_star_ms", field) <= tissue.value(name, "t2_ms", field)


@pytest.mark.parametrize("name", ["white_matter", "grey_matter", "muscle", "cartilage", "fat", "blood"])
def test_t1_rises_with_field(name: str) -> None:
    fields = sorted(key[2] for key in tissue.TABLE if key[:2] == (name, "t1_ms") and key[2] is not None)
    values = [tissue.value(name, "t1_ms", field) for field in fields]
    assert len(values) >= 2
    assert values == sorted(values)


@pytest.mark.parametrize(
    ("name", "quantity", "field", "number"),
    [
        ("white_matter", "t1_ms", 3.0, 838),  # Wright 2008, abstract
        ("grey_matter", "t1_ms", 7.0, 1939),  # Wright 2008, abstract
        ("white_matter", "t2_ms", 7.0, 47),  # Cox & Gowland 2010, abstract
        ("tendon", "t2_star_ms", 1.5, 5.2),  # UTE-T2* of the patellar tendon, abstract
        ("tendon", "t1_ms", 3.0, 725),  # Wright 2011, abstract
    ],
)
def test_numbers_read_in_abstracts(name: str, quantity: tissue.Quantity, field: float, number: float) -> None:
    assert tissue.value(name, quantity, field) == number


def test_proxies_are_told() -> None:
    found = tissue.lookup("acl", "t1_ms", 1.5)
    assert [proxy.tissue for proxy in found.proxies] == ["tendon", "tendon"]
    assert found.number == tissue.value("tendon", "t1_ms", 3.0)
    assert tissue.lookup("muscle", "t1_ms", 3.0).proxies == ()


def test_a_missing_value_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"no opened source gives t1_ms of cartilage at 7 T; known at 1.5, 3 T"):
        tissue.value("cartilage", "t1_ms", 7.0)
    with pytest.raises(ValueError, match=r"t2_star_ms of muscle at 3 T; known at no field"):
        tissue.value("muscle", "t2_star_ms", 3.0)
    with pytest.raises(ValueError, match=r"fat_fraction of muscle$"):
        tissue.value("muscle", "fat_fraction")


def test_an_unknown_tissue_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"tissue is 'kidney'; expected one of white_matter"):
        tissue.value("kidney", "t1_ms", 3.0)


def test_fat_is_below_water_and_scales_with_field() -> None:
    # Handbook figures: about -217 Hz at 1.5 T and -434 Hz at 3 T.
    np.testing.assert_allclose([tissue.fat_water_shift_hz(1.5), tissue.fat_water_shift_hz(3.0)], [-217, -434], atol=1)
