"""Attribute filters and what is made of distributions: and within a filter, or over them, nested subsets."""

from pathlib import Path

import pytest

from diagnose.reconstruction.data_selection import SUBSET_FRACTIONS, AttributedVolume, joint, select, skewed, subset
from diagnose.volumes import Volume
from mrisim.errors import ConfigError, DataError


def files(n_patients=64, contrasts=("AXT1", "AXT2"), root="a"):
    """Each patient has one file a contrast; fields alternate over patients."""
    found = []
    for patient in range(n_patients):
        for contrast in contrasts:
            name = f"multicoil_train/{contrast}_{patient:03d}.h5"
            volume = Volume(Path(root) / name, name, f"p{patient}", contrast, 8, split="train")
            attributes = {"acquisition": contrast, "field_strength_t": (1.494, 2.8936)[patient % 2], "n_slices": 8}
            if patient == 0:
                attributes["plane"] = "axial"
            found.append(AttributedVolume(volume, attributes))
    return found


def names(selection):
    return [file.volume.file for file in selection]


def test_entries_of_a_filter_are_and_filters_are_or():
    everything = files(6)
    found = select(everything, [{"acquisition": "AXT1", "field_strength_t": 1.494}])
    assert names(found) == [f"multicoil_train/AXT1_{k:03d}.h5" for k in (0, 2, 4)]
    found = select(everything, [{"acquisition": "AXT1", "field_strength_t": 1.494}, {"field_strength_t": 2.8936}])
    assert len(found) == 3 + 6
    assert names(found) == [name for name in names(everything) if name in set(names(found))]  # each once, in order
    both = select(everything, [{"acquisition": ["AXT1", "AXT2"]}, {"acquisition": "AXT1"}])
    assert names(both) == names(everything)


def test_numbers_are_compared_as_numbers_and_text_as_text():
    everything = files(6)
    assert len(select(everything, [{"n_slices": 8.0}])) == 12
    assert len(select(everything, [{"field_strength_t": 2.8936000001}])) == 6
    with pytest.raises(DataError, match="no file has n_slices = 8; at hand: n_slices: 8"):
        select(everything, [{"n_slices": "8"}])


def test_a_file_without_the_attribute_does_not_match():
    assert len(select(files(6), [{"plane": "axial"}])) == 2


@pytest.mark.parametrize(
    ("filters", "error", "message"),
    [
        ([], ConfigError, "no attribute filter"),
        ([{}], ConfigError, r"the attribute filter is \{\}; expected names with a value"),
        ([{"acquisition": []}], ConfigError, "expected names with a value"),
        (
            [{"contrast": "AXT1"}],
            ConfigError,
            "no file has an attribute 'contrast'; expected one of acquisition, field_",
        ),
        (
            [{"acquisition": "AXT1"}, {"acquisition": ["AXT3", "AXT4"], "field_strength_t": 3}],
            DataError,
            r"no file has acquisition = AXT3 or AXT4 and field_strength_t = 3; at hand: acquisition: AXT1 \(6 files\), "
            r"AXT2 \(6 files\); field_strength_t: 1.494 \(6 files\), 2.8936 \(6 files\)",
        ),
    ],
)
def test_a_filter_that_selects_nothing_lists_what_is_at_hand(filters, error, message):
    with pytest.raises(error, match=message):
        select(files(6), filters)


def test_a_long_list_of_values_is_cut():
    many = [AttributedVolume(file.volume, {"gain": float(k)}) for k, file in enumerate(files(10))]
    with pytest.raises(DataError, match=r"7.0 \(1 files\) and 12 more$"):
        select(many, [{"gain": 99}])


def patients(selection):
    return {file.volume.patient for file in selection}


def test_subsets_are_nested_whole_patients_of_the_right_number():
    everything = files(64)
    before = None
    for fraction in SUBSET_FRACTIONS:
        part = subset(everything, fraction, seed=3)
        assert len(patients(part)) == 64 * fraction
        assert len(part) == 2 * len(patients(part))
        assert before is None or patients(part) < before
        before = patients(part)
    assert SUBSET_FRACTIONS == (1, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64)
    assert names(subset(everything, 1, seed=3)) == names(everything)


def test_subsets_depend_on_seed_and_patients_alone():
    everything = files(64)
    part = subset(everything, 1 / 8, seed=0)
    assert patients(subset(list(reversed(everything)), 1 / 8, seed=0)) == patients(part)
    assert patients(subset(everything[::2], 1 / 8, seed=0)) == patients(part)
    assert patients(subset(everything, 1 / 8, seed=1)) != patients(part)
    assert patients(part) != {f"p{k}" for k in range(8)}


def test_half_a_patient_is_rounded_and_none_is_refused():
    assert len(patients(subset(files(24), 1 / 16, seed=0))) == 2  # 1.5
    with pytest.raises(ConfigError, match=r"0.015625 of 24 patients is none of them"):
        subset(files(24), 1 / 64, seed=0)
    for fraction in (0, 1.5, -1):
        with pytest.raises(ConfigError, match="expected above 0, up to 1"):
            subset(files(4), fraction, seed=0)


def test_joint_has_every_file_once():
    t1, t2 = (select(files(4), [{"acquisition": name}]) for name in ("AXT1", "AXT2"))
    assert names(joint(t1, t2)) == names(joint(t2, t1, t1)) == sorted(names(files(4)))
    assert len(joint(files(4), files(4, root="b"))) == 16  # equal names below two roots are two files


def test_skewed_is_all_of_p_and_a_sixteenth_of_the_patients_of_q():
    p, q = (select(files(32), [{"acquisition": name}]) for name in ("AXT1", "AXT2"))
    found = skewed(p, q, seed=5)
    assert set(names(p)) < set(names(found))
    extra = set(names(found)) - set(names(p))
    assert extra == set(names(subset(q, 1 / 16, seed=5)))
    assert len(extra) == 2
