"""Run a study: train every run in a local queue, evaluate all on the same pixels, measure drift, analyse, report.

It can be killed at any moment: the same command goes on, and ends with the same tables. A run that fails is listed in
failures.jsonl and the rest go on; it is tried again when the study is taken up again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diagnose.claimed_folder import give_up, given_up_on_error
from diagnose.cost_estimate import as_time
from diagnose.dataset import SliceTable, load_slice_table
from diagnose.evaluate import PARTS, OpenEvaluation, is_evaluated
from diagnose.run_folder import DONE, DataLocation
from diagnose.slice_images import Shift, image_store, split_images
from diagnose.study.queue import Ended, QueueWatch, run_queue
from diagnose.study.runs import StudyRun, explained_runs, fixed_formats, study_runs, tuning_runs
from diagnose.study.spec import DRIFT, EVALUATION, RUNS, StudySpec
from diagnose.study.state import (
    FAILURES,
    STUDY_MARK,
    failures,
    has_trained,
    is_finished,
    locked,
    note_failure,
    note_running,
    open_study,
)  # fmt: skip
from diagnose.study.timing import PhaseTimes
from diagnose.study.tuning import choose
from diagnose.study.worker import Task
from diagnose.torch_device import CPU, resolve_device
from diagnose.training.spec import TrainSpec
from mrisim.errors import ConfigError, DataError
from mrisim.output_folder import discard


@dataclass(frozen=True, eq=False)
class StudyResult:
    """What a study left."""

    folder: Path
    n_runs: int
    n_finished: int
    failures: list[dict[str, Any]]
    analysis: dict[str, Any] | None
    """None where no run was finished."""
    report: Path | None
    times: PhaseTimes


def study_slices(spec: StudySpec, location: DataLocation) -> SliceTable:
    """Return the slices that all runs of a study share."""
    return load_slice_table(TrainSpec(**spec.train).data_request(location.root, location.labels, location.split))


def run_study(
    spec: StudySpec, location: DataLocation, folder: Path, *, n_workers: int = 1, overwrite: bool = False,
    device: str = CPU, say: Callable[[str], None] = lambda text: None, cohort_seconds: float | None = None,
) -> StudyResult:  # fmt: skip
    """Run a study, or what is left of it.

    Parameters
    ----------
    spec : StudySpec
    location : DataLocation
    folder : Path
        Where the study lies; see `diagnose.study.state`.
    n_workers : int
        Processes at a time, each with ``spec.n_threads`` threads. The tables do not depend on it.
    overwrite : bool
        Replace another study that lies there; it is kept until this one is finished, and nothing of it failed.
    device : str
        Of all processes: auto, cpu, cuda or cuda:N (`diagnose.torch_device`).
    say : callable
        Told a line for each run that ends.
    cohort_seconds : float, optional
        What making the data took: a phase of its own in timing.json.

    Raises
    ------
    DataError, ConfigError
        If data or request cannot be used, or the evaluation fails.
    """
    if n_workers < 1:
        raise ConfigError(f"workers is {n_workers}; expected 1 or more")
    device = resolve_device(device)
    table = study_slices(spec, location)
    open_study(folder, spec, table.identity, location, overwrite=overwrite)
    with given_up_on_error(folder, STUDY_MARK, lambda: has_trained(folder), say):
        with locked(folder, say) as lock:
            (folder / FAILURES).unlink(missing_ok=True)
            work = _Work(spec, location, folder, n_workers, device, lock, say, PhaseTimes(folder))
            if cohort_seconds is not None:
                work.times.add("cohort", cohort_seconds)
            for note in table.notes:
                say(f"note: {note}")
            result = work.result(table)
        if is_finished(folder):
            discard(folder)
        else:
            give_up(folder, STUDY_MARK, kept=has_trained(folder), say=say)
    return result


@dataclass(frozen=True, eq=False)
class _Work:
    """A study under way."""

    spec: StudySpec
    location: DataLocation
    folder: Path
    n_workers: int
    device: str
    lock: int
    say: Callable[[str], None]
    times: PhaseTimes

    def result(self, table: SliceTable) -> StudyResult:
        """Do what is left of the study, or as much of it as can be done."""
        runs = self.trained(table)
        finished = [run for run in runs if (run.folder(self.folder) / DONE).exists()]
        analysis, report = None, None
        if finished:
            self.evaluate(finished)
            self.explain(finished)
            analysis, report = self.report()
        return StudyResult(self.folder, len(runs), len(finished), failures(self.folder), analysis, report, self.times)

    def trained(self, table: SliceTable) -> list[StudyRun]:
        """Tune and train; return the runs of the study, whether or not each one ended well."""
        # Made once, here: workers that start together would each make their own.
        with self.times.phase("training"):
            store = image_store(self.spec.train["crop"], n_threads=self.n_workers * self.spec.n_threads)
            images = [split_images(table.of_split(split), Shift(), store) for split in ("train", "val", "test")]
            rows, columns = images[0].shape[1:]
            formats = fixed_formats(self.spec, table, (rows, columns), self.folder, self.device)
        chosen = None
        if self.spec.tuning is not None:
            with self.times.phase("tuning"):
                chosen = self._tune(tuning_runs(self.spec, formats))
        runs = study_runs(self.spec, chosen, formats)
        ready = [run for run in runs if chosen is None or (run.spec.norm, run.spec.scaling) in chosen]
        for run in runs:
            if run not in ready:
                self._fail(run.name, RUNS, 0, "no point of the tuning grid could be trained for this norm and scaling")
        with self.times.phase("training"):
            self._train(ready)
        return runs

    def _tune(self, grid: list[StudyRun]) -> dict[tuple[str, str], dict[str, float]]:
        for ended in self._train(grid):
            # A loss that diverges is an answer about that point; a worker that was killed is none.
            if ended.exit_code != ConfigError.exit_code:
                raise DataError(
                    f"tuning run {ended.task.name} failed ({ended.reason}); the same command tries it again"
                )
        return choose(self.folder, grid)

    def _train(self, runs: list[StudyRun]) -> list[Ended]:
        """Train what is not finished; return the runs that failed."""
        pending = [run for run in runs if not (run.folder(self.folder) / DONE).exists()]
        tasks = [
            self._task(run.name, "train", {"folder": str(run.folder(self.folder)), "spec": run.spec.model_dump()})
            for run in pending
        ]
        seconds: list[float] = []

        def on_end(ended: Ended) -> None:
            seconds.append(ended.seconds)
            n_left = len(pending) - len(seconds)
            left = f"{n_left} to go, about {as_time(sum(seconds) / len(seconds) * n_left / self.n_workers)}"
            what = f"{len(runs) - n_left}/{len(runs)} {ended.task.name}"
            if ended.exit_code:
                stage = next(run.stage for run in pending if run.name == ended.task.name)
                self._fail(ended.task.name, stage, ended.exit_code, ended.reason)
                self.say(f"{what} failed: {ended.reason}; {left}")
            else:
                self.say(f"{what} finished in {as_time(ended.seconds)}; {left}")

        if len(pending) < len(runs):
            self.say(f"{len(runs) - len(pending)} of {len(runs)} runs are finished")
        return [ended for ended in self._run(tasks, on_end=on_end) if ended.exit_code]

    def evaluate(self, finished: list[StudyRun]) -> None:
        """Evaluate the finished runs, a share of the shifts in each worker; what was evaluated is kept."""
        runs, out = [run.folder(self.folder) for run in finished], self.folder / EVALUATION
        request = self.spec.evaluation.request()
        if is_evaluated(runs, request, out):
            return
        with self.times.phase("evaluation"):
            evaluation = OpenEvaluation.begin(
                runs,
                request,
                out,
                data=self.location,
                overwrite=True,
                n_threads=self.spec.n_threads,
                device=self.device,
            )
            n_said = [0]

            def on_wait() -> None:
                n_done = len(list((out / PARTS).glob("*.npz")))
                if n_done > n_said[0]:
                    n_said[0] = n_done
                    self.say(f"evaluation: {n_done}/{len(evaluation.parts)} shifts")

            self._in_shares("evaluate", runs, out, {"request": self.spec.evaluation.model_dump(mode="json")}, on_wait)
            evaluation.finish()

    def explain(self, finished: list[StudyRun]) -> None:
        """Measure the drift in one run of each norm of the comparison; what was measured is kept."""
        plan, runs = self.spec.drift, [run.folder(self.folder) for run in explained_runs(self.spec, finished)]
        if plan is None or not runs:
            return
        from diagnose.drift.analyse import analyse_drift, begin_analysis

        evaluation, reconstruction = self.spec.evaluation, self.spec.inference.reconstruction
        out, request = self.folder / DRIFT, plan.request(evaluation, reconstruction)
        values = {
            "drift": plan.model_dump(mode="json"), "evaluation": evaluation.model_dump(mode="json"),
            "reconstruction": reconstruction,
        }  # fmt: skip
        self.say(f"drift: {', '.join(run.name for run in runs)}")
        with self.times.phase("drift"):
            # Opened once, here: workers that start together would each open it.
            begin_analysis(runs, request, out, data=self.location, overwrite=True, device=self.device)
            self._in_shares("drift", runs, out, values)
            analyse_drift(runs, request, out, data=self.location, n_threads=self.spec.n_threads, device=self.device)

    def _in_shares(
        self, action: str, runs: list[Path], out: Path, values: dict[str, Any],
        on_wait: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        """Let every worker do a share of one piece of work."""
        values = {"runs": [str(run) for run in runs], "out": str(out), "n_shards": self.n_workers, **values}
        shares = range(self.n_workers)
        tasks = [self._task(f"{out.name}-{shard}", action, {**values, "shard": shard}) for shard in shares]
        for ended in self._run(tasks, on_wait=on_wait):
            if ended.exit_code:
                self._fail(ended.task.name, out.name, ended.exit_code, ended.reason)
                raise DataError(f"the {out.name} failed: {ended.reason}; the same command tries it again")

    def _task(self, name: str, action: str, values: dict[str, Any]) -> Task:
        return Task(name, action, self.location, self.spec.n_threads, values, self.device)

    def report(self) -> tuple[dict[str, Any], Path]:
        """Analyse the frozen table and write the report."""
        from diagnose.analysis.analyse import analyse_study
        from diagnose.report import write_report

        self.say("analysing")
        with self.times.phase("analysis"):
            analysis = analyse_study(self.folder)
        with self.times.phase("report"):
            report = write_report(self.folder, say=self.say)
        return analysis, report

    def _run(
        self, tasks: list[Task], *, on_end: Callable[[Ended], None] = lambda ended: None,
        on_wait: Callable[[], None] = lambda: None,
    ) -> list[Ended]:  # fmt: skip
        watch = QueueWatch(lambda names: note_running(self.folder, names), on_end, on_wait)
        return run_queue(tasks, self.folder, self.n_workers, lock=self.lock, watch=watch)

    def _fail(self, name: str, stage: str, exit_code: int, reason: str) -> None:
        note_failure(self.folder, {"run": name, "stage": stage, "exit_code": exit_code, "reason": reason})
