"""Folds an archive with software that nobody here wrote, by the SQL files that are shipped.

    python fold.py ENGINE ARCHIVE LINES SQL BEGINS ENDS SEEN

Prints the tuples as sorted JSON, moments as microseconds since 1970. Dataframe libraries read the files and
a fold of their rows, written here from FORMATS and not from the product, counts.
"""

import datetime
import glob
import json
import sys

engine, archive, lines, sql_path, begins, ends, seen = sys.argv[1:]
sql = open(sql_path, encoding="utf-8").read() if sql_path != "-" else ""
files = sorted(glob.glob(f"{archive}/*/*/*.parquet"))
UTC = datetime.timezone.utc
FIELDS = ["plugin_id", "artifact_digest", "run_id", "host", "port", "scheme", "connections", "bytes_out", "bytes_in", "first_seen", "last_seen"]


def moment(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def micros(value):
    if isinstance(value, str):
        value = moment(value.replace(" ", "T"))
    if value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    return (value - datetime.datetime(1970, 1, 1, tzinfo=UTC)) // datetime.timedelta(microseconds=1)


def tell(rows):
    tuples = []
    for row in rows:
        row = list(row)
        row[4], row[6], row[7], row[8] = int(row[4]), int(row[6]), int(row[7]), int(row[8])
        row[9], row[10] = micros(row[9]), micros(row[10])
        tuples.append(row)
    tuples.sort(key=lambda row: [str(value) for value in row])
    print(json.dumps(tuples))


def is_ended_by(row, connection):
    """Whether an event says that a connection, named SESSION-NUMBER, does not stand any more."""
    kind, scope = row["kind"], row.get("scope")
    if scope is None:
        return kind in ("start", "stop")
    is_of_it = connection.startswith(scope + "-")
    return not is_of_it if kind == "start" else is_of_it and kind in ("stop", "gap")


def from_rows(rows):
    """The fold over dictionaries, in the order of each log."""
    period = moment(begins), moment(ends)
    latest = moment(seen) + datetime.timedelta(seconds=300)
    done = []
    logs = {}
    for row in rows:
        if row.get("raw") is not None:
            row = json.loads(row["raw"])
            row["time"] = moment(row["time"])
        logs.setdefault(row["gateway"], []).append(row)
    for entries in logs.values():
        entries.sort(key=lambda row: row["seq"])
        clock, standing = None, {}
        for row in entries:
            time, kind = row["time"], row["kind"]
            if time <= latest and (clock is None or time > clock):
                clock = time
            if clock is not None and clock >= period[1]:
                break
            within = clock is not None and clock >= period[0]
            for name in [name for name in standing if is_ended_by(row, name)]:
                events = standing.pop(name)
                if any(w for w, _ in events):
                    done.append(events)
            if kind not in ("open", "connected", "progress", "close", "refused"):
                continue
            name = row.get("connection_id")
            if name is None:
                if within:
                    done.append([(within, row)])
                continue
            events = standing.setdefault(name, [])
            events.append((within, row))
            if kind in ("close", "refused"):
                del standing[name]
                if within:
                    done.append(events)
        done += [events for events in standing.values()]
    tally = {}
    for events in done:
        who = next((r for _, r in events if r.get("attribution") not in (None, "none") and r.get("plugin_id") and r.get("artifact_digest") and r.get("run_id")), None)
        target = next((r for _, r in events if r.get("destination_host") and r.get("port") is not None), None)
        if who is None or target is None:
            continue
        schemes = [r["scheme"] for _, r in events if r.get("scheme")]
        scheme = next((s for s in schemes if s != "tcp"), schemes[0] if schemes else None)
        key = (who["plugin_id"], who["artifact_digest"], who["run_id"], target["destination_host"], int(target["port"]), scheme)
        most = lambda field, rows: max((int(r.get(field) or 0) for r in rows), default=0)
        everything, before = [r for _, r in events], [r for w, r in events if not w]
        times = [r["time"] for w, r in events if w]
        first, last = (min(times), max(times)) if times else period
        added = [most(field, everything) - most(field, before) for field in ("bytes_out", "bytes_in")]
        known = tally.setdefault(key, [0, 0, 0, first, last])
        tally[key] = [known[0] + 1, known[1] + added[0], known[2] + added[1], min(known[3], first), max(known[4], last)]
    tell([*key, *value] for key, value in tally.items())


def clean(row):
    """Absent facts as None, whatever a library makes of them."""
    return {key: None if value is None or value != value else value for key, value in row.items() if not isinstance(value, list)}


if engine == "duckdb":
    import duckdb

    duckdb.sql("SET TimeZone = 'UTC'")
    duckdb.sql(f"CREATE VIEW archive AS SELECT * FROM read_parquet('{archive}/*/*/*.parquet', hive_partitioning = false)")
    duckdb.sql(f"CREATE TABLE period AS SELECT TIMESTAMPTZ '{begins}' AS begins, TIMESTAMPTZ '{ends}' AS ends, TIMESTAMPTZ '{seen}' AS seen")
    rows = duckdb.sql(sql).fetchall()
    tell(rows)
elif engine in ("trino", "spark-dialect"):
    # No server here: the query is read by a parser of that dialect and run by another engine.
    import duckdb
    import sqlglot

    dialect = "trino" if engine == "trino" else "spark"
    translated = sqlglot.transpile(sql, read=dialect, write="duckdb")[0]
    duckdb.sql("SET TimeZone = 'UTC'")
    duckdb.sql(f"CREATE VIEW archive AS SELECT * FROM read_parquet('{archive}/*/*/*.parquet', hive_partitioning = false)")
    duckdb.sql(f"CREATE TABLE period AS SELECT TIMESTAMPTZ '{begins}' AS begins, TIMESTAMPTZ '{ends}' AS ends, TIMESTAMPTZ '{seen}' AS seen")
    tell(duckdb.sql(translated).fetchall())
elif engine == "clickhouse":
    from chdb import session

    db = session.Session()
    at = lambda text: f"toDateTime64('{text.replace('T', ' ').rstrip('Z')}', 6, 'UTC')"
    db.query("CREATE DATABASE bw")
    db.query("USE bw")
    db.query(f"CREATE VIEW bw.archive AS SELECT * FROM file('{archive}/*/*/*.parquet', Parquet) SETTINGS use_hive_partitioning = 0")
    db.query(f"CREATE VIEW bw.period AS SELECT {at(begins)} AS begins, {at(ends)} AS ends, {at(seen)} AS seen")
    out = db.query(sql, "JSONCompactEachRow")
    tell(json.loads(line) for line in str(out).splitlines() if line.strip())
elif engine == "polars":
    import polars

    frame = polars.scan_parquet(files, hive_partitioning=False).collect()
    from_rows(clean(row) for row in frame.iter_rows(named=True))
elif engine == "pyarrow":
    import pyarrow.dataset

    table = pyarrow.dataset.dataset(files, format="parquet", partitioning=None).to_table()
    from_rows(clean(row) for row in table.to_pylist())
elif engine == "pandas":
    import pandas

    frame = pandas.concat([pandas.read_parquet(file, partitioning=None) for file in files], ignore_index=True)
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    from_rows({**clean(row), "time": None if row["time"] is None else row["time"].to_pydatetime()} for row in rows)
elif engine == "spark":
    from pyspark.sql import SparkSession

    spark = SparkSession.builder.master("local[2]").config("spark.sql.session.timeZone", "UTC").config("spark.ui.enabled", "false").config("spark.sql.shuffle.partitions", "2").getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    spark.read.option("recursiveFileLookup", "true").parquet(archive).createOrReplaceTempView("archive")
    spark.sql(f"SELECT TIMESTAMP '{begins}' AS begins, TIMESTAMP '{ends}' AS ends, TIMESTAMP '{seen}' AS seen").createOrReplaceTempView("period")
    query = f"SELECT plugin_id, artifact_digest, run_id, host, port, scheme, connections, bytes_out, bytes_in, date_format(first_seen, \"yyyy-MM-dd'T'HH:mm:ss.SSSSSS'Z'\"), date_format(last_seen, \"yyyy-MM-dd'T'HH:mm:ss.SSSSSS'Z'\") FROM ({sql})"
    tell(tuple(row) for row in spark.sql(query).collect())
    spark.stop()
else:
    raise SystemExit(f"no engine {engine}")
