"""Makes an archive as a later version may write it: some rows stand whole in `raw`, without other columns.

    raw_rows.py ARCHIVE LINES

Every third row of every file is taken from LINES instead, which are the same entries as JSON lines. Prints
how many rows these are.
"""

import glob
import json
import sys

import pyarrow
import pyarrow.parquet

archive, lines = sys.argv[1:]
entries = {}
for line in open(lines, encoding="utf-8").read().split("\n"):
    if line:
        entry = json.loads(line)
        entries[entry["gateway"], int(entry["seq"])] = line
count = 0
for path in sorted(glob.glob(f"{archive}/*/*/*.parquet")):
    table = pyarrow.parquet.ParquetFile(path).read()
    rows = table.to_pylist()
    for at, row in enumerate(rows):
        if at % 3 == 0:
            whole = entries[row["gateway"], row["seq"]]
            rows[at] = {"seq": row["seq"], "raw": whole}
            count += 1
    fields = [field.with_nullable(True) for field in table.schema if field.name != "raw"]
    schema = pyarrow.schema([*fields, pyarrow.field("raw", pyarrow.string())])
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), path)
print(count)
