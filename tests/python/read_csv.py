"""Reads an exported CSV file as a spreadsheet would, and counts what would be a formula."""

import csv
import json
import sys

rows = list(csv.DictReader(open(sys.argv[1], newline="", encoding="utf-8"), strict=True))
cells = [cell for row in rows for cell in row.values()]
print(json.dumps({
    "rows": len(rows),
    "targets": sum(1 for row in rows if row["raw_target"]),
    "formulas": sum(1 for cell in cells if cell[:1] in ("=", "+", "-", "@", "\t", "\r", "\n") or ";" in cell),
}))
