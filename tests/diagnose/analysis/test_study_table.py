"""Blocks of a study become arrays: what does not fit together is refused, what is missing is said."""

from dataclasses import replace

import numpy as np
import pytest

from diagnose.analysis.arms import AnalysisPlan, Arm, Protocol, RunFactors
from diagnose.analysis.planted_study import PlantedStudy
from diagnose.analysis.scores import study_table
from mrisim.errors import DataError

STUDY = PlantedStudy(n_seeds=2, n_patients=12, adaptations={"precise-bn": 0.1})
RSS = Protocol("z-score", "", "rss")


def test_scores_lie_where_their_names_say():
    blocks = STUDY.blocks()
    np.random.default_rng(0).shuffle(blocks)
    table = study_table(blocks, STUDY.runs)
    assert set(table.arms) == {Arm("bn", RSS), Arm("bn", RSS, "precise-bn"), Arm("gn", RSS)}
    for block in blocks:
        run, cell = STUDY.runs[block.cell.run], block.cell
        entry = table.arms[Arm(run.norm, RSS, cell.adaptation)]
        row = entry.seeds.index(run.seed)
        assert entry.runs[row] == cell.run
        if cell.split == "val":
            assert np.array_equal(entry.validation[row], block.scores.T)
        else:
            column = 0 if cell.level == 0 else 1 + table.cells.index((cell.kind, cell.level))
            assert np.array_equal(entry.test[row, column], block.scores.T)
            assert np.array_equal(table.test.labels, block.labels.T)
    assert table.arms[Arm("gn", RSS)].shifted_validation is None


def test_rows_in_another_order_are_brought_into_one():
    blocks = STUDY.blocks()
    order = np.random.default_rng(1).permutation(len(blocks[3].items))
    mixed = replace(
        blocks[3],
        items=tuple(blocks[3].items[row] for row in order),
        patients=blocks[3].patients[order],
        scores=blocks[3].scores[order][:, ::-1],
        labels=blocks[3].labels[order][:, ::-1],
        findings=blocks[3].findings[::-1],
    )
    plain, other = (study_table(each, STUDY.runs) for each in (blocks, [*blocks[:3], mixed, *blocks[4:]]))
    for arm in plain.arms:
        assert np.array_equal(plain.arms[arm].test, other.arms[arm].test)


def test_level_0_of_a_kind_is_clean_or_an_error():
    blocks = STUDY.blocks()
    clean = next(block for block in blocks if block.cell.split == "test" and block.cell.level == 0)
    zero = replace(clean, cell=replace(clean.cell, kind="noise"))
    with_zero, without = study_table([*blocks, zero], STUDY.runs), study_table(blocks, STUDY.runs)
    assert with_zero.cells == without.cells
    wrong = replace(zero, scores=zero.scores + np.float32(1e-3))
    with pytest.raises(DataError, match="noise level 0 differs from clean"):
        study_table([*blocks, wrong], STUDY.runs)


def test_what_does_not_fit_is_refused():
    blocks = STUDY.blocks()
    renamed = {name: run for name, run in STUDY.runs.items() if name != "gn__z-score__seed1"}
    with pytest.raises(DataError, match="gn__z-score__seed1 is in the predictions and no known run"):
        study_table(blocks, renamed)
    with pytest.raises(DataError, match=r"are both gn/z-score/clean/frozen/rss with seed 0; expected one"):
        study_table(blocks, STUDY.runs | {"gn__z-score__seed1": RunFactors("gn", "z-score", "", 0)})
    other = [replace(block, cell=replace(block.cell, level_table="2")) for block in blocks[-1:]]
    with pytest.raises(DataError, match="k-space kinds were made with the level tables 2, planted; expected one"):
        study_table([*blocks[:-1], *other], STUDY.runs)
    with pytest.raises(DataError, match="is there twice"):
        study_table([*blocks, blocks[-1]], STUDY.runs)
    no_clean = [block for block in blocks if (block.cell.run, block.cell.level) != ("gn__z-score__seed0", 0)]
    with pytest.raises(DataError, match="has no clean test rows"):
        study_table(no_clean, STUDY.runs)
    changed = replace(blocks[-1], labels=1 - blocks[-1].labels)
    with pytest.raises(DataError, match="has other labels"):
        study_table([*blocks[:-1], changed], STUDY.runs)


def test_a_cell_that_one_run_lacks_leaves_for_all_and_a_plan_that_needs_it_is_refused():
    blocks = STUDY.blocks()[:-1]
    table = study_table(blocks, STUDY.runs)
    assert table.cells == (("noise", 1), ("noise", 3), ("motion", 1))
    assert table.notes == ("not all runs were evaluated on motion:3: left out for all of them",)
    plan = AnalysisPlan("bn", ("gn",), RSS, levels=(1, 3))
    assert table.cells_of(plan)[0] == ("noise",)  # without named kinds: those that are complete
    with pytest.raises(DataError, match="the table lacks motion:3"):
        table.cells_of(replace(plan, kinds=("noise", "motion")))


def test_image_domain_kinds_are_no_part_of_an_endpoint_unless_named():
    study = replace(STUDY, kinds=("noise", "madaan-rice"))
    table = study_table(study.blocks(), study.runs)
    plan = AnalysisPlan("bn", ("gn",), RSS, levels=(1, 3))
    kinds, levels, columns = table.cells_of(plan)
    assert (kinds, levels) == (("noise",), (1, 3))
    assert columns.tolist() == [[1, 2]]
    assert table.cells_of(replace(plan, kinds=("madaan-rice",)))[2].tolist() == [[3, 4]]


def test_image_domain_kinds_are_the_endpoint_where_there_are_no_others():
    study = replace(STUDY, kinds=("madaan-rice", "madaan-field"))
    table = study_table(study.blocks(), study.runs)
    kinds, levels, columns = table.cells_of(AnalysisPlan("bn", ("gn",), RSS))
    assert (kinds, levels, columns.tolist()) == (study.kinds, (1, 3), [[1, 2], [3, 4]])


def test_levels_of_image_domain_kinds_ask_nothing_of_the_others():
    study = replace(STUDY, kinds=("noise", "madaan-rice"))
    blocks = [block for block in study.blocks() if (block.cell.kind, block.cell.level) != ("noise", 3)]
    kinds, levels, columns = study_table(blocks, study.runs).cells_of(AnalysisPlan("bn", ("gn",), RSS))
    assert (kinds, levels, columns.tolist()) == (("noise",), (1,), [[1]])


def test_each_family_of_kinds_has_one_level_table():
    study = replace(STUDY, kinds=("noise", "madaan-rice"))
    blocks = study.blocks()
    assert {block.cell.level_table for block in blocks} == {"planted", "madaan-planted"}
    assert study_table(blocks, study.runs).level_tables == ("planted", "madaan-planted")
    assert study_table(STUDY.blocks(), STUDY.runs).level_tables == ("planted",)
    for kind, family, found in (
        ("noise", "k-space kinds", "2, planted"),
        ("clean", "k-space kinds", "2, planted"),
        ("madaan-rice", "kinds madaan-...", "2, madaan-planted"),
    ):
        place = next(index for index, block in enumerate(blocks) if block.cell.kind == kind)
        other = replace(blocks[place], cell=replace(blocks[place].cell, level_table="2"))
        with pytest.raises(DataError, match=f"{family} were made with the level tables {found}; expected one"):
            study_table([*blocks[:place], other, *blocks[place + 1 :]], study.runs)


def test_a_finding_of_one_patient_is_left_out_and_few_patients_are_refused_an_interval():
    blocks = []
    for block in STUDY.blocks():
        labels = block.labels.copy()
        if block.cell.split == "test":
            labels[:, 0] = block.patients == "test-3"
        blocks.append(replace(block, labels=labels))
    table = study_table(blocks, STUDY.runs)
    assert table.findings == ("mtear",)
    assert table.notes == ("acl: 1 positive and 11 negative patients in the test split: left out",)
    assert "6 positive patients: at least 10 are needed" in table.refusals[0]


def test_the_operating_point_belongs_to_the_model_whatever_the_reconstruction():
    blocks = [
        replace(block, scores=block.scores + np.float32(block.cell.adaptation == "precise-bn"))
        for block in STUDY.blocks()
    ]
    sense = [replace(block, cell=replace(block.cell, recon="sense")) for block in blocks if block.cell.split == "test"]
    table = study_table([*blocks, *sense], STUDY.runs)
    for arm in (Arm("gn", RSS), Arm("bn", RSS, "precise-bn")):
        other = replace(arm, protocol=replace(RSS, recon="sense"))
        assert np.array_equal(table.arms[arm].validation, table.arms[other].validation)
    assert not np.array_equal(
        table.arms[Arm("bn", RSS)].validation, table.arms[Arm("bn", RSS, "precise-bn")].validation
    )


def test_the_plan_of_a_plain_evaluation():
    runs = {name: RunFactors(name, "z-score", "", 0) for name in ("gn", "none", "bn")}
    plan = AnalysisPlan.of_runs(runs)
    assert (plan.reference, plan.compared, plan.apart) == ("bn", ("gn",), ("none",))
    assert AnalysisPlan.of_runs(runs, reference="gn").family == ("gn", "bn")
    with pytest.raises(DataError, match="no run has the norm 'ln'"):
        AnalysisPlan.of_runs(runs, reference="ln")
