"""Print the tables of this folder's README from a finished study: clean AUROC, primary result, heat map, mCE.

python experiments/normalization/tables.py STUDY
"""

import json
import sys
from pathlib import Path

RECORD = json.loads((Path(sys.argv[1]) / "analysis.json").read_text(encoding="utf-8"))
LABELS = {
    arm["id"]: arm["norm"]
    + ("" if arm["adaptation"] == "frozen" else f"+{arm['adaptation']}")
    + ("" if arm["scaling"] == RECORD["plan"]["scaling"] else f", {arm['scaling']}")
    for arm in RECORD["arms"]
}


def interval(row: dict, digits: int = 3) -> str:
    """Return a value with its interval, where there is one."""
    value = row.get("value", row.get("difference"))
    if row.get("low") is None:
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} [{row['low']:.{digits}f}, {row['high']:.{digits}f}]"


def main() -> None:
    """Print the tables in Markdown."""
    findings = list(dict.fromkeys(row["finding"] for row in RECORD["clean"]))
    print("| clean AUROC | " + " | ".join(findings) + " |\n|---" * 1 + "|---" * len(findings) + "|")
    for arm, label in LABELS.items():
        rows = {row["finding"]: row for row in RECORD["clean"] if row["arm"] == arm}
        print(f"| {label} | " + " | ".join(interval(rows[name]) for name in findings if name in rows) + " |")
    print("\nPrimary:", RECORD["primary"]["text"])
    for row in RECORD["primary"]["endpoints"]:
        print(f"- {LABELS[row['arm']]} {interval(row)}; seeds {row['seed_values']}")
    tables = [("primary", RECORD["primary"]["comparisons"])]
    tables += [(table["name"], table["comparisons"]) for table in RECORD["descriptive"]]
    for name, comparisons in tables:
        for row in comparisons:
            holm = f", Holm {row['p_holm']:.4f}" if row.get("p_holm") is not None else ""
            p = "" if row.get("p") is None else f", p {row['p']:.4f}{holm}"
            print(f"| {name} | {row['norm']} - {row['reference_norm']} | {interval(row)}{p} | {row['message']} |")
    print("\nHeat map:", RECORD["heat_map"]["text"])
    for cell in RECORD["heat_map"]["cells"]:
        mark = " *" if cell["flagged"] else ""
        print(f"{LABELS[cell['arm']]:8} {cell['kind']:14} {cell['level']} {interval(cell)}{mark}")
    for row in RECORD["corruption_error"]:
        print(f"mCE {LABELS[row['arm']]}: {row['mce']:.1f} [{row['mce_low']}, {row['mce_high']}]")


if __name__ == "__main__":
    main()
