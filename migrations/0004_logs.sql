-- Up Migration

-- The log may be in another store than the snapshots, and be moved to another one: what was folded
-- from one log says nothing about a stream of another. All of it is derived, so none is kept.
delete from ledger.snapshots;
alter table ledger.snapshots
  drop constraint snapshots_pkey,
  add column log_id text not null,
  add primary key (log_id, stream, fold_version);

-- Which log this one is a copy of, as far as it is one: what comes after "copied_to" are events of
-- its own, and nothing can be copied behind those.
create table ledger.origin (
  singleton boolean primary key default true check (singleton),
  log_id    text    not null,
  -- Of the last event that was copied: there, and here.
  position  bigint  not null,
  copied_to bigint  not null
);

-- Down Migration

drop table ledger.origin;
delete from ledger.snapshots;
alter table ledger.snapshots
  drop constraint snapshots_pkey,
  drop column log_id,
  add primary key (stream, fold_version);
