"""A study's request: what follows from what, what is refused, and the runs that it expands into."""

import json
from pathlib import Path

import pytest

from diagnose.analysis.comparisons import CLEAN_AUROC, DEGRADATION
from diagnose.norms import NORMS
from diagnose.statistics.metrics import MAX_MISS_RATE
from diagnose.study.demo import demo_study
from diagnose.study.plans import DriftPlan
from diagnose.study.runs import explained_runs, run_label, study_runs, tuning_runs
from diagnose.study.spec import FACTORS, StudySpec, make_study, read_study
from diagnose.study.tuning import choose
from diagnose.training.spec import TrainSpec
from mrisim.artifacts import KINDS
from mrisim.errors import ConfigError, DataError

EXPERIMENT = Path(__file__).parents[3] / "experiments" / "normalization"
SMALL_STUDY = {
    "name": "small", "question": "Is it?", "norms": ["bn", "gn", "ln"], "apart": ["none"],
    "scalings": ["cohort", "z-score"], "seeds": [3, 4], "train": {"width": 8, "epochs": 2},
}  # fmt: skip


def small_study(**changes: object) -> StudySpec:
    return make_study({**SMALL_STUDY, **changes})


def test_what_inference_needs_follows_and_is_written_out():
    plan = small_study(train_shifts=["noise:random", ""], evaluation={"kinds": ["rician"], "levels": [0, 2]}).inference
    assert (plan.reference, plan.compared) == ("bn", ("gn", "ln")), (
        "the family is the norms but for reference and apart"
    )
    assert (plan.scaling, plan.train_shift, plan.reconstruction, plan.adaptation) == (
        "cohort", "noise:random", "rss", "frozen",
    )  # fmt: skip
    assert plan.kinds == ("noise",) and plan.levels == (2,)
    assert plan.secondary == (CLEAN_AUROC.name, DEGRADATION.name), "as the analysis names them"
    assert f"below {MAX_MISS_RATE} " in plan.operating_point
    spec = small_study(inference={"compared": ["ln"], "scaling": "z-score"})
    assert spec.inference.compared == ("ln",) and spec.inference.scaling == "z-score"
    assert "compared:\n  - ln\n" in spec.yaml_text()


def test_image_domain_kinds_are_no_part_of_the_endpoint_unless_it_names_them():
    both = {"kinds": ["noise", "madaan-rice"]}
    assert small_study(evaluation=both).inference.kinds == ("noise",)
    named = small_study(evaluation=both, inference={"kinds": ["noise", "madaan-rice"]})
    assert named.inference.kinds == ("noise", "madaan-rice")
    assert small_study(evaluation={"kinds": ["madaan-rice"]}).inference.kinds == ("madaan-rice",)


def test_yaml_gives_the_same_study_again(tmp_path: Path):
    spec = small_study(tuning={"lr": [1e-3], "weight_decay": [0, 0.1], "seed": 9})
    (tmp_path / "study.yaml").write_text(spec.yaml_text())
    assert read_study(tmp_path / "study.yaml") == spec == read_study(tmp_path)
    assert read_study(tmp_path).identity("data") == spec.identity("data") != spec.identity("other data")
    assert spec.label.startswith("small__") and spec.label != small_study(seeds=[3]).label


def test_settings_win_over_the_file_and_reach_inside(tmp_path: Path):
    (tmp_path / "study.yaml").write_text(small_study().yaml_text())
    settings = ["train.lr=2e-3", "seeds=[1]", "evaluation.levels=[0,3]", "inference.levels=[3]"]
    spec = read_study(tmp_path, settings)
    assert spec.train["lr"] == 0.002 and spec.seeds == (1,) and spec.evaluation.levels == (0, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["norms=[bn,layer]"], "norm is 'layer'; expected one of bn, gn"),
        (["train.learning_rate=1"], "learning_rate: no such setting; expected one of epochs"),
        (["train.norm=gn"], "norm is varied by the study"),
        (["train.epochs=0"], "epochs: .*greater than or equal to 1"),
        (["colour=red"], "colour: Extra inputs"),
        (["seeds=[1,1]"], r"seeds are \[1, 1\]; expected each one once"),
        (["seeds=[]"], "seeds: .*at least 1 item"),
        (["scalings=[minmax]"], "scalings.0: .*'z-score'"),
        (["train_shifts=[noise]"], "expected KIND:LEVEL"),
        (["apart=[gn]"], "gn is among norms and apart"),
        (["evaluation.kinds=[blur]"], "evaluation.kinds: kind is 'blur'"),
        (["evaluation.levels=[0,6]"], "evaluation.levels.1: .*less than or equal to 5"),
        (["evaluation.levels=[0]"], "inference.levels: .*at least 1 item"),
        (["evaluation.reconstructions=[grappa]"], "reconstruction is 'grappa'; expected some of rss"),
        (["evaluation.adaptations=[precise-bn]"], "expected frozen among them"),
        (["evaluation.adaptations=[frozen,tent]"], "adaptation is 'tent'"),
        (["inference.scaling=raw"], "inference.scaling is 'raw'; expected one of 'cohort', 'z-score'"),
        (["inference.compared=[none]"], "inference.compared is 'none'; expected one of 'gn', 'ln'"),
        (["inference.compared=[bn]"], "inference.compared is 'bn'"),
        (["inference.reference=none"], "inference.reference is 'none'"),
        (["inference.correction=none"], "inference.correction: .*'holm'"),
        (["inference.levels=[0,1]"], "inference.levels.0: .*greater than or equal to 1"),
        (["tuning={lr: [1e-3], weight_decay: [0.1], seed: 3}"], "tuning.seed 3 is one of the study's seeds"),
        (["name=../x"], "name: .*pattern"),
        (["name.x=3"], "name has no settings of its own"),
        (["norms"], "expected NAME=VALUE"),
    ],
)
def test_bad_requests_are_refused_by_name(settings: list[str], message: str):
    with pytest.raises(ConfigError, match=message):
        make_study(SMALL_STUDY, settings)


def test_bad_files_are_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"study\.yaml is not there"):
        read_study(tmp_path)
    for text, message in (("- a\n", "holds no settings"), ("a: [", "cannot be read as YAML")):
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(DataError, match=message):
            read_study(tmp_path / "bad.yaml")


def test_runs_are_every_combination_once_whole_seeds_first():
    spec = small_study(train_shifts=["", "noise:3"])
    runs = study_runs(spec)
    assert len(runs) == len({run.name for run in runs}) == 4 * 2 * 2 * 2
    combinations = {(r.spec.norm, r.spec.scaling, r.spec.train_shift, r.spec.seed) for r in runs}
    assert len(combinations) == len(runs)
    assert [run.spec.seed for run in runs] == [3] * 16 + [4] * 16, "a stop half way leaves one seed with every norm"
    for run in runs:
        assert run.spec.model_dump(exclude=set(FACTORS)) == TrainSpec(**spec.train).model_dump(exclude=set(FACTORS))
        assert run.name == run_label(run.spec.norm, run.spec.scaling, run.spec.train_shift, run.spec.seed)
    assert run_label("gn", "z-score", "noise:3", 4) == "gn__z-score__noise-3__seed4"


def test_the_grid_is_the_same_for_every_norm_and_its_choice_holds_for_all_seeds():
    spec = small_study(tuning={"lr": [1e-3, 1e-4], "weight_decay": [0.1, 0.01, 0.0], "seed": 9})
    grid = tuning_runs(spec)
    assert len({run.name for run in grid}) == len(grid) == 6 * 4 * 2
    points = {
        norm: [(run.spec.lr, run.spec.weight_decay, run.spec.scaling) for run in grid if run.spec.norm == norm]
        for norm in spec.all_norms
    }
    assert all(points[norm] == points["bn"] for norm in spec.all_norms)
    assert {run.spec.seed for run in grid} == {9}
    runs = study_runs(spec, {("gn", "cohort"): {"lr": 0.5, "weight_decay": 0.25}})
    chosen = {(run.spec.norm, run.spec.scaling) for run in runs if (run.spec.lr, run.spec.weight_decay) == (0.5, 0.25)}
    assert chosen == {("gn", "cohort")} and sum(run.spec.lr == 0.5 for run in runs) == len(spec.seeds)


def test_formats_are_those_of_the_norm():
    formats = {"gn": {"precision": "bfloat16", "memory_format": "contiguous"}}
    for run in study_runs(small_study(), formats=formats):
        assert (run.spec.precision == "bfloat16") == (run.spec.norm == "gn")


def test_tuning_chooses_by_clean_validation_alone(tmp_path: Path):
    """The test AUROC is highest where validation is lowest: a choice by it would take another point."""
    spec = small_study(
        norms=["bn", "gn"], apart=[], scalings=["z-score"],
        tuning={"lr": [1e-3, 1e-4, 1e-5], "weight_decay": [0.1], "seed": 9},
    )  # fmt: skip
    validation = {"bn": [0.7, 0.9, 0.9], "gn": [0.6, 0.5, None]}
    grid = tuning_runs(spec)
    for run in grid:
        area = validation[run.spec.norm][spec.tuning.lr.index(run.spec.lr)]
        folder = run.folder(tmp_path)
        folder.mkdir(parents=True)
        if area is not None:
            results = {"validation_auroc": area, "mean": {"auroc": 1 - area}, "clean_auroc": {"a": {"auroc": 1 - area}}}
            (folder / "results.json").write_text(json.dumps(results))
            (folder / "DONE").touch()
    chosen = choose(tmp_path, grid)
    assert chosen == {
        ("bn", "z-score"): {"lr": 1e-4, "weight_decay": 0.1},  # a tie: the first of the grid
        ("gn", "z-score"): {"lr": 1e-3, "weight_decay": 0.1},
    }
    record = json.loads((tmp_path / "tuning.json").read_text())
    assert len(record["grid"]) == 6 and "clean validation" in record["criterion"]
    assert [entry["validation_auroc"] for entry in record["grid"] if entry["norm"] == "gn"] == [0.6, 0.5, None]


def test_an_arm_whose_every_point_failed_is_not_chosen_for(tmp_path: Path):
    spec = small_study(tuning={"lr": [1.0], "weight_decay": [0.1], "seed": 9})
    assert choose(tmp_path, tuning_runs(spec)) == {}


def test_parts_of_an_evaluation_are_counted():
    plan = {"kinds": ["noise", "motion"], "levels": [0, 1, 3], "reconstructions": ["rss", "adjoint"]}
    assert small_study(evaluation=plan).evaluation.n_parts == 1 + 2 * (1 + 4)
    assert small_study(evaluation=plan | {"validation_shifts": True}).evaluation.n_parts == 1 + 2 * (1 + 4) + 2 * 4


def test_few_seeds_are_said_to_be_exploratory():
    assert small_study(seeds=[1]).seeds_note == "1 seed: exploratory"
    assert small_study(seeds=[1, 2, 3, 4]).seeds_note == "4 seeds: exploratory"
    assert small_study(seeds=[1, 2, 3, 4, 5]).seeds_note == ""


def test_the_study_at_laptop_scale_is_the_one_that_was_asked_for():
    spec = read_study(EXPERIMENT / "laptop.yaml")
    assert spec.norms == ("bn", "gn", "ln", "in") and spec.apart == ("none",)
    assert spec.scalings == ("z-score", "cohort") and len(spec.seeds) == 5 and spec.seeds_note == ""
    assert (spec.train["width"], spec.train["stem_stride"], spec.train["epochs"]) == (16, 2, 30)
    assert spec.inference.compared == ("gn", "ln", "in") and spec.inference.levels == (1, 2, 3, 4, 5)
    assert spec.evaluation.kinds == tuple(KINDS) and len(spec.evaluation.adaptations) == 3
    assert len(study_runs(spec)) == 50


def test_the_controls_tune_both_norms_and_train_on_corrupted_images_too():
    spec, laptop = (read_study(EXPERIMENT / name) for name in ("controls.yaml", "laptop.yaml"))
    assert (spec.norms, spec.scalings, spec.seeds) == (("bn", "gn"), ("z-score",), laptop.seeds)
    assert spec.train_shifts == ("", "random") and spec.inference.train_shift == ""
    assert spec.tuning is not None and len(tuning_runs(spec)) == 6
    assert {**spec.train, "epochs": 0} == {**laptop.train, "epochs": 0}, "but for the epochs and what is tuned"


def test_the_study_at_paper_scale_has_the_published_grid_and_network():
    text = (EXPERIMENT / "paper.yaml").read_text()
    spec = read_study(EXPERIMENT / "paper.yaml")
    assert "Needs a GPU" in text
    assert (spec.train["width"], spec.train["stem_stride"], spec.train["pooled_size"]) == (64, 1, 10)
    assert (spec.train["crop"], spec.train["patience"], spec.train["schedule"]) == (320, 5, "constant")
    assert spec.tuning.lr == (1e-3, 1e-4, 1e-5, 1e-6) and spec.tuning.weight_decay == (0.1, 0.01, 1e-3, 1e-4, 1e-5)
    assert set(spec.scalings) == {"raw", "z-score"} and spec.seeds == (1, 2, 3, 4, 5)
    assert len(tuning_runs(spec)) == 20 * len(spec.all_norms) * 2


def test_the_demo_is_three_norms_and_every_kind_at_every_level():
    spec = demo_study()
    assert spec.norms == ("bn", "gn", "ln") and len(spec.seeds) == 1
    assert len(spec.evaluation.request().shifts) == 1 + len(KINDS) * 5
    assert demo_study(["train.epochs=3"]).train["epochs"] == 3
    assert set(spec.all_norms) < set(NORMS)


def test_drift_is_asked_at_the_highest_level_unless_the_plan_says_otherwise():
    assert small_study().drift == DriftPlan(levels=(5,))
    assert small_study(evaluation={"levels": [0, 1, 3]}).drift == DriftPlan(levels=(3,))
    assert small_study(drift={"levels": [1, 5], "n_swapped": []}).drift == DriftPlan(levels=(1, 5), n_swapped=())
    assert small_study(drift=None).drift is None


def test_drift_is_measured_in_the_first_seed_of_each_norm_of_the_comparison():
    spec = small_study(scalings=["z-score", "cohort"], inference={"compared": ["ln"]}, apart=[])
    runs = study_runs(spec)
    assert [run.name for run in explained_runs(spec, runs)] == ["bn__z-score__seed3", "ln__z-score__seed3"]
    later = [run for run in runs if run.spec.seed == 4]
    assert [run.name for run in explained_runs(spec, later)] == ["bn__z-score__seed4", "ln__z-score__seed4"]
    assert explained_runs(spec, []) == []
