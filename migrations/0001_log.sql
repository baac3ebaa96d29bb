-- Up Migration

create schema if not exists ledger;

-- Names the log, so that a position of one log is never taken for a position of another.
create table ledger.log (
  singleton boolean primary key default true check (singleton),
  log_id    text    not null check (log_id ~ '^[0-9a-f]{8}$')
);

insert into ledger.log (log_id)
values (substr(replace(gen_random_uuid()::text, '-', ''), 1, 8));

-- Positions are dense: 1, 2, 3 … in commit order, which is what makes a subscription of `position >
-- checkpoint` complete. `recorded_at` never falls from one position to the next, so a time is found
-- by a binary search over positions, without an index of its own. `json` keeps the text as it was
-- written (also "\u0000", which `jsonb` refuses) and is cheaper to store than `jsonb`; nothing
-- searches inside it.
create table ledger.events (
  position    bigint      not null primary key,
  stream      text        not null collate "C",
  revision    bigint      not null,
  event_id    uuid        not null,
  type        text        not null collate "C",
  data        json        not null,
  metadata    json        not null,
  recorded_at timestamptz not null,
  unique (stream, revision)
);

-- For repeated appends. Not unique: like EventStoreDB, the log answers a repetition by its
-- revision; an id may stand in two streams.
create index events_event_id on ledger.events (event_id);

-- Derived data: folded states of long streams, by version of the fold. Safe to delete.
create table ledger.snapshots (
  stream       text   not null collate "C",
  fold_version text   not null collate "C",
  revision     bigint not null,
  position     bigint not null,
  state        json   not null,
  primary key (stream, fold_version)
);

-- Appends many writes, each of which is accepted or refused on its own.
--
-- The appender lock is what makes commit order position order: it is taken before anything is read
-- (each statement of a function has a snapshot of its own in READ COMMITTED, so all below see what
-- the last holder committed) and falls after the commit is visible. The rejected alternative, a
-- sequence and a reader that waits for gaps, needs the reader to guess whether a gap is a slow
-- writer or a rollback.
--
-- Parameters, all of one length per group:
--   streams, expected_revisions, sizes     one entry a write; a stream at most once in a call.
--                                          expected: n >= 0 exact, -1 no stream, -2 any, -3 exists
--   event_writes … event_metadata          one entry an event, in order of their writes;
--                                          event_writes is the ordinal of its write, from 1
-- Texts come joined by U+001E, which neither JSON nor a stream name nor a type can hold: splitting
-- that is several times cheaper, on both sides, than quoting an array of texts.
--
-- Returns a row a write, in order: accepted, the revision of the stream before the call (-1: none),
-- the position of the write's last event when it was accepted, and the time of the call.
--
-- No joins: the writes' numbers are looked up in arrays by ordinal. (An aggregate joined to the
-- inserted rows was estimated at 10 rows and turned quadratic at 2,000.)
create function ledger.append(
  streams            text,
  expected_revisions bigint[],
  sizes              integer[],
  event_writes       integer[],
  event_ids          uuid[],
  event_types        text,
  event_data         text,
  event_metadata     text
) returns table (
  accepted        boolean,
  actual_revision bigint,
  last_position   bigint,
  recorded_at     timestamptz
)
language plpgsql
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  separator        constant text := E'\x1e';
  stream_names     constant text[] := string_to_array(streams, separator);
  head             bigint;
  head_time        timestamptz;
  actual_revisions bigint[];
  accepted_writes  boolean[];
  -- What to add to an event's ordinal in the call to get its revision and its position.
  revision_shift   bigint[];
  position_shift   bigint[];
  last_positions   bigint[];
begin
  perform pg_advisory_xact_lock(7001, 1);

  select e.position, e.recorded_at into head, head_time
  from ledger.events e
  order by e.position desc
  limit 1;

  head := coalesce(head, 0);
  head_time := greatest(date_trunc('milliseconds', clock_timestamp()), head_time);

  -- Materialized: inlined, the look-up of the revision would run again for each use of it.
  with write as materialized (
    select w.ordinal, w.stream, w.expected, w.size,
      coalesce((
        select e.revision
        from ledger.events e
        where e.stream = w.stream
        order by e.revision desc
        limit 1
      ), -1) as actual
    from unnest(stream_names, expected_revisions, sizes)
      with ordinality as w (stream, expected, size, ordinal)
  ),
  judged as materialized (
    select ordinal, stream, size, actual,
      case
        when expected >= -1 then actual = expected
        when expected = -3 and actual = -1 then false
        -- Without a revision only the ids tell a repetition; the caller then finds out which.
        else ordinal not in (
          select v.write_ordinal
          from unnest(event_writes, event_ids) as v (write_ordinal, event_id)
          join ledger.events e on e.event_id = v.event_id
          where expected_revisions[v.write_ordinal] < -1
            and e.stream = stream_names[v.write_ordinal]
        )
      end as accepted
    from write
  ),
  placed as (
    select ordinal, actual, accepted,
      sum(size) over (order by ordinal) - size as events_before,
      coalesce(sum(size) filter (where accepted) over (order by ordinal), 0) as accepted_through,
      size
    from judged
  )
  select
    array_agg(p.actual order by p.ordinal),
    array_agg(p.accepted order by p.ordinal),
    array_agg(p.actual - p.events_before order by p.ordinal),
    array_agg(head + p.accepted_through - p.size - p.events_before order by p.ordinal),
    array_agg(head + p.accepted_through order by p.ordinal)
  into actual_revisions, accepted_writes, revision_shift, position_shift, last_positions
  from placed p;

  insert into ledger.events
    (position, stream, revision, event_id, type, data, metadata, recorded_at)
  select
    position_shift[v.write_ordinal] + v.ordinal,
    stream_names[v.write_ordinal],
    revision_shift[v.write_ordinal] + v.ordinal,
    v.event_id,
    v.type,
    v.data::json,
    v.metadata::json,
    head_time
  from unnest(
    event_writes,
    event_ids,
    string_to_array(event_types, separator),
    string_to_array(event_data, separator),
    string_to_array(event_metadata, separator)
  ) with ordinality as v (write_ordinal, event_id, type, data, metadata, ordinal)
  where accepted_writes[v.write_ordinal];

  return query
  select v.accepted, v.actual_revision, v.last_position, head_time
  from unnest(accepted_writes, actual_revisions, last_positions)
    as v (accepted, actual_revision, last_position);
end
$$;

-- Down Migration

drop schema ledger cascade;
