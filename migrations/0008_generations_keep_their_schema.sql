-- Up Migration

-- A generation keeps its schema for life, and a swap only changes which generation is live
-- (decision
-- 25). Null: the previous release made it, and its schema is called `read_<projection>_v<version>`
-- while it is live and `read_<projection>_g<generation>` otherwise. The column stays null for as
-- long as a process of that release may rename the schema, which is until this release changes its
-- status.
alter table engine.generations
  add column schema_name text;

-- The checkpoint holds the progress of its generation: `events` counts all events that were
-- applied; `recent_events` and `recent_positions` are sums as of `updated_at` in which the past
-- fades.
--
-- A process of the previous release may make a generation after this migration, so whoever begins
-- to write a generation calls this, too.
create function engine.add_progress_columns(schema_name text)
returns void
language plpgsql
as $$
begin
  perform from pg_attribute
  where attrelid = format('%I.checkpoint', schema_name)::regclass
    and attname = 'recent_positions';
  if not found then
    execute format(
      'alter table %I.checkpoint
         add column events           bigint           not null default 0,
         add column recent_events    double precision not null default 0,
         add column recent_positions double precision not null default 0',
      schema_name
    );
  end if;
end
$$;

select engine.add_progress_columns(n.nspname)
from engine.generations g
join pg_namespace n on n.nspname = case g.status
  when 'live' then 'read_' || g.projection || '_v' || g.version
  else 'read_' || g.projection || '_g' || g.generation
end;

-- A sum in which the past fades by a factor of e every three seconds: a third of it is the average
-- per second. Below a thousandth it is 0, since PostgreSQL refuses numbers that become too small.
create function engine.faded(amount double precision, since timestamptz)
returns double precision
language sql
volatile
as $$
  select case
    when amount < 0.001 or since < clock_timestamp() - interval '1 minute' then 0
    else amount * exp(least(0, extract(epoch from since - clock_timestamp()))::double precision / 3)
  end
$$;

-- `position`, `events`, `events_per_second` and `positions_per_second` of `engine.leases` are not
-- used any more. Processes of the previous release write them while they run beside this one, so a
-- later migration drops them.

-- Down Migration

do $$
declare
  kept record;
begin
  for kept in
    select
      g.schema_name,
      case g.status
        when 'live' then 'read_' || g.projection || '_v' || g.version
        else 'read_' || g.projection || '_g' || g.generation
      end as former_name
    from engine.generations g
    where g.schema_name is not null
    -- A retired generation may hold the name that the live one is to have.
    order by g.status = 'live'
  loop
    if kept.schema_name <> kept.former_name then
      execute format(
        'alter schema %I rename to %I', kept.schema_name, kept.former_name
      );
    end if;
  end loop;
end
$$;

drop function engine.faded(double precision, timestamptz);
drop function engine.add_progress_columns(text);
alter table engine.generations
  drop column schema_name;
