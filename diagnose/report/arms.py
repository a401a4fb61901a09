"""Which arms of a study stand where: those of the primary protocol in front, all others in groups of one protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Arm = Mapping[str, Any]
FROZEN = "frozen"


@dataclass(frozen=True)
class Arms:
    """The arms of analysis.json."""

    rows: tuple[Arm, ...]
    plan: Mapping[str, Any]

    @classmethod
    def of(cls, analysis: Mapping[str, Any]) -> Arms:
        """Return the arms of an analysis."""
        return cls(tuple(analysis["arms"]), analysis["plan"])

    @property
    def shown(self) -> list[Arm]:
        """The reference and the compared norms of the primary protocol, then the norms apart."""
        return [
            *(arm for arm in self.rows if arm["role"] == "primary"),
            *(arm for arm in self.rows if arm["role"] == "apart"),
        ]

    @property
    def reference_variants(self) -> list[Arm]:
        """The reference norm under the primary protocol with each adaptation, frozen first."""
        same = [
            arm
            for arm in self.rows
            if arm["norm"] == self.plan["reference"]
            and all(arm[name] == self.plan[name] for name in ("scaling", "train_shift", "recon"))
        ]
        return sorted(same, key=lambda arm: arm["adaptation"] != FROZEN)

    @property
    def other_protocols(self) -> dict[str, list[Arm]]:
        """The frozen arms of every other input scaling, training shift or reconstruction, by what differs."""
        groups: dict[str, list[Arm]] = {}
        primary = tuple(self.plan[name] for name in ("scaling", "train_shift", "recon"))
        for arm in self.rows:
            protocol = (arm["scaling"], arm["train_shift"], arm["recon"])
            if protocol != primary and arm["adaptation"] == FROZEN:
                groups.setdefault(protocol_title(*protocol), []).append(arm)
        return groups

    def label(self, identity: str) -> str:
        """Return the label of an arm."""
        return next((str(arm["label"]) for arm in self.rows if arm["id"] == identity), identity)

    def known(self, identities: Sequence[str]) -> list[Arm]:
        """Return the arms of some ids, in their order."""
        by_id = {arm["id"]: arm for arm in self.rows}
        return [by_id[identity] for identity in identities if identity in by_id]


def protocol_title(scaling: str, train_shift: str, recon: str) -> str:
    """Return a protocol in words."""
    shift = "clean training" if train_shift in ("", "clean") else f"trained with {train_shift}"
    return f"Input scaling {scaling}, {shift}, reconstruction {recon}"
