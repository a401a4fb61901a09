"""Label maps: the rules of the papers on texts and rows as fastMRI+ has them."""

import pytest

from mrisim.datasets.label_map import (
    Annotation,
    LabelMap,
    box_in_array,
    head_of,
    label_slices,
    load_label_map,
    read_annotations,
    read_file_list,
)
from mrisim.errors import ConfigError, DataError

HEADER = "file,slice,study_level,x,y,width,height,label\n"
FOUR, THREE, SEVEN = (load_label_map(f"fastmri_plus_knee_{n}way") for n in (4, 3, 7))


def rows(tmp_path, *lines):
    path = tmp_path / "knee.csv"
    path.write_text(HEADER + "".join(line + "\n" for line in lines), encoding="utf-8")
    return read_annotations(path)


def test_the_order_of_the_heads_is_that_of_the_papers():
    assert FOUR.heads == ("abnormal", "mtear", "acl", "cartilage")
    assert THREE.heads == ("acl", "mtear", "abnormal")
    assert SEVEN.heads == ("acl", "mtear", "edema", "fracture", "cartilage", "effusion", "cysts")


@pytest.mark.parametrize(
    ("label", "four", "three", "seven"),
    [
        ("Ligament - ACL High Grade Sprain", "acl", "acl", "acl"),
        ("Meniscus Tear", "mtear", "mtear", "mtear"),
        ("Cartilage - Partial Thickness loss/defect", "cartilage", "abnormal", "cartilage"),
        ("Joint Effusion ", "abnormal", "abnormal", "effusion"),
        ("Bone- Subchondral edema", "abnormal", "abnormal", "edema"),
        ("Bone-Fracture/Contusion/dislocation", "abnormal", "abnormal", "fracture"),
        ("Periarticular cysts", "abnormal", "abnormal", "cysts"),
        ("Ligament - MCL Low-Mod Grade Sprain", "abnormal", "abnormal", None),
        ("Displaced Meniscal Tissue", "abnormal", "abnormal", None),
        ("artifact", "abnormal", "abnormal", None),
        # The rules respect case where the papers' code does.
        ("meniscus tear", "abnormal", "abnormal", None),
    ],
)
def test_first_match_wins(label, four, three, seven):
    assert (head_of(label, FOUR), head_of(label, THREE), head_of(label, SEVEN)) == (four, three, seven)


def test_the_first_of_two_matching_rules_wins():
    assert head_of("ACL Meniscus Tear cartilage", FOUR) == "acl"
    assert head_of("Meniscus Tear and cartilage", FOUR) == "mtear"
    assert head_of("cartilage edema", SEVEN) == "edema"


def test_abnormal_means_other_and_not_any(tmp_path):
    annotations = rows(tmp_path, "file1000001,3,No,1,2,3,4,Meniscus Tear", "file1000001,4,No,1,2,3,4,Joint Effusion ")
    assert annotations[1].label == "Joint Effusion"
    labels = label_slices(annotations, ["file1000001"], FOUR)
    assert labels.vector("file1000001", 3) == (0, 1, 0, 0)
    assert labels.vector("file1000001", 4) == (1, 0, 0, 0)


def test_several_findings_of_a_slice_are_joined_and_a_repeated_row_changes_nothing(tmp_path):
    lines = [
        "file1,3,No,1,2,3,4,Meniscus Tear",
        "file1,3,No,9,9,3,4,Meniscus Tear",
        "file1,3,No,1,2,3,4,Joint Effusion ",
    ]
    labels = label_slices(rows(tmp_path, *lines, lines[0]), ["file1"], FOUR)
    assert labels.vector("file1.h5", 3) == (1, 1, 0, 0)


def test_read_without_a_row_is_no_finding_and_not_read_has_no_label(tmp_path):
    labels = label_slices(rows(tmp_path), ["file1"], FOUR)
    assert labels.vector("file1", 0) == (0, 0, 0, 0)
    with pytest.raises(DataError, match="file2 was not read by the radiologist"):
        labels.vector("file2", 0)


def test_study_level_rows_are_kept_at_slice_0_dropped_or_given_to_every_slice(tmp_path):
    annotations = rows(tmp_path, "file1,0,Yes,,,,,artifact")
    assert annotations == (Annotation("file1", 0, True, None, "artifact"),)
    as_written = label_slices(annotations, ["file1"], FOUR)
    assert [as_written.vector("file1", k)[0] for k in range(3)] == [1, 0, 0]
    dropped = label_slices(annotations, ["file1"], FOUR.model_copy(update={"study_level": "drop"}))
    assert not dropped.positive
    everywhere = FOUR.model_copy(update={"study_level": "every_slice"})
    assert [label_slices(annotations, ["file1"], everywhere, {"file1": 3}).vector("file1", k)[0] for k in range(3)] == [
        1,
        1,
        1,
    ]
    with pytest.raises(DataError, match="expected its n_slices, got none"):
        label_slices(annotations, ["file1"], everywhere)


def test_a_bad_box_is_no_box_and_the_finding_counts(tmp_path):
    annotations = rows(
        tmp_path, "file1002097,27,No,190,201,18,0,Cartilage - Partial", "file1,2,No,-3,4,5,6,Meniscus Tear"
    )
    assert [row.box for row in annotations] == [None, None]
    assert label_slices(annotations, ["file1002097", "file1"], FOUR).vector("file1002097", 27) == (0, 0, 0, 1)


def test_boxes_are_flipped_up_down():
    assert box_in_array((90, 173, 35, 10), 320) == (90, 320 - 173 - 10, 35, 10)
    assert box_in_array(box_in_array((90, 173, 35, 10), 320), 320) == (90, 173, 35, 10)


def test_a_row_of_an_unread_file_or_beyond_the_last_slice_is_an_error(tmp_path):
    annotations = rows(tmp_path, "file1,7,No,1,2,3,4,Meniscus Tear")
    with pytest.raises(DataError, match="not in the list of the 1 files read"):
        label_slices(annotations, ["file2"], FOUR)
    with pytest.raises(DataError, match="annotation at slice 7; expected 0 to 6"):
        label_slices(annotations, ["file1"], FOUR, {"file1": 7})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("file1,x,No,1,2,3,4,Meniscus Tear", "line 2: expected numbers"),
        ("file1,3,Maybe,1,2,3,4,Meniscus Tear", "study_level is 'Maybe'"),
        ("file1,3,No,1,2", "line 2: expected 8 values"),
        ("file1,3,No,1,2,3,4,a,b", "line 2: expected 8 values"),
        ("file1,3,No,1,2,3,4, ", "line 2: the label is empty"),
    ],
)
def test_a_broken_row_is_named(tmp_path, line, message):
    with pytest.raises(DataError, match=message):
        rows(tmp_path, line)


def test_tables_that_a_spreadsheet_saved_are_read(tmp_path):
    table, files = tmp_path / "knee.csv", tmp_path / "knee_file_list.csv"
    table.write_bytes(b"\xef\xbb\xbf" + HEADER.strip().encode() + b"\r\na,1,No,1,2,3,4,Meniscus Tear\r\n")
    files.write_bytes(b"\xef\xbb\xbfa\r\nb\r\n")
    assert [(row.file, row.slice) for row in read_annotations(table)] == [("a", 1)]
    assert read_file_list(files) == ("a", "b")


def test_names_with_a_folder_an_extension_or_dots_are_one_stem(tmp_path):
    names = ("a", "a.h5", "x/a.h5", "1.2.840")
    annotations = rows(tmp_path, *(f"{name},{index},No,1,2,3,4,Meniscus Tear" for index, name in enumerate(names)))
    assert [row.file for row in annotations] == ["a", "a", "a", "1.2.840"]
    (tmp_path / "list.csv").write_text("a.h5\n1.2.840.h5\n")
    read = read_file_list(tmp_path / "list.csv")
    assert read == ("a", "1.2.840")
    labels = label_slices(annotations, read, FOUR)
    assert all(labels.vector("a.h5", index)[1] for index in range(3)) and labels.vector("1.2.840", 3)[1]


def test_another_header_is_an_error(tmp_path):
    path = tmp_path / "knee.csv"
    path.write_text("file,slice,label\n")
    with pytest.raises(DataError, match="has columns"):
        read_annotations(path)


def test_the_stray_last_line_of_the_knee_list_is_no_file(tmp_path):
    path = tmp_path / "knee_file_list.csv"
    path.write_text("file1000001\nfile1002570\nKnee data\n")
    assert read_file_list(path) == ("file1000001", "file1002570")
    path.write_text("knee 01.h5\nKnee data\n")
    assert read_file_list(path) == ("knee 01",)
    path.write_text("\n")
    with pytest.raises(DataError, match="is empty"):
        read_file_list(path)


def test_a_map_with_a_head_that_does_not_exist_is_refused(tmp_path):
    path = tmp_path / "map.yaml"
    text = "{name: m, description: d, source: s, heads: [a], rules: [{head: b, contains: x}], otherwise: null, "
    text += "study_level: drop}"
    path.write_text(text)
    with pytest.raises(ConfigError, match="head 'b' is not one of a"):
        load_label_map(path)
    path.write_text(text.replace("head: b", "head: a"))
    assert isinstance(load_label_map(path), LabelMap)
    with pytest.raises(ConfigError, match=r"no label map '5way'; expected one of .*4way"):
        load_label_map("5way")
