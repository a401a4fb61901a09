"""The analysis of a study: planted effects are found, nulls are not, identities hold exactly, refusals say why."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.stats import norm as norm_law
from scipy.stats import t as student_t

from diagnose.analysis import matching
from diagnose.analysis.analyse import MEAN, analyse, analyse_study
from diagnose.analysis.arms import AnalysisPlan, Arm, Protocol
from diagnose.analysis.comparisons import CLEAN_AUROC, DEGRADATION, ENDPOINT, RETAINED, run_figures
from diagnose.analysis.endpoints import NO_FINDING, study_aurocs
from diagnose.analysis.heat_map import heat_map
from diagnose.analysis.planted_study import PlantedStudy
from diagnose.analysis.scores import study_table
from diagnose.evaluation.prediction_table import write_table
from diagnose.evaluation.shift_results import shift_results
from diagnose.statistics.clustered_auc import AucComponents
from diagnose.statistics.inference import ShiftedScores, compare_norms
from diagnose.statistics.metrics import auroc, brier_score, fit_calibration
from diagnose.statistics.multireader import ONE_SEED
from diagnose.study.spec import make_study
from diagnose.training.spec import TrainSpec
from mrisim.errors import DataError

RSS = Protocol("z-score", "", "rss")
LEVELS = (1, 3)
FULL = PlantedStudy(norms=("bn", "gn", "in", "none"), effect={"gn": 0.5, "none": -1.2}, adaptations={"precise-bn": 0.5})


def plan_of(study, **changes):
    compared = tuple(norm for norm in study.norms if norm not in ("bn", "none"))
    return replace(AnalysisPlan("bn", compared, RSS, levels=LEVELS, apart=("none",), n_draws=400), **changes)


def analysed(study, **changes):
    return analyse(study.blocks(), study.runs, plan_of(study, **changes))


def rows(table, **wanted):
    return [row for row in table if all(row[key] == value for key, value in wanted.items())]


def arm_id(norm, adaptation="frozen"):
    return Arm(norm, RSS, adaptation).id


def comparisons(record, name):
    (table,) = rows(record["descriptive"], name=name)
    return {row["norm"]: row for row in table["comparisons"]}


def changed(blocks, change, split="test"):
    """Apply a function of a block to the blocks of a split."""
    return [change(block) if block.cell.split == split else block for block in blocks]


@pytest.fixture(scope="module")
def full():
    return analysed(FULL)


def test_a_planted_effect_is_found_and_a_null_is_not(full):
    gn, null = full["primary"]["comparisons"]
    assert (gn["norm"], null["norm"]) == ("gn", "in")
    assert gn["p_holm"] < 0.01 and gn["low"] > 0 and null["p_holm"] > 0.05 and null["low"] < 0 < null["high"]
    cells = full["heat_map"]["cells"]
    assert all(cell["flagged"] == (cell["arm"] == arm_id("gn")) for cell in cells) and len(cells) == 2 * 2 * 2
    assert {cell["p_kind"] for cell in cells} == {"max-T"}
    assert comparisons(full, "degradation")["gn"]["low"] > 0 > comparisons(full, "clean AUROC")["gn"]["low"]


def test_only_the_primary_table_is_corrected_and_only_over_the_compared_norms(full):
    p = [row["p"] for row in full["primary"]["comparisons"]]
    assert [row["p_holm"] for row in full["primary"]["comparisons"]] == pytest.approx([2 * min(p), max(p)], rel=1e-6)
    assert all(row["p_holm"] is None for table in full["descriptive"] for row in table["comparisons"])
    assert all("descriptive" in table["text"] for table in full["descriptive"])


def test_an_adaptation_of_bn_takes_the_lead_away(full):
    adapted = comparisons(full, "reference with precise-bn")
    assert adapted["gn"]["low"] < 0 < adapted["gn"]["high"] and adapted["bn"]["high"] < 0
    assert adapted["gn"]["reference_norm"] == "bn+precise-bn"
    assert full["adaptation_text"].startswith("bn was also evaluated as bn+precise-bn")
    alone = analysed(replace(FULL, adaptations={}, norms=("bn", "gn")))
    assert "without these rows, a difference of a norm to BN is no finding" in alone["adaptation_text"]


def test_a_norm_apart_is_shown_and_enters_nothing_else(full):
    without = analysed(replace(FULL, norms=("bn", "gn", "in")))
    for key in ("primary", "heat_map", "matched"):
        assert full[key] == without[key]
    assert {row["measure"] for row in rows(full["descriptive"], name="apart")[0]["comparisons"]} == {
        "endpoint", "clean AUROC", "degradation", "retained discrimination",
    }  # fmt: skip
    assert rows(full["arms"], norm="none")[0]["role"] == "apart"


def test_what_a_norm_apart_has_not_learnt_leaves_its_own_rows_only(full):
    def spoil(block):
        if block.cell.run[:4] != "none":
            return block
        scores = block.scores.copy()
        scores[:, 0] = np.random.default_rng(0).normal(size=len(scores))
        return replace(block, scores=scores)

    record = analyse(changed(FULL.blocks(), spoil), FULL.runs, plan_of(FULL))
    for key in ("primary", "heat_map", "matched"):
        assert record[key] == full[key]
    for table in full["descriptive"]:
        if table["name"] != "apart":
            assert table in record["descriptive"]
    (mean,), (mtear,) = (
        rows(record["dose_response"], arm=arm_id("none"), kind="noise", level=3, finding=name)
        for name in (MEAN, "mtear")
    )
    assert mean["seed_values"] == mtear["seed_values"]
    bn = [rows(record["dose_response"], arm=arm_id("bn"), kind=kind, level=level, finding="mtear")[0]["value"]
          for kind in FULL.kinds for level in LEVELS]  # fmt: skip
    none = [rows(record["dose_response"], arm=arm_id("none"), kind=kind, level=level, finding="mtear")[0]["value"]
            for kind in FULL.kinds for level in LEVELS]  # fmt: skip
    difference = rows(record["descriptive"], name="apart")[0]["comparisons"][0]["difference"]
    assert difference == pytest.approx(np.mean(none) - np.mean(bn), abs=1e-6)


def test_bands_of_the_heat_map_hold_the_standard_errors_of_seeds_and_patients():
    study = PlantedStudy(norms=("bn", "gn"), interaction_sd=0.3)
    table = study_table(study.blocks(), study.runs)
    heat = heat_map(study_aurocs(table, plan_of(study)))
    scores = np.stack([table.arms[Arm(norm, RSS)].test for norm in study.norms])
    for column, cell in enumerate(heat["cells"], start=1):
        one = ShiftedScores(scores[:, :, [column]][:, :, None], table.test.labels, table.test.patients, study.norms)
        (result,) = compare_norms(one, np.ones((2, 5, 2)))
        deviate = student_t.isf(norm_law.sf(heat["critical"]), result.degrees_of_freedom)
        assert cell["difference"] == pytest.approx(result.difference)
        assert (cell["high"] - cell["low"]) / 2 == pytest.approx(deviate * result.standard_error)
    assert heat["critical"] > 2  # one cell alone would have 1.96


def test_figures_are_means_over_seeds_of_what_scikit_style_areas_give():
    study = replace(FULL, norms=("bn", "gn"), n_seeds=3)
    record, areas = analysed(study), {}
    for block in study.blocks():
        if block.cell.split == "test":
            run = study.runs[block.cell.run]
            key = (run.norm, block.cell.adaptation, run.seed, block.cell.kind, block.cell.level)
            areas[key] = [float(auroc(block.scores[:, f], block.labels[:, f])) for f in range(2)]

    def mean(norm, kind, level, adaptation="frozen"):
        return np.mean([areas[norm, adaptation, seed, kind, level] for seed in range(3)])

    def endpoint(norm):
        return np.mean([mean(norm, kind, level) for kind in study.kinds for level in LEVELS])

    (dose,) = rows(record["dose_response"], arm=arm_id("bn", "precise-bn"), kind="motion", level=3, finding=MEAN)
    assert dose["value"] == pytest.approx(mean("bn", "motion", 3, "precise-bn"), abs=1e-6)
    (clean,) = rows(record["clean"], arm=arm_id("gn"), finding="mtear")
    assert clean["seed_values"] == pytest.approx([areas["gn", "frozen", s, "clean", 0][1] for s in range(3)], abs=1e-6)
    assert clean["seed_sd"] == pytest.approx(np.std(clean["seed_values"], ddof=1), rel=1e-4)
    difference = endpoint("gn") - endpoint("bn")
    assert record["primary"]["comparisons"][0]["difference"] == pytest.approx(difference, abs=1e-6)
    clean_difference = mean("gn", "clean", 0) - mean("bn", "clean", 0)
    assert comparisons(record, "clean AUROC")["gn"]["difference"] == pytest.approx(clean_difference, abs=1e-6)
    assert comparisons(record, "degradation")["gn"]["difference"] == pytest.approx(
        difference - clean_difference, abs=1e-6
    )
    (error,) = rows(record["corruption_error"], arm=arm_id("gn"))
    by_kind = [
        sum(1 - mean("gn", kind, level) for level in LEVELS) / sum(1 - mean("bn", kind, level) for level in LEVELS)
        for kind in study.kinds
    ]
    assert [row["ce"] for row in error["kinds"]] == pytest.approx(by_kind, rel=1e-5)
    assert error["mce"] == pytest.approx(100 * np.mean(by_kind), rel=1e-5) and error["mce_low"] < error["mce"]
    relative = [
        sum(mean("gn", "clean", 0) - mean("gn", kind, level) for level in LEVELS)
        / sum(mean("bn", "clean", 0) - mean("bn", kind, level) for level in LEVELS)
        for kind in study.kinds
    ]
    assert error["relative_mce"] == pytest.approx(100 * np.mean(relative), rel=1e-4)


def test_the_variance_of_the_retained_share_agrees_with_a_jackknife_over_patients():
    study = replace(FULL, norms=("bn",), n_seeds=2, adaptations={})
    plan = plan_of(study, n_draws=1)

    def figures(blocks, measure):
        aurocs = study_aurocs(study_table(blocks, study.runs), plan)
        return run_figures(aurocs, Arm("bn", RSS), (0, 1), measure, Arm("bn", RSS))

    blocks = study.blocks()
    patients = np.unique(next(block for block in blocks if block.cell.split == "test").patients)
    for measure in (RETAINED, DEGRADATION, ENDPOINT, CLEAN_AUROC):
        left_out = []
        for patient in patients[:: 1 if measure == RETAINED else 6]:

            def without(block, patient=patient):
                kept = block.patients != patient
                items = tuple(item for item, keep in zip(block.items, kept, strict=True) if keep)
                return replace(
                    block, items=items, patients=block.patients[kept], scores=block.scores[kept],
                    labels=block.labels[kept],
                )  # fmt: skip

            left_out.append(figures(changed(blocks, without), measure).auc)
        n = len(patients)
        if measure == RETAINED:
            jackknife = (n - 1) ** 2 / n * np.cov(np.array(left_out).T)
            np.testing.assert_allclose(figures(blocks, measure).covariance(), jackknife, rtol=0.12)
        else:
            spread = (n - 1) ** 2 / n * np.cov(np.array(left_out).T)
            np.testing.assert_allclose(figures(blocks, measure).covariance(), spread, rtol=1.5)


def test_the_reference_has_an_mce_of_100_and_no_interval_beside_it(full):
    (error,) = rows(full["corruption_error"], arm=arm_id("bn"))
    assert (error["mce"], error["mce_low"], error["mce_high"]) == (100.0, 100.0, 100.0)
    assert error["relative_mce"] == 100.0 and [row["ce"] for row in error["kinds"]] == [1.0, 1.0]


def test_an_identity_artifact_costs_nothing():
    study = replace(FULL, norms=("bn", "gn"), adaptations={})
    clean = {block.cell.run: block for block in study.blocks() if block.cell.split == "test" and not block.cell.level}
    blocks = changed(study.blocks(), lambda block: replace(block, scores=clean[block.cell.run].scores))
    record = analyse(blocks, study.runs, plan_of(study))
    for dose in record["dose_response"]:
        (zero,) = rows(record["dose_response"], arm=dose["arm"], finding=dose["finding"], level=0)
        for key in ("value", "low", "high", "seed_values"):
            assert dose[key] == zero[key]
        assert (dose["retained"]["value"], dose["retained"]["low"], dose["retained"]["high"]) == (1, 1, 1)
    for name, nothing in (("degradation", 0), ("retained discrimination", 0)):
        row = comparisons(record, name)["gn"]
        assert (row["difference"], row["low"], row["high"], row["p"]) == (nothing, 0, 0, 1)
    (error,) = rows(record["corruption_error"], arm=arm_id("gn"))
    assert error["relative_mce"] is None and error["relative_reason"].startswith("undefined")
    assert not record["worst_flips"]["flips"]


def test_a_norm_that_is_the_reference_in_disguise_differs_nowhere():
    study = replace(FULL, norms=("bn", "gn"), adaptations={})
    copies = [
        replace(block, cell=replace(block.cell, run=block.cell.run.replace("bn", "gn")))
        for block in study.blocks()
        if block.cell.run.startswith("bn")
    ]
    blocks = [block for block in study.blocks() if block.cell.run.startswith("bn")] + copies
    record = analyse(blocks, study.runs, plan_of(study))
    (row,) = record["primary"]["comparisons"]
    assert (row["difference"], row["low"], row["high"], row["p"]) == (0, 0, 0, 1)
    for cell in record["heat_map"]["cells"]:
        assert (cell["difference"], cell["low"], cell["high"], cell["p"], cell["flagged"]) == (0, 0, 0, 1, False)
    assert rows(record["corruption_error"], arm=arm_id("gn"))[0]["mce"] == 100.0


def test_permuted_labels_give_one_half_and_no_statement():
    study = replace(FULL, norms=("bn", "gn"), adaptations={})
    order = np.random.default_rng(5).permutation(study.n_patients * study.n_slices)
    blocks = changed(study.blocks(), lambda block: replace(block, labels=block.labels[order]))
    record = analyse(blocks, study.runs, plan_of(study))
    findings = [row for row in record["clean"] if row["finding"] != MEAN]
    assert len(findings) == 4 and all(row["low"] < 0.5 < row["high"] for row in findings)
    assert not any(row["learnt"] or row["used"] for row in record["learnt"])
    assert [row["message"] for row in record["primary"]["comparisons"]] == [NO_FINDING]
    assert record["heat_map"]["reason"] == NO_FINDING and record["corruption_error"] == []
    assert all(row["value"] is None for row in record["dose_response"] if row["finding"] == MEAN)
    assert any("no finding that all compared norms learnt" in note for note in record["notes"])


def test_one_seed_makes_no_statement_about_norms_and_agrees_with_the_run_s_own_report():
    study = replace(FULL, norms=("bn", "gn"), n_seeds=1, adaptations={})
    record = analysed(study, n_draws=1000)
    assert [row["message"] for row in record["primary"]["comparisons"]] == [ONE_SEED]
    assert all(row["p"] is None and row["low"] is None for row in record["primary"]["comparisons"])
    assert record["heat_map"]["reason"] == ONE_SEED
    assert not any(cell["flagged"] for cell in record["heat_map"]["cells"])
    assert record["matched"] == {"reason": "2 norms with 1 paired seeds: too few runs for a slope"}
    own = {(row.run[:2], row.kind, row.level, row.finding): row for row in shift_results(study.blocks(), n_draws=1000)}
    for dose in record["dose_response"]:
        row = own[dose["arm"][:2], dose["kind"], dose["level"], dose["finding"]]
        assert (dose["value"], dose["low"], dose["high"]) == pytest.approx((row.auroc, row.low, row.high), abs=1e-6)
        assert dose["interval"] == "patients" and dose["reason"] == ONE_SEED
        assert dose["retained"]["value"] == pytest.approx(row.retained, abs=1e-6)
    for entry in record["operating_point"]["clean"]:
        if entry["finding"] != MEAN:
            row, balanced = (
                own[entry["arm"][:2], entry["kind"], entry["level"], entry["finding"]],
                entry["balanced_accuracy"],
            )
            expected = (row.balanced_accuracy, row.balanced_accuracy_low, row.balanced_accuracy_high)
            assert (balanced["value"], balanced["low"], balanced["high"]) == pytest.approx(expected, abs=1e-6)
            assert entry["sensitivity"]["value"] == pytest.approx(row.sensitivity, abs=1e-6)


def test_few_patients_get_no_interval_and_the_reason():
    record = analysed(replace(FULL, n_patients=14, norms=("bn", "gn"), adaptations={}))
    assert "7 positive patients: at least 10 are needed" in record["data"]["findings"][0]["refusal"]
    assert "acl: 7 positive patients" in record["primary"]["comparisons"][0]["message"]
    estimates = [*record["clean"], *record["dose_response"], *record["primary"]["endpoints"]]
    estimates += [row["balanced_accuracy"] for row in record["operating_point"]["clean"]]
    assert all(row["low"] is None and "at least 10 are needed" in row["reason"] for row in estimates)
    assert all(cell["low"] is None and not cell["flagged"] for cell in record["heat_map"]["cells"])
    assert all(row["mce_low"] is None and row["relative_mce"] is None for row in record["corruption_error"])


def with_shifted_validation(study, blocks, offset=0.0):
    """Add validation rows under every shift: the clean ones with an offset."""
    for block in [block for block in blocks if block.cell.split == "val"]:
        blocks = [*blocks, *(
            replace(block, cell=replace(block.cell, kind=kind, level=level), scores=block.scores + np.float32(offset))
            for kind in study.kinds for level in LEVELS
        )]  # fmt: skip
    return blocks


def on_few_patients(present: int, n_patients: int):
    """Return a change of blocks: exams of the first finding with that label are of so many patients."""

    def change(block):
        wanted = block.labels[:, 0] == present
        kept = ~wanted | np.isin(block.patients, np.unique(block.patients[wanted])[:n_patients])
        return replace(
            block, items=tuple(np.array(block.items)[kept].tolist()), patients=block.patients[kept],
            scores=block.scores[kept], labels=block.labels[kept],
        )  # fmt: skip

    return change


@pytest.mark.parametrize("present", [0, 1])
@pytest.mark.parametrize("n_patients", [9, 10])
def test_few_validation_patients_refuse_the_intervals_of_decisions_and_leave_their_points(
    present: int, n_patients: int
):
    study = replace(FULL, norms=("bn", "gn"), n_seeds=2, adaptations={})
    blocks = changed(study.blocks(), on_few_patients(present, n_patients), split="val")
    record = analyse(with_shifted_validation(study, blocks), study.runs, plan_of(study))
    points, name = record["operating_point"], ("negative", "positive")[present]
    for table, split in (("clean", "validation"), ("retuned", "shifted validation")):
        reason = f"9 {name} patients of {split}: at least 10 are needed for an interval" if n_patients < 10 else ""
        for finding, said in (("acl", reason), ("mtear", ""), (MEAN, reason and f"acl: {reason}")):
            found = rows(points[table], finding=finding)
            assert found and all(row["balanced_accuracy"]["value"] > 0.5 for row in found)
            for row in found:
                for rate in ("sensitivity", "specificity", "balanced_accuracy"):
                    assert (row[rate]["low"] is None) == bool(said)
                    assert row[rate]["reason"] == (said or "2 seeds: exploratory, at least 5 are advised")
    assert points["clean_reason"] == (
        f"acl: 9 {name} patients of validation: at least 10 are needed for an interval" if n_patients < 10 else ""
    )
    assert all(row["low"] is not None for row in record["dose_response"]), "no threshold enters an AUROC"


def test_a_finding_without_a_threshold_leaves_the_mean_of_the_others():
    study = replace(FULL, norms=("bn",), n_seeds=2, adaptations={})
    blocks = changed(study.blocks(), on_few_patients(1, 0), split="val")
    points = analyse(blocks, study.runs, plan_of(study))["operating_point"]
    assert not rows(points["clean"], finding="acl")
    for mean, other in zip(rows(points["clean"], finding=MEAN), rows(points["clean"], finding="mtear"), strict=True):
        assert mean["balanced_accuracy"] == other["balanced_accuracy"] and mean["balanced_accuracy"]["low"] is not None


@pytest.mark.parametrize("n_seeds", [1, 3])
def test_separated_exams_get_no_interval_of_width_0(n_seeds: int):
    study = replace(FULL, norms=("bn", "gn"), n_seeds=n_seeds, adaptations={})

    def separate(block):
        return (
            replace(block, scores=np.where(block.labels == 1, 9, block.scores - 9)) if not block.cell.level else block
        )

    record = analyse(changed(study.blocks(), separate), study.runs, plan_of(study))
    for row in record["clean"]:
        assert (row["value"], row["low"], row["high"], row["interval"]) == (1, None, None, "")
        assert row["reason"] == "1 in every run: this leaves no variance to estimate an interval from"


def test_a_finding_that_one_run_has_not_learnt_leaves_its_seed_in_every_norm():
    study = replace(FULL, norms=("bn", "gn"), adaptations={"precise-bn": 0.1})

    def spoil(block):
        if block.cell.run != "gn__z-score__seed2":
            return block
        scores = block.scores.copy()
        scores[:, 0] = np.random.default_rng(0).normal(size=len(scores))
        return replace(block, scores=scores)

    record = analyse(changed(study.blocks(), spoil), study.runs, plan_of(study))
    assert {(row["norm"], row["finding"]) for row in record["learnt"] if not row["learnt"]} == {("gn", "acl")}
    assert {(row["norm"], row["seed"], row["finding"]) for row in record["learnt"] if not row["used"]} == {
        ("gn", 2, "acl"), ("bn", 2, "acl"),
    }  # fmt: skip
    for arm in (arm_id("bn"), arm_id("gn"), arm_id("bn", "precise-bn")):
        assert rows(record["dose_response"], arm=arm, finding="acl", level=1)[0]["seeds"] == [0, 1, 3, 4]
        (mean,) = rows(record["dose_response"], arm=arm, finding=MEAN, level=1, kind="noise")
        (other,) = rows(record["dose_response"], arm=arm, finding="mtear", level=1, kind="noise")
        assert mean["seeds"] == [0, 1, 2, 3, 4] and mean["seed_values"][2] == other["seed_values"][2]


def test_runs_without_a_pair_are_named_and_left_out_of_the_comparison():
    blocks = [block for block in FULL.blocks() if block.cell.run != "in__z-score__seed4"]
    record = analyse(blocks, FULL.runs, plan_of(FULL))
    assert {tuple(row["seeds"]) for row in record["primary"]["comparisons"]} == {(0, 1, 2, 3)}
    assert "bn: seed 4 has no pair in every norm: not compared" in record["notes"]
    assert record["primary"]["comparisons"][0]["message"].startswith("4 seeds: exploratory")


def test_matching_takes_off_exactly_what_the_clean_auroc_explains(monkeypatch):
    study = replace(FULL, norms=("bn", "gn", "in"), adaptations={})
    aurocs = study_aurocs(study_table(study.blocks(), study.runs), plan_of(study, n_draws=1))
    rng = np.random.default_rng(0)
    clean = {norm: 0.9 + 0.02 * rng.normal(size=5) for norm in study.norms}
    clean["in"] = clean["in"] - 0.2
    of_seed = rng.normal(size=5)
    own = {norm: offset for norm, offset in zip(study.norms, (0.0, 0.1, -0.05), strict=True)}

    def figures(_, arm, seeds, measure, by):
        values = clean[arm.norm] if measure == CLEAN_AUROC else 0.7 * clean[arm.norm] + own[arm.norm] + of_seed
        nothing = 1e-6 * np.random.default_rng(1).normal(size=(5, 2, 4))
        return AucComponents(values, nothing, nothing, ("a", "b", "c", "d"))

    monkeypatch.setattr(matching, "run_figures", figures)
    record = matching.matched(aurocs)
    assert record["slope"] == pytest.approx(0.7) and record["slope_standard_error"] == pytest.approx(0, abs=1e-12)
    assert [row["difference"] for row in record["comparisons"]] == pytest.approx([0.1, -0.05])
    assert [row["overlap"] for row in record["comparisons"]] == [True, False]


def test_a_norm_that_is_only_better_trained_is_not_more_robust_at_matched_clean_auroc():
    study = replace(FULL, norms=("bn", "gn"), effect={}, head_start={"gn": 0.25}, interaction_sd=0.25, adaptations={})
    record = analysed(study)
    (plain,), (row,) = record["primary"]["comparisons"], record["matched"]["comparisons"]
    assert plain["low"] > 0 and row["low"] < 0 < row["high"] and row["difference"] < plain["difference"]


@pytest.mark.slow
def test_no_cell_of_a_null_heat_map_is_flagged_in_19_of_20_studies():
    flagged = 0
    for seed in range(150):
        study = PlantedStudy(norms=("bn", "gn", "in"), seed=seed)
        aurocs = study_aurocs(study_table(study.blocks(), study.runs), plan_of(study))
        flagged += any(cell["flagged"] for cell in heat_map(aurocs)["cells"])
    assert flagged / 150 < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 150)


def test_calibration_is_fitted_on_clean_validation_and_bought_nothing_else():
    study = replace(FULL, norms=("bn",), n_seeds=2, adaptations={})
    record = analysed(study)
    blocks = {(b.cell.run, b.cell.split, b.cell.kind, b.cell.level): b for b in study.blocks()}
    expected = []
    for run in study.runs:
        validation, shifted = blocks[run, "val", "clean", 0], blocks[run, "test", "motion", 3]
        fit = fit_calibration(validation.scores[:, 1], validation.labels[:, 1])
        expected.append(brier_score(fit.probabilities(shifted.scores[:, 1]), shifted.labels[:, 1]))
    (row,) = rows(record["calibration"]["rows"], kind="motion", level=3, finding="mtear")
    assert row["brier"] == pytest.approx(np.mean(expected), abs=1e-6) and row["brier"] < row["brier_raw"]
    (mean,) = rows(record["calibration"]["rows"], kind="motion", level=3, finding=MEAN)
    (other,) = rows(record["calibration"]["rows"], kind="motion", level=3, finding="acl")
    assert mean["ece"] == pytest.approx((row["ece"] + other["ece"]) / 2, abs=1e-6)
    assert len(record["calibration"]["fits"]) == 4


def test_a_re_tuned_threshold_needs_shifted_validation_rows_and_repairs_an_offset():
    study = replace(FULL, norms=("bn",), n_seeds=2, adaptations={})
    assert analysed(study)["operating_point"]["retuned"] == []
    assert "not in the table" in analysed(study)["operating_point"]["retuned_reason"]
    offset = np.float32(-3)

    def shift(block):
        return replace(block, scores=block.scores + offset) if block.cell.level else block

    blocks = with_shifted_validation(study, changed(study.blocks(), shift), offset)
    points = analyse(blocks, study.runs, plan_of(study))["operating_point"]
    (fixed,), (tuned,) = (rows(points[name], kind="noise", level=1, finding=MEAN) for name in ("clean", "retuned"))
    assert fixed["sensitivity"]["value"] < 0.2 and tuned["sensitivity"]["value"] > 0.75
    assert not rows(points["retuned"], kind="clean") and points["retuned_reason"] == ""


def test_the_worst_flip_is_the_planted_one():
    study = replace(FULL, norms=("bn", "gn"), adaptations={})
    labels = next(block for block in study.blocks() if block.cell.split == "test").labels
    target = int(np.flatnonzero(labels[:, 1])[3])

    def plant(block):
        scores = block.scores.copy()
        scores[target, 1] = (
            -9.0 if (block.cell.run[:2], block.cell.kind, block.cell.level) == ("gn", "motion", 1) else 9.0
        )
        return replace(block, scores=scores)

    record = analyse(changed(study.blocks(), plant), study.runs, plan_of(study))
    flips = record["worst_flips"]["flips"]
    (mine,) = [flip for flip in flips if flip["norm"] == "gn" and flip["kind"] == "motion"]
    assert (mine["finding"], mine["level"], mine["n_seeds_flipped"], mine["label"]) == ("mtear", 1, 5, 1)
    assert mine["item"] == f"test_{target // 3:03d}/{target % 3:03d}" and mine["score_change"] == -18
    assert (mine["file"], mine["slice"]) == (f"test_{target // 3:03d}", target % 3)
    assert len({flip["item"] for flip in flips}) == len(flips) <= 12


def write_study(folder: Path, study: PlantedStudy) -> None:
    write_table(folder / "evaluation" / "predictions.csv.gz", study.blocks())
    for name, run in study.runs.items():
        spec = TrainSpec(norm=run.norm, scaling=run.scaling, seed=run.seed)
        (folder / "runs" / name).mkdir(parents=True)
        (folder / "runs" / name / "config.yaml").write_text(yaml.safe_dump(spec.model_dump()))
    spec = make_study({
        "name": "planted", "question": "which?", "norms": ["bn", "gn"], "apart": ["none"], "seeds": [0, 1, 2],
        "evaluation": {"kinds": ["noise", "motion"], "levels": [0, 1, 3]},
    })  # fmt: skip
    (folder / "study.yaml").write_text(spec.yaml_text())


def test_a_study_folder_is_analysed_to_equal_bytes_and_what_is_missing_is_said(tmp_path: Path):
    study = replace(FULL, norms=("bn", "gn"), n_seeds=3, n_patients=30)
    write_study(tmp_path, study)
    record = analyse_study(tmp_path)
    written = (tmp_path / "analysis.json").read_bytes()
    assert json.loads(written) == record
    analyse_study(tmp_path)
    assert (tmp_path / "analysis.json").read_bytes() == written
    assert record["notes"][0].startswith("3 of 9 runs are not in the table: none z-score clean seed 0")
    assert record["simulated"] is None and record["plan"]["apart"] == ["none"]
    assert record["plan"]["kinds"] == ["noise", "motion"] and record["plan"]["levels"] == [1, 3]


def test_simulated_data_are_said_to_be_simulated(tmp_path: Path):
    study = replace(FULL, norms=("bn", "gn"), n_seeds=3, n_patients=14)
    write_study(tmp_path / "study", study)
    (tmp_path / "cohort").mkdir()
    for run in (tmp_path / "study" / "runs").iterdir():
        (run / "location.json").write_text(json.dumps({"root": str(tmp_path / "cohort")}))
    assert analyse_study(tmp_path / "study")["simulated"] is False
    (tmp_path / "cohort" / "dataset.json").write_text(json.dumps({"origin": "simulated: every score is"}))
    record = analyse_study(tmp_path / "study")
    assert record["simulated"] is True and record["flag"].startswith("simulation result")
    assert str(tmp_path) not in (tmp_path / "study" / "analysis.json").read_text()


def test_both_level_tables_are_carried_and_image_domain_kinds_leave_the_endpoint_as_it_is():
    study = replace(FULL, norms=("bn", "gn"), n_seeds=2, adaptations={}, kinds=("noise", "madaan-rice"))
    record = analyse(study.blocks(), study.runs)
    assert record["data"]["level_tables"] == ["planted", "madaan-planted"]
    assert record["plan"]["kinds"] == ["noise"] and record["kinds"] == ["noise", "madaan-rice"]
    alone = analyse(replace(study, kinds=("noise",)).blocks(), study.runs)
    assert record["primary"]["endpoints"][0]["value"] == alone["primary"]["endpoints"][0]["value"]
    released = analyse(replace(study, kinds=("madaan-rice",)).blocks(), study.runs)
    assert released["plan"]["kinds"] == ["madaan-rice"] and released["primary"]["comparisons"][0]["n_seeds"] == 2


def test_a_plain_evaluation_without_rss_is_compared_in_its_own_reconstruction():
    study = PlantedStudy(norms=("bn", "gn"), n_seeds=2, n_patients=24, n_slices=2, levels=(2,))
    plain = analyse(study.blocks(), study.runs)

    def into(recon):
        return lambda block: replace(block, cell=replace(block.cell, recon=recon))

    sense = changed(study.blocks(), into("sense"))  # validation stays that of training
    record = analyse(sense, study.runs)
    assert record["plan"]["recon"] == "sense"
    (entry,), (expected,) = (each["primary"]["comparisons"] for each in (record, plain))
    assert entry["difference"] == expected["difference"] and entry["n_seeds"] == 2
    more = [block for block in sense if block.cell.split == "test"]
    assert analyse([*more, *study.blocks()], study.runs)["plan"]["recon"] == "rss", "the base where it is there"


def test_a_plain_evaluation_needs_no_plan():
    study = PlantedStudy(norms=("gn", "bn"), n_seeds=2, n_patients=24, n_slices=2, levels=(2,))
    record = analyse(study.blocks(), study.runs)
    assert record["plan"]["reference"] == "bn" and record["plan"]["levels"] == [2]
    assert [row["norm"] for row in record["primary"]["comparisons"]] == ["gn"]
    with pytest.raises(DataError, match="no run"):
        analyse(study.blocks(), {})
