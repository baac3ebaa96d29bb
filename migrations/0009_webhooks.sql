-- Up Migration

-- How far each webhook has been sent, and which process sends it. What a webhook is, and whether it
-- is to be sent at all, the log says.
create table engine.webhooks (
  project_id      text        not null collate "C",
  webhook_id      text        not null collate "C",
  -- The log that `position` is of. From another log it is sent from its start again.
  log_id          text        not null,
  -- Counted by the decider: of the last change by its owner that is known here, and of its last
  -- start.
  attempt_series  integer     not null,
  start_series    integer     not null,
  -- Everything up to here has been delivered, or is nothing that it wants.
  position        bigint      not null,
  -- Attempts in a row that have failed: they are all about the events right behind `position`.
  failures        integer     not null default 0,
  failing_since   timestamptz,
  next_attempt_at timestamptz,
  last_error      text,
  delivered_at    timestamptz,
  -- How many attempts were recorded, of which the newest are kept.
  attempts        bigint      not null default 0,
  -- A lease: over when it is not renewed in time. Each new holder gets a higher token, without
  -- which nothing here can be changed.
  holder          text        not null,
  token           bigint      not null,
  expires_at      timestamptz not null,
  primary key (project_id, webhook_id)
);

-- The newest attempts of each webhook.
create table engine.webhook_deliveries (
  project_id      text        not null collate "C",
  webhook_id      text        not null collate "C",
  -- From 1, without gaps.
  number          bigint      not null,
  message_id      text        not null,
  attempt         integer     not null,
  status          text        not null check (status in ('delivered', 'failed')),
  response_status integer,
  error           text,
  events          integer     not null,
  first_position  bigint      not null,
  last_position   bigint      not null,
  sent_at         timestamptz not null,
  duration_ms     integer     not null,
  primary key (project_id, webhook_id, number)
);

-- Down Migration

drop table engine.webhook_deliveries;
drop table engine.webhooks;
