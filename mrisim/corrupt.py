"""The one orchestrator: a clean scan, some artifacts and a seed become a corrupted scan and its provenance."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mrisim.artifacts import KINDS, ArtifactSpec, spec_class
from mrisim.artifacts.base import Stage
from mrisim.errors import ConfigError
from mrisim.fourier import Array, array_module, current_device, keep_freed_memory, to_device
from mrisim.reference import reference_of
from mrisim.scan import ObjectModel, Scan
from mrisim.seeding import stream
from mrisim.slice_batches import corrupted_at_once
from mrisim.worker_threads import SIDE_BY_SIDE, worker_threads

POOR_FIT = 0.10
"""Model-fit error ||y - E x|| / ||y|| above which the user is warned."""


@dataclass(frozen=True)
class Request:
    """One artifact as a user asks for it: `--kind motion:3 --param motion.trajectory=drift`."""

    kind: str
    level: int
    parameters: tuple[tuple[str, Any], ...] = ()

    def spec(self, n_coils: int) -> ArtifactSpec:
        """Return the physical spec for a scan with this number of coils."""
        return spec_class(self.kind).at_level(self.level, n_coils=n_coils, **dict(self.parameters))


@dataclass(frozen=True)
class Realisation:
    """One artifact as it happened: its spec, which of several of its kind it is, and every random number."""

    spec: ArtifactSpec
    occurrence: int
    latents: dict[int, Any]
    """Latents by slice id; a volume kind has one entry, under -1."""

    def of_slice(self, slice_id: int) -> Any:
        """Return the latents that act on a slice."""
        return self.latents[-1] if -1 in self.latents else self.latents[slice_id]


@dataclass(frozen=True)
class ModelFit:
    """How the object in its coils was modelled, and how well that explains the input."""

    csm_origin: str
    shading_moves_with_object: bool
    relative_error: tuple[float, ...]
    """||y - E x|| / ||y|| of each slice."""


@dataclass(frozen=True)
class Corrupted:
    """A corrupted scan and how it came about."""

    scan: Scan
    realisations: tuple[Realisation, ...]
    object_model: ModelFit | None
    """The model of the object in its coils, where a kind needed one."""
    notes: tuple[str, ...]


def corrupt(
    scan: Scan,
    artifacts: Sequence[ArtifactSpec],
    *,
    seed: int = 0,
    item_id: str = "scan",
    slices: Sequence[int] | None = None,
    device: str = "cpu",
    n_threads: int = 1,
) -> Corrupted:
    """Corrupt a scan: draw all latents on the clean volume, then apply them in physical order, some slices at a time.

    Parameters
    ----------
    scan : Scan
        The clean input; it is never changed.
    artifacts : sequence of ArtifactSpec
        In any order; a kind named twice acts twice, with a stream of its own.
    seed : int
    item_id : str
        Names the scan in the random streams: equal names and seeds give equal latents.
    slices : sequence of int, optional
        Positions of the slices to return; their samples are the same as in a run over the whole volume.
    device : str
        "cpu", "cuda" or "cuda:N"; the result lies on the CPU.
    n_threads : int
        Groups of slices (`mrisim.slice_batches`) corrupted at a time; it does not change the result.

    Returns
    -------
    Corrupted
        Without an effective artifact the input arrays themselves, no arithmetic done.

    Raises
    ------
    ConfigError, DataError
        If the artifacts do not fit each other or the scan.
    """
    realisations = draw(scan, artifacts, seed=seed, item_id=item_id)
    return apply(scan, realisations, slices=slices, device=device, n_threads=n_threads)


def draw(scan: Scan, artifacts: Sequence[ArtifactSpec], *, seed: int, item_id: str) -> tuple[Realisation, ...]:
    """Draw the latents of every artifact that has an effect, in physical order, from the clean volume."""
    try:
        stream(seed)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    effective = [spec for spec in artifacts if not spec.is_identity]
    if not effective:
        return ()
    scan = replace(scan, reference=reference_of(scan))
    occurrences: Counter[str] = Counter()
    drawn = []
    for spec in sorted(effective, key=_physical_order):
        occurrence = occurrences[spec.kind]
        occurrences[spec.kind] += 1
        names = (item_id, spec.kind, occurrence, spec.scope)
        if spec.scope == "volume":
            latents = {-1: spec.draw(scan, rng=stream(seed, *names))}
        else:
            latents = {
                slice_id: spec.draw(scan.select([position]), rng=stream(seed, *names, slice_id))
                for position, slice_id in enumerate(scan.slice_ids)
            }
        drawn.append(Realisation(spec, occurrence, latents))
        # What is drawn later lands on the samples that are still acquired; its units stay those of the clean input.
        scan = replace(scan, sampled=spec.sampled_after(scan, next(iter(latents.values()))))
    return tuple(drawn)


def apply(
    scan: Scan,
    realisations: Sequence[Realisation],
    *,
    slices: Sequence[int] | None = None,
    device: str = "cpu",
    n_threads: int = 1,
) -> Corrupted:
    """Apply drawn artifacts to a scan; deterministic, and the same for any split of the slices.

    Raises
    ------
    ConfigError
        If `slices` is empty.
    """
    if slices is not None:
        if not len(slices):
            raise ConfigError("slices is empty; expected at least one position")
        scan = scan.select(slices)
    if not realisations:
        return Corrupted(scan, (), None, ())

    def corrupted(positions: range) -> _CorruptedSlices:
        with current_device(device):  # each thread has its own
            return _corrupt_slices(scan.select(positions), realisations, device)

    sharing = any(realisation.spec.slices_share for realisation in realisations)
    groups = _groups(scan, n_threads, device, sharing)
    keep_freed_memory()
    if min(n_threads, len(groups)) > 1:
        with worker_threads(n_threads) as pool:
            parts = list(pool.map(corrupted, groups))
    else:  # the memory of a new thread has to be asked for anew: a fifth of the time
        with SIDE_BY_SIDE:
            parts = [corrupted(positions) for positions in groups]
    first = parts[0].scan
    whole = replace(
        scan,
        kspace=np.concatenate([part.scan.kspace for part in parts]),
        sampled=first.sampled,
        noise_covariance=first.noise_covariance,
        reference=None,
    )
    fit = _model_fit([part.model for part in parts if part.model is not None])
    idle = [r for index, r in enumerate(realisations) if not any(part.effective[index] for part in parts)]
    return Corrupted(whole, tuple(realisations), fit, (*_notes(fit), *map(_no_effect, idle)))


def _groups(scan: Scan, n_threads: int, device: str, sharing: bool) -> list[range]:
    """Return the positions of the slices that are corrupted at a time, enough groups for all threads."""
    slice_bytes = scan.n_coils * scan.sampled.size * np.dtype(np.complex64).itemsize
    at_once = min(corrupted_at_once(slice_bytes, device, sharing=sharing), -(-scan.n_slices // max(1, n_threads)))
    return [range(start, min(start + at_once, scan.n_slices)) for start in range(0, scan.n_slices, at_once)]


@dataclass(frozen=True)
class _CorruptedSlices:
    scan: Scan
    model: ObjectModel | None
    effective: tuple[bool, ...]
    """Whether each artifact changed a sample."""


def _corrupt_slices(part: Scan, realisations: Sequence[Realisation], device: str) -> _CorruptedSlices:
    model = None
    part = replace(part, kspace=to_device(part.kspace, device))
    if any(realisation.spec.needs_object_model for realisation in realisations):
        from mrisim.object_model import estimate_object

        model = estimate_object(part, device=device)
        part = replace(part, object_model=model)
    effective = [False] * len(realisations)
    for index in _lines_dropped_first(realisations):
        before, part = part, _applied(part, realisations[index])
        # coil by coil: most kinds are seen in the first
        pairs = zip(_coil_by_coil(part), _coil_by_coil(before), strict=True)
        effective[index] = any(bool((a != b).any()) for a, b in pairs)
    done = replace(part, kspace=to_device(part.kspace, "cpu"), object_model=None)
    return _CorruptedSlices(done, model, tuple(effective))


def _applied(part: Scan, realisation: Realisation) -> Scan:
    """Apply one artifact: to all slices at once, or to each with latents of its own."""
    spec = realisation.spec
    if spec.scope == "volume" or part.n_slices == 1:
        return spec.apply(part, realisation.of_slice(part.slice_ids[0]))
    slices = [
        spec.apply(part.select([position]), realisation.of_slice(slice_id))
        for position, slice_id in enumerate(part.slice_ids)
    ]
    kspace = array_module(part.kspace).concatenate([one.kspace for one in slices])
    return replace(part, kspace=kspace, noise_covariance=slices[0].noise_covariance)


def _coil_by_coil(scan: Scan) -> Array:
    return scan.kspace.reshape(-1, *scan.matrix)


def _lines_dropped_first(realisations: Sequence[Realisation]) -> list[int]:
    """Return the order to compute in: what selects samples comes first, so that nothing is computed to be dropped.

    Samples do not mix before the line errors, and those follow the selection anyway: the result is the same.
    """
    return sorted(range(len(realisations)), key=lambda index: realisations[index].spec.stage != Stage.SAMPLING)


def _no_effect(realisation: Realisation) -> str:
    return f"{realisation.spec.kind} changed no sample: with these parameters it has no effect on this scan"


def _physical_order(spec: ArtifactSpec) -> tuple[int, int]:
    return spec.stage, list(KINDS).index(spec.kind)


def _model_fit(models: Sequence[ObjectModel]) -> ModelFit | None:
    if not models:
        return None
    errors = tuple(error for model in models for error in model.relative_error)
    return ModelFit(models[0].csm_origin, any(model.shading_moves_with_object for model in models), errors)


def _notes(fit: ModelFit | None) -> tuple[str, ...]:
    if fit is None or max(fit.relative_error) <= POOR_FIT:
        return ()
    return (
        f"the object model misses {max(fit.relative_error):.1%} of the k-space (warning above {POOR_FIT:.0%}): "
        f"{fit.csm_origin} coil maps, sampling or noise are poor, and what moves is approximate",
    )
