-- Up Migration

-- Each version of a projection has a live generation of its own, in the schema
-- `read_<projection>_v<version>`: where processes of two releases run beside each other, each
-- answers from what it understands, and neither takes the other's tables away.
do $$
declare
  built record;
begin
  for built in
    select projection, version
    from engine.generations
    where status = 'live'
  loop
    execute format(
      'alter schema %I rename to %I',
      'read_' || built.projection,
      'read_' || built.projection || '_v' || built.version
    );
  end loop;
end
$$;

drop index engine.generations_live;
create unique index generations_live on engine.generations (projection, version)
  where status = 'live';

-- `building` and `shadow` are filled by a replay, the first to become live, the other to be
-- compared. `retired` is about to be dropped. Numbers are never given twice.
alter table engine.generations
  drop constraint generations_status_check,
  add constraint generations_status_check
    check (status in ('building', 'shadow', 'live', 'retired')),
  add column is_indexed boolean not null default true,
  -- When a process last answered from it, to the minute.
  add column used_at timestamptz not null default now();

-- Rebuilds and verifications: the log replayed into a generation beside the live one.
create table engine.replays (
  replay_id  uuid        primary key,
  kind       text        not null check (kind in ('rebuild', 'verification')),
  projection text        not null,
  version    integer     not null,
  generation integer     not null,
  status     text        not null check (status in ('running', 'completed', 'cancelled', 'failed')),
  actor      text        not null,
  -- As clients see it: they walk by it.
  started_at timestamptz not null default date_trunc('milliseconds', clock_timestamp()),
  ended_at   timestamptz,
  -- Of the end: how far it had come, and of what.
  position   bigint,
  target     bigint,
  -- Of a verification: how many rows were compared, and those that differ.
  row_count       bigint,
  differing_count bigint,
  differing       json,
  error           text
);

-- One at a time: two would each take the other's place.
create unique index replays_running on engine.replays (projection, version)
where status = 'running';

create index replays_by_start on engine.replays (kind, started_at desc, replay_id desc);

-- Projections that an admin has paused, in all versions.
create table engine.pauses (
  projection text        primary key,
  actor      text        not null,
  paused_at  timestamptz not null default clock_timestamp()
);

-- How far the holder had come, and how fast it went, as of its last renewal.
alter table engine.leases
  add column position             bigint,
  add column events_per_second    double precision not null default 0,
  add column positions_per_second double precision not null default 0;

-- Tokens of all leases: none is given twice, whatever the generation.
create sequence engine.lease_tokens;
select setval('engine.lease_tokens', 1 + coalesce(max(token), 0)) from engine.leases;

-- Down Migration

alter table engine.leases
  drop column position,
  drop column events_per_second,
  drop column positions_per_second;
drop sequence engine.lease_tokens;
drop table engine.pauses;
drop table engine.replays;
delete from engine.generations where status not in ('building', 'live');
alter table engine.generations
  drop column is_indexed,
  drop column used_at,
  drop constraint generations_status_check,
  add constraint generations_status_check check (status in ('building', 'live'));
