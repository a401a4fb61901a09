"""The artifact kinds: the union `Artifact` is the whole registry.

A new kind is one file, one name in the union below, one mirrored test.
"""

from typing import Annotated, get_args

from pydantic import Field, TypeAdapter

from mrisim.artifacts.base import ArtifactSpec, Check, Stage, kind_name
from mrisim.artifacts.bias_field import BiasField
from mrisim.artifacts.ghosting import Ghosting
from mrisim.artifacts.motion import Motion
from mrisim.artifacts.noise import Noise
from mrisim.artifacts.spikes import Spikes
from mrisim.artifacts.undersampling import Undersampling
from mrisim.errors import ConfigError

Artifact = Annotated[
    Noise | Motion | Ghosting | Spikes | Undersampling | BiasField,
    Field(discriminator="kind"),
]
"""Any artifact: the field `kind` tells which."""

ARTIFACT: TypeAdapter[Artifact] = TypeAdapter(Artifact)
"""Reads any artifact from JSON or from a dict, by its `kind`."""

KINDS: dict[str, type[ArtifactSpec]] = {kind_name(spec): spec for spec in get_args(get_args(Artifact)[0])}
"""Spec class of each kind, in the order of the union."""

ALIASES = {"rician": "noise"}
"""Other names that users know a kind by."""


def spec_class(kind: str) -> type[ArtifactSpec]:
    """Return the spec class of a kind, or of an alias.

    Raises
    ------
    ConfigError
        If there is no such kind; the message lists the kinds.
    """
    try:
        return KINDS[ALIASES.get(kind, kind)]
    except KeyError:
        raise ConfigError(f"kind is {kind!r}; expected one of {', '.join([*KINDS, *ALIASES])}") from None


__all__ = ["ALIASES", "ARTIFACT", "KINDS", "Artifact", "ArtifactSpec", "Check", "Stage", "kind_name", "spec_class"]
