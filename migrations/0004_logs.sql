-- Up Migration

-- The log may be in another store than the snapshots, and be moved to another one: what was folded
-- from one log says nothing about a stream of another. All of it is derived, so none is kept.
delete from ledger.snapshots;
alter table ledger.snapshots
  drop constraint snapshots_pkey,
  add column log_id text not null,
  add primary key (log_id, stream, fold_version);

-- Down Migration

delete from ledger.snapshots;
alter table ledger.snapshots
  drop constraint snapshots_pkey,
  drop column log_id,
  add primary key (stream, fold_version);
