-- Makes 32 files of the write-ahead log ahead of the first rush: half a gigabyte, the first 400,000 orders. A young
-- server would make them while people buy, one for every 12,000 orders, and every COMMIT waits for each, tens of milliseconds
-- (docs/performance.md).
--
--   psql "$ADMIN_URL" -f deploy/postgres/log-files.sql      # once, as a superuser, with min_wal_size at 1 GB, before people buy
--
-- A server with a past has its files: they are used again. The embedded server makes them with its cluster.

-- Each leaves one file behind, for something is written in it; the checkpoint keeps all of them for later.
SELECT 'SELECT pg_logical_emit_message(false, '''', ''''), pg_switch_wal()' FROM generate_series(1, 32)
\gexec
CHECKPOINT;
