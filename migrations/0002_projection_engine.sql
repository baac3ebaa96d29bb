-- Up Migration

create schema engine;

-- A generation is one set of tables of one projection, built from one log by one version of the
-- code. The live one's tables are in the schema `read_<projection>`, which readers name; the schema
-- of any other has its number behind it.
create table engine.generations (
  projection text        not null,
  generation integer     not null,
  version    integer     not null,
  log_id     text        not null,
  status     text        not null check (status in ('building', 'live')),
  created_at timestamptz not null default now(),
  -- Set while the projection is stopped by an event that it cannot apply.
  stopped    json,
  primary key (projection, generation)
);

create unique index generations_live on engine.generations (projection) where status = 'live';

-- Who may write a generation. A lease is over when it is not renewed in time, and each new holder
-- gets a higher token, which it also writes to the generation's checkpoint: a holder that was
-- stalled and comes back finds the token changed when it commits, and cannot.
create table engine.leases (
  projection text        not null,
  generation integer     not null,
  holder     text        not null,
  token      bigint      not null,
  expires_at timestamptz not null,
  primary key (projection, generation)
);

-- Of the installation: what HMACs of secrets are made with. Never leaves the database.
create table engine.installation (
  singleton boolean primary key default true check (singleton),
  secret    text    not null
);

-- Down Migration

drop schema engine cascade;
