-- Up Migration

-- How many events its holders have written, all together: an ended replay keeps its average rate.
alter table engine.leases
  add column events bigint not null default 0;

-- On average from the start to the end; null while it is running, and for those that ended before.
alter table engine.replays
  add column events_per_second double precision;

-- Down Migration

alter table engine.replays
  drop column events_per_second;
alter table engine.leases
  drop column events;
