"""Describe the artifact kinds from the union itself, so that help and code cannot drift apart."""

from typing import Any

from mrisim.artifacts import ALIASES, KINDS
from mrisim.artifacts.base import level_table

_BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}


def describe_kinds() -> list[dict[str, Any]]:
    """Return every kind: what it does, parameters with units and bounds, and its levels."""
    tables = level_table()["kinds"]
    described = []
    for name, spec in KINDS.items():
        schema = spec.model_json_schema()["properties"]
        parameters = [
            _parameter(field, schema[field], spec.model_fields[field].default)
            for field in spec.model_fields
            if field not in ("kind", "level")
        ]
        described.append(
            {
                "kind": name,
                "aliases": [alias for alias, target in ALIASES.items() if target == name],
                "summary": (spec.__doc__ or "").strip().splitlines()[0],
                "stage": spec.stage.name.lower(),
                "scope": spec.scope,
                "parameters": parameters,
                "levels": tables[name],
            }
        )
    return described


def lines() -> list[str]:
    """Return the description as text."""
    text = []
    for kind in describe_kinds():
        also = f" (also: {', '.join(kind['aliases'])})" if kind["aliases"] else ""
        table = kind["levels"]
        values = table["values"][table["n_coils"].index(8) if len(table["values"]) > 1 else 0]
        text += [
            f"{kind['kind']}{also}: {kind['summary']}",
            f"    levels 1..5: {table['parameter']} = {', '.join(f'{value:g}' for value in values)}"
            + (" (8 coils)" if len(table["values"]) > 1 else ""),
        ]
        for parameter in kind["parameters"]:
            bounds = f" [{parameter['bounds']}]" if parameter["bounds"] else ""
            text.append(
                f"    {parameter['name']} = {parameter['default']}{bounds}  {parameter['description']}".rstrip()
            )
    return text


def _parameter(name: str, schema: dict[str, Any], default: Any) -> dict[str, Any]:
    options = [schema, *schema.get("anyOf", [])]
    bounds = ", ".join(f"{sign} {entry[key]:g}" for entry in options for key, sign in _BOUNDS.items() if key in entry)
    choices = next((entry["enum"] for entry in options if "enum" in entry), None)
    return {
        "name": name,
        "default": str(default) if isinstance(default, float) else default,
        "bounds": " | ".join(choices) if choices else bounds,
        "description": schema.get("description", ""),
    }
