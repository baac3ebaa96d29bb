-- Up Migration

-- Processes that may append to a log. Each renews its row while it runs, and removes it when it
-- stops. A copy of the log ends once no row is left; it removes a row that has not been renewed for
-- a while, and the process that finds its row removed appends no more. Decision 14.
create table engine.presences (
  presence_id uuid   primary key,
  log_id      text   not null,
  -- For people: which process it is, and where.
  process     text   not null,
  -- Counted, and no time: whoever watches measures by its own clock for how long it has not
  -- changed.
  renewals    bigint not null default 0
);

-- Down Migration

drop table engine.presences;
