-- SPDX-License-Identifier: MIT
-- Run by test_postgresql.py in several sessions at once: sorts, hashes and aggregates that need memory of the backend's own.
-- The answers depend on :seed only.
\set ON_ERROR_STOP on
\pset pager off
SET synchronize_seqscans = off;
SET max_parallel_workers_per_gather = :workers;

CREATE TEMP TABLE fact AS
  SELECT n AS id, (n * 2654435761 + :seed) % 100003 AS key, ((n * 40503 + :seed) % 65521)::int AS grp,
         repeat(md5((n + :seed)::text), (n % 4)::int) AS body
  FROM generate_series(1, :rows::bigint) n;
ANALYZE fact;

\echo external order
SELECT md5(string_agg(body || id, ',' ORDER BY body, key, id DESC)) FROM fact;
\echo window
SELECT sum(rank * id % 1000003), max(lagged) FROM
  (SELECT id, rank() OVER (PARTITION BY key % 97 ORDER BY grp, id) AS rank,
          lag(body) OVER (ORDER BY key, id) AS lagged FROM fact) w;
\echo hash join
SET enable_mergejoin = off;
SET enable_nestloop = off;
SELECT count(*), sum(a.id * b.grp % 10007), min(a.body || b.body) FROM fact a JOIN fact b ON a.key = b.grp;
\echo hash aggregate
SET enable_sort = off;
SELECT count(*), sum(c), sum(x % 100003) FROM (SELECT body, count(*) c, sum(id) x FROM fact GROUP BY body) g;
RESET enable_sort;
\echo index
CREATE INDEX fact_body ON fact (body, key);
SET enable_seqscan = off;
SELECT count(*), sum(id) FROM fact WHERE body >= 'c' AND body < 'd';
RESET enable_seqscan;
\echo arrays and json
SELECT md5(array_agg(id ORDER BY key, id)::text), count(*) FROM fact;
SELECT md5(jsonb_object_agg(id, body)::text) FROM fact WHERE id % 5 = 0;
\echo changes
BEGIN;
UPDATE fact SET body = reverse(body), key = key + 1 WHERE id % 3 = 0;
DELETE FROM fact WHERE grp % 11 = 4;
SAVEPOINT here;
DELETE FROM fact;
ROLLBACK TO here;
COMMIT;
SELECT count(*), sum(key), md5(string_agg(body, '' ORDER BY id)) FROM fact;
\echo procedure
DO $$
DECLARE parts text[] := '{}'; r record; total bigint := 0;
BEGIN
  FOR r IN SELECT id, body FROM fact WHERE id % 50 = 0 ORDER BY id LOOP
    parts := parts || left(r.body, 8);
    total := total + r.id;
    IF total % 13 = 0 THEN
      BEGIN
        RAISE EXCEPTION 'planned';
      EXCEPTION WHEN OTHERS THEN
        total := total + 1;
      END;
    END IF;
  END LOOP;
  RAISE NOTICE 'total % parts %', total, md5(array_to_string(parts, ','));
END $$;
DROP TABLE fact;
