"""bqemulator 1.4.0 without the spatial download, with BigQuery-like load jobs.  Settings via BQEMU_* env.
Fixes: DataFrame uploads ('*/*'), Parquet matched BY NAME + type-checked, atomic loads, '*' spanning '/', hive keys
only on request, schema from the file, partitioning/clustering from LoadJobConfig, table$YYYYMM[DD], outputRows."""

import calendar, datetime as dt, pathlib, re, sys
from bqemulator.api.routes import jobs as J, tables as TR, upload as U
from bqemulator.domain.errors import InvalidQueryError
from bqemulator.jobs import executor as X
from bqemulator.scripting.exceptions import ScriptRaise
from bqemulator.storage.engine import DuckDBEngine
from bqemulator.storage.sql_identifiers import quoted_table_ref
from bqemulator.storage.type_map import duckdb_type_to_bq_field

DuckDBEngine._load_spatial = lambda self: None  # no GEOGRAPHY here; saves an 78 MB extension
U._PERMITTED_MEDIA_CONTENT_TYPES += ("*/*",)  # load_table_from_dataframe

_script = X._run_script


async def run_script(*a, **k):  # RAISE -> 400 instead of 500 (clients retry a 500 for minutes)
    try:
        return await _script(*a, **k)
    except ScriptRaise as e:
        raise InvalidQueryError(e.message) from e


X._run_script = run_script

_dflt = J._apply_default_dataset  # mage_ai.io.bigquery.export() asks __TABLES_SUMMARY__
SUMMARY = re.compile(r"`?([\w-]+)`?\.`?(\w+)`?\.`?__TABLES(?:_SUMMARY)?__`?")
J._apply_default_dataset = lambda sql, *a, **k: _dflt(
    SUMMARY.sub(r"(SELECT table_name AS table_id FROM `\1`.`\2`.INFORMATION_SCHEMA.TABLES)", sql), *a, **k
)

FAMILY = [
    ("INT", r"(U?TINY|U?SMALL|U|U?BIG|HUGE)?INT(EGER)?"),
    ("FLOAT", "FLOAT|DOUBLE"),
    ("NUMERIC", r"DECIMAL\(.*"),
    ("DATETIME", r"TIMESTAMP(_NS|_MS|_S)?"),
    ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE"),
]
family = lambda t: next((n for n, r in FAMILY if re.fullmatch(r, t)), t)


def files(uri, ctx):
    p = X._resolve_uri(uri, ctx)
    X._validate_local_path(p)
    if "*" not in p:
        out = [p] if pathlib.Path(p).is_file() else []
    else:
        rx = re.compile(".*".join(map(re.escape, p.split("*"))))
        out = sorted(
            str(f) for f in pathlib.Path(p.split("*")[0]).parent.rglob("*") if f.is_file() and rx.fullmatch(str(f))
        )
    if not out:
        raise ValueError(f"Not found: URI {uri}")
    return out


def window(part, typ):  # '202101' -> [2021-01-01, 2021-02-01)
    y, m, d = int(part[:4]), int(part[4:6] or 1), int(part[6:8] or 1)
    a = dt.date(y, m, d)
    b = (
        dt.date(y + 1, 1, 1)
        if typ == "YEAR"
        else a + dt.timedelta(calendar.monthrange(y, m)[1] if typ == "MONTH" else 1)
    )
    return a, b


async def load(project_id, job_id, config, ctx):
    now, lc = ctx.clock.now(), config["load"]
    if lc.get("sourceFormat", "CSV").upper() != "PARQUET":
        return await _load(project_id, job_id, config, ctx)
    dest = dict(lc["destinationTable"])
    name, _, part = dest["tableId"].partition("$")
    pr, ds = dest.get("projectId", project_id), dest["datasetId"]
    ref, eng, disp = quoted_table_ref(pr, ds, name), ctx.engine, lc.get("writeDisposition", "WRITE_APPEND")
    paths = [f for u in lc.get("sourceUris", []) for f in files(u, ctx)]
    hive = "true" if lc.get("hivePartitioningOptions") else "false"
    src = f"read_parquet([{', '.join(repr(p) for p in paths)}], union_by_name=true, hive_partitioning={hive})"
    cols = {r[0]: r[1] for r in eng.execute(f"DESCRIBE SELECT * FROM {src}").fetchall()}
    if ctx.catalog.get_table(pr, ds, name) is None:
        fields = (lc.get("schema") or {}).get("fields") or [duckdb_type_to_bq_field(c, t) for c, t in cols.items()]
        X._maybe_create_load_destination(
            dest_project=pr,
            dest_dataset=ds,
            dest_table_id=name,
            now=now,
            ctx=ctx,
            load_config={**lc, "schema": {"fields": fields}},
        )
        meta = ctx.catalog.get_table(pr, ds, name)
        ctx.catalog.update_table(
            meta.model_copy(
                update={
                    "time_partitioning": TR._rest_to_time_partitioning(lc.get("timePartitioning"), None),
                    "clustering": TR._rest_to_clustering(lc.get("clustering"), None),
                }
            )
        )
    meta = ctx.catalog.get_table(pr, ds, name)
    have = {r[0].lower(): r[1] for r in eng.execute(f"DESCRIBE {ref}").fetchall()}
    for c, t in cols.items():
        if c.lower() not in have:
            raise ValueError(f"Provided Schema does not match Table {pr}:{ds}.{name}. Cannot add fields (field: {c})")
        if family(t) != family(have[c.lower()]):
            raise ValueError(
                f"Provided Schema does not match Table {pr}:{ds}.{name}. Field {c} has changed type "
                f"from {have[c.lower()]} to {t}"
            )
    where = "TRUE"
    if part:
        tp = meta.time_partitioning
        a, b = window(part, tp.type)
        where = f"\"{tp.field}\" >= DATE '{a}' AND \"{tp.field}\" < DATE '{b}'"
    async with eng.write_lock():
        eng.execute("BEGIN TRANSACTION")
        try:
            if disp == "WRITE_EMPTY" and eng.execute(f"SELECT COUNT(*) FROM {ref} WHERE {where}").fetchone()[0]:
                raise ValueError(f"Already Exists: Table {pr}:{ds}.{name}")
            if disp == "WRITE_TRUNCATE":
                eng.execute(f"DELETE FROM {ref} WHERE {where}")
            if part and eng.execute(f"SELECT COUNT(*) FROM {src} WHERE NOT ({where})").fetchone()[0]:
                raise ValueError(
                    f"Some rows belong to different partitions rather than destination partition {name}${part}"
                )
            n = eng.execute(f"INSERT INTO {ref} BY NAME SELECT * FROM {src}").fetchone()[0]
            eng.execute("COMMIT")
        except BaseException:
            eng.execute("ROLLBACK")
            raise
        total = eng.execute(f"SELECT COUNT(*) FROM {ref}").fetchone()[0]
        ctx.catalog.update_table(ctx.catalog.get_table(pr, ds, name).model_copy(update={"num_rows": total}))
        ctx.snapshots.record_change(pr, ds, name)
    size = sum(pathlib.Path(p).stat().st_size for p in paths)
    return X.JobMeta(
        project_id=project_id,
        job_id=job_id,
        job_type="LOAD",
        state="DONE",
        configuration=config,
        statistics={
            "load": {
                "outputRows": str(n),
                "inputFiles": str(len(paths)),
                "inputFileBytes": str(size),
                "outputBytes": str(size),
            }
        },
        creation_time=now,
        start_time=now,
        end_time=ctx.clock.now(),
        etag=X.generate_etag(project_id, job_id, str(now)),
    )


_load = X.execute_load_job
X.execute_load_job = J.execute_load_job = U.execute_load_job = load

if __name__ == "__main__":
    from bqemulator.config import PersistenceMode, Settings
    from bqemulator.server import run_forever

    data, port, gcs = sys.argv[1:]
    run_forever(
        Settings(
            rest_host="127.0.0.1",
            rest_port=int(port),
            grpc_host="127.0.0.1",
            grpc_port=0,
            persistence_mode=PersistenceMode.PERSISTENT,
            data_dir=pathlib.Path(data),
            gcs_local_root=pathlib.Path(gcs) / ".cloudstorage",
            enable_format_extensions=False,
        )
    )
