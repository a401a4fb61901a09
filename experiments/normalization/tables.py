"""Print the tables behind this folder's README, from a finished study, as Markdown.

python experiments/normalization/tables.py STUDY > results/NAME.md

Clean AUROC, endpoints, every comparison, equal clean AUROC, mCE, decisions, heat map; and what swapped statistics of
batch norm recover, where STUDY/drift is there.
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path

MEAN = "mean of learnt"
PLACE = ("run", "kind", "level", "gain")


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    lines = [list(head), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def interval(row: dict, digits: int = 3) -> str:
    """Return a value with its interval, where there is one."""
    value = row.get("value", row.get("difference"))
    if value is None:
        return "-"
    text = f"{value:.{digits}f}"
    return text if row.get("low") is None else f"{text} [{row['low']:.{digits}f}, {row['high']:.{digits}f}]"


def labels_of(record: dict) -> dict[str, str]:
    """Return a short name of each arm: norm, and what is not as in the primary comparison."""
    plan = record["plan"]
    return {
        arm["id"]: ", ".join(
            [
                arm["norm"] + ("" if arm["adaptation"] == "frozen" else f"+{arm['adaptation']}"),
                *([arm["scaling"]] if arm["scaling"] != plan["scaling"] else []),
                *([f"trained on {arm['train_shift'] or 'clean'}"] if arm["train_shift"] != plan["train_shift"] else []),
            ]
        )
        for arm in record["arms"]
    }


def clean_table(record: dict, labels: dict[str, str]) -> str:
    """Return the clean AUROC of every arm and finding."""
    findings = list(dict.fromkeys(row["finding"] for row in record["clean"]))
    found = {(row["arm"], row["finding"]): row for row in record["clean"]}
    return table(
        ["clean AUROC", *findings],
        ([label, *(interval(found.get((arm, name), {})) for name in findings)] for arm, label in labels.items()),
    )


def comparison_table(record: dict) -> str:
    """Return every difference of two norms: the primary ones, the descriptive ones, and those at equal clean AUROC."""
    groups = [("primary", record["primary"]["comparisons"])]
    groups += [(group["name"], group["comparisons"]) for group in record["descriptive"]]
    groups += [("primary at equal clean AUROC", (record["matched"] or {}).get("comparisons", []))]

    def p_of(row: dict) -> str:
        parts = [("p", row.get("p")), ("Holm", row.get("p_holm"))]
        return ", ".join(f"{name} {value:.4f}" for name, value in parts if value is not None)

    rows = []
    for name, comparisons in groups:
        for row in comparisons:
            what = f"{name}: {row['measure']}" if "measure" in row else name
            rows.append([what, f"{row['norm']} - {row['reference_norm']}", interval(row), p_of(row), row["message"]])
    return table(["what", "difference", "with interval", "p (only Holm's is corrected)", "note"], rows)


def error_table(record: dict, labels: dict[str, str]) -> str:
    """Return the mean corruption error of every arm."""
    rows = []
    for row in record["corruption_error"]:
        bounds = "" if row["mce_low"] is None else f" [{row['mce_low']:.1f}, {row['mce_high']:.1f}]"
        rows.append([labels[row["arm"]], "-" if row["mce"] is None else f"{row['mce']:.1f}{bounds}"])
    return table(["arm", f"mCE ({record['plan']['reference']} = 100)"], rows)


def decision_table(record: dict, labels: dict[str, str]) -> str:
    """Return decisions, clean and at the highest level, as fixed and re-tuned: each finding in the primary arms."""
    highest, points = max(record["levels"]), record["operating_point"]
    primary = {row["arm"] for row in record["primary"]["endpoints"]}
    retuned = {(row["arm"], row["kind"], row["level"], row["finding"]): row for row in points["retuned"] or []}
    rows = []
    for row in points["clean"] or []:
        if row["level"] not in (0, highest) or not (row["finding"] == MEAN or row["arm"] in primary):
            continue
        again = retuned.get((row["arm"], row["kind"], row["level"], row["finding"]), {})
        rows.append([
            labels[row["arm"]], f"{row['kind']} {row['level']}", row["finding"],
            *(interval(row[name], 2) for name in ("sensitivity", "specificity", "balanced_accuracy")),
            interval(again.get("balanced_accuracy") or {}, 2),
        ])  # fmt: skip
    head = ["arm", "shift", "finding", "sensitivity", "specificity", "balanced accuracy", "the same, re-tuned"]
    return table(head, rows)


def heat_map_table(record: dict, labels: dict[str, str]) -> str:
    """Return the difference to the reference by kind and level; `*` where the simultaneous band leaves 0 out."""
    rows = (
        [labels[cell["arm"]], cell["kind"], str(cell["level"]), interval(cell) + (" *" if cell["flagged"] else "")]
        for cell in record["heat_map"]["cells"]
    )
    return table(["arm", "kind", "level", f"minus {record['plan']['reference']}, simultaneous band"], rows)


def swap_table(drift: dict) -> str:
    """Return what batch norm gains when frozen statistics are replaced by those of the shifted images."""
    rows = [row for row in drift["swap"] if row["finding"] == MEAN]
    swaps = list(dict.fromkeys(row["swap"] for row in rows if row["swap"] != "frozen"))
    lines = []
    for place in dict.fromkeys(tuple(row[name] for name in PLACE) for row in rows):
        mine = {row["swap"]: row for row in rows if tuple(row[name] for name in PLACE) == place}
        run, kind, level, gain = place
        gains = [
            interval({"value": mine[name]["minus_frozen"], "low": mine[name]["minus_frozen_low"],
                      "high": mine[name]["minus_frozen_high"]})
            for name in swaps
        ]  # fmt: skip
        shift = f"{kind} {level}" if gain == 1 else f"gain {gain:g}"
        lines.append([run, shift, f"{mine['frozen']['auroc']:.3f}", *gains])
    return table(["run", "shift", "frozen", *swaps], lines)


def report(record: dict, drift: dict | None) -> str:
    """Return all tables, each with what it is."""
    labels = labels_of(record)
    endpoints = (
        [labels[row["arm"]], interval(row), ", ".join("-" if v is None else f"{v:.3f}" for v in row["seed_values"])]
        for row in record["primary"]["endpoints"]
    )
    parts = [
        ("Clean AUROC", clean_table(record, labels)),
        (record["primary"]["text"], table(["arm", "endpoint", "by seed"], endpoints)),
        ("Differences", comparison_table(record)),
        ("Corruption error", error_table(record, labels)),
        (f"Decisions. {record['operating_point']['threshold']}",
         decision_table(record, labels)),
        (f"Heat map. {record['heat_map']['text']}", heat_map_table(record, labels)),
    ]  # fmt: skip
    if drift is not None and drift["swap"]:
        title = "AUROC of one trained model with frozen statistics of batch norm, and what replacing them changes"
        parts.append((title, swap_table(drift)))
    return "\n\n".join(f"{title[0].upper()}{title[1:]}:\n\n{text}" for title, text in parts)


def main() -> None:
    """Print the tables of a study."""
    study = Path(sys.argv[1])
    drift = study / "drift" / "drift.json"
    record = json.loads((study / "analysis.json").read_text(encoding="utf-8"))
    known = json.loads(drift.read_text(encoding="utf-8")) if drift.is_file() else None
    print(f"# Simulation results of {study.name}\n\nBy `python experiments/normalization/tables.py STUDY`.\n")
    print(report(record, known))


if __name__ == "__main__":
    main()
