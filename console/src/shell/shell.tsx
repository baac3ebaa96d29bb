import { Link, Outlet, useRouter } from '@tanstack/react-router';
import { useEffect } from 'react';
import { useConnection } from '../api/connection.ts';
import { useKeys, type HeldKey } from '../api/keys.ts';
import { useLedgerEvents } from '../api/live.ts';
import icon from '../icon.svg';
import { describeMoment, formatAge, isPosition, useGoTo, useMoment } from '../time/moment.ts';
import { TimeControl } from '../time/time-control.tsx';
import { KeyMenu } from './key-menu.tsx';

export function Shell() {
  const at = useMoment();
  const keys = useKeys();
  const router = useRouter();
  const isSignedOut = keys.project === undefined && keys.admin === undefined;
  useLedgerEvents(at === undefined);
  useEffect(() => {
    // Its guard then asks for a key, and remembers the view.
    if (isSignedOut) void router.invalidate();
  }, [isSignedOut, router]);
  return (
    <div className="shell">
      <header>
        <div className="bar">
          <Link to="/" className="brand">
            <img src={icon} alt="" />
            Fleetledger
          </Link>
          {keys.project !== undefined && (
            <span className="soft">
              Project <bdi>{keys.project.projectId}</bdi>
            </span>
          )}
          <span className="grow" />
          <TimeControl />
          <KeyMenu />
        </div>
        <ConnectionStrip />
        {at !== undefined && <PastStrip at={at} />}
      </header>
      <Navigation />
      <main id="content">
        <Outlet />
      </main>
    </div>
  );
}

function PastStrip({ at }: { at: string }) {
  const goTo = useGoTo();
  return (
    <div className="strip past" role="note">
      <span>
        You see the fleet as it was at <strong>{describeMoment(at)}</strong>
        {!isPosition(at) && ` (${formatAge(at)})`}. Nothing here moves.
      </span>
      <button type="button" className="button small" onClick={() => goTo(undefined)}>
        Back to now
      </button>
    </div>
  );
}

function ConnectionStrip() {
  const connection = useConnection();
  return (
    <div role="status" aria-live="polite">
      {connection === 'lost' && (
        <p className="strip lost">
          The service does not answer. What you see is what it said last; it is asked again every
          second.
        </p>
      )}
      {connection === 'back' && (
        <p className="strip back">Connected again. Everything was read anew.</p>
      )}
    </div>
  );
}

const PROJECT_VIEWS = [
  ['/fleet', 'Fleet'],
  ['/provisioning', 'Provisioning'],
  ['/firmware', 'Firmware'],
  ['/usage', 'Usage'],
] as const;

/** Only owners may read them. */
const OWNER_VIEWS = [
  ['/webhooks', 'Webhooks'],
  ['/keys', 'Members and keys'],
] as const;

const ADMIN_VIEWS = [
  ['/operations', 'Projections'],
  ['/log', 'Log'],
  ['/projects', 'Projects'],
] as const;

function Navigation() {
  const { project, admin } = useKeys();
  return (
    <nav aria-label="Views">
      <div>
        {project !== undefined && <Links title="Project" views={viewsOf(project)} />}
        {admin !== undefined && <Links title="Operations" views={ADMIN_VIEWS} />}
      </div>
    </nav>
  );
}

type View = (typeof PROJECT_VIEWS | typeof OWNER_VIEWS | typeof ADMIN_VIEWS)[number];

function viewsOf({ role }: HeldKey): readonly View[] {
  return role === 'owner' ? [...PROJECT_VIEWS, ...OWNER_VIEWS] : PROJECT_VIEWS;
}

function Links({ title, views }: { title: string; views: readonly View[] }) {
  return (
    <div>
      <h2>{title}</h2>
      <ul>
        {views.map(([to, name]) => (
          <li key={to}>
            <Link to={to} activeOptions={{ includeSearch: false }}>
              {name}
            </Link>
          </li>
        ))}
      </ul>
    </div>
  );
}
