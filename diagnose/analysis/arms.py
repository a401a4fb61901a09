"""What stands behind the runs of a prediction table: norm, protocol, seed, and which of them the study compares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from diagnose.statistics.metrics import LEARNT_AUROC
from diagnose.study.spec import StudySpec
from mrisim.errors import DataError

FROZEN = "frozen"
PUBLISHED_PREFIX = "madaan-"
"""Kinds that act on the image, as released with the first paper: shown beside the others, and no part of an endpoint
unless a plan names them or there are no others. Their level table is their own."""


@dataclass(frozen=True)
class RunFactors:
    """What a study varies between runs."""

    norm: str
    scaling: str
    train_shift: str
    seed: int

    @classmethod
    def of(cls, spec: Any) -> RunFactors:
        """Take the factors from a `TrainSpec`."""
        return cls(spec.norm, spec.scaling, spec.train_shift, spec.seed)


@dataclass(frozen=True)
class Protocol:
    """What two norms must share to be compared."""

    scaling: str
    train_shift: str
    recon: str

    @property
    def label(self) -> str:
        """``z-score/clean/rss``."""
        return f"{self.scaling}/{self.train_shift or 'clean'}/{self.recon}"


@dataclass(frozen=True)
class Arm:
    """A norm under one protocol and adaptation, whatever the seed."""

    norm: str
    protocol: Protocol
    adaptation: str = FROZEN

    @property
    def id(self) -> str:
        """``gn/z-score/clean/frozen/rss``."""
        shift = self.protocol.train_shift or "clean"
        return f"{self.norm}/{self.protocol.scaling}/{shift}/{self.adaptation}/{self.protocol.recon}"

    @property
    def label(self) -> str:
        """``gn``, or ``bn+precise-bn``."""
        return self.norm if self.adaptation == FROZEN else f"{self.norm}+{self.adaptation}"

    @property
    def frozen(self) -> Arm:
        """The same with the statistics of training."""
        return Arm(self.norm, self.protocol)


@dataclass(frozen=True)
class AnalysisPlan:
    """What is compared with what; fixed before training."""

    reference: str
    compared: tuple[str, ...]
    """The family of Holm's correction."""
    protocol: Protocol
    kinds: tuple[str, ...] | None = None
    """Of the endpoint; None: all of the table but those of `PUBLISHED_PREFIX`, or these where it has no others."""
    levels: tuple[int, ...] = (1, 2, 3, 4, 5)
    apart: tuple[str, ...] = ()
    learnt_auroc: float = LEARNT_AUROC
    n_draws: int = 1000

    @property
    def family(self) -> tuple[str, ...]:
        """The reference, then the compared norms: what one of them has not learnt leaves for all."""
        return (self.reference, *self.compared)

    @classmethod
    def of_study(cls, study: StudySpec) -> AnalysisPlan:
        """Take the plan from a resolved study."""
        plan = study.inference
        return cls(
            reference=plan.reference,
            compared=tuple(plan.compared),
            protocol=Protocol(plan.scaling, plan.train_shift, plan.reconstruction),
            kinds=tuple(plan.kinds),
            levels=tuple(plan.levels),
            apart=tuple(norm for norm in study.all_norms if norm not in (plan.reference, *plan.compared)),
            learnt_auroc=plan.learnt_auroc,
        )

    @classmethod
    def of_runs(
        cls, runs: Mapping[str, RunFactors], *, reference: str | None = None, recon: str = "rss"
    ) -> AnalysisPlan:
        """Make the plan of a plain evaluation: the protocol of most runs, all norms against bn, or else the first.

        Parameters
        ----------
        runs : mapping
        reference : str, optional
            A norm.
        recon : str
            The reconstruction that norms are compared in.

        Raises
        ------
        DataError
            If there is no run, or none of the reference.
        """
        norms = list(dict.fromkeys(run.norm for run in runs.values()))
        if not norms:
            raise DataError("no run to analyse; expected at least one")
        base = reference or ("bn" if "bn" in norms else norms[0])
        if base not in norms:
            raise DataError(f"no run has the norm {base!r}; expected the reference to be one of {', '.join(norms)}")
        scaling, train_shift = _most_common((run.scaling, run.train_shift) for run in runs.values())
        apart = tuple(norm for norm in norms if norm == "none" and norm != base)
        compared = tuple(norm for norm in norms if norm != base and norm not in apart)
        return cls(base, compared, Protocol(scaling, train_shift, recon), apart=apart)


def _most_common(pairs: Iterable[tuple[str, str]]) -> tuple[str, str]:
    """Return the most common pair, the first of equals."""
    counts: dict[tuple[str, str], int] = {}
    for pair in pairs:
        counts[pair] = counts.get(pair, 0) + 1
    return max(counts, key=lambda pair: counts[pair])
