import { Link, useParams } from '@tanstack/react-router';
import type { CSSProperties } from 'react';
import { adminApi } from '../../api/client.ts';
import type { components } from '../../api/openapi.d.ts';
import { useChange, useRead } from '../../api/reads.ts';
import { Empty, PageHead, Problem, When } from '../../parts/states.tsx';
import { formatNumber, Json, Status, Time } from '../../parts/text.tsx';

type Rebuild = components['schemas']['Rebuild'];
type Verification = components['schemas']['Verification'];

const READ_EVERY_MS = 500;

export function RebuildView() {
  const { id = '' } = useParams({ strict: false });
  const params = { path: { id } };
  const read = useRead(
    'admin',
    ['rebuild', id],
    (signal) => adminApi.GET('/admin/rebuilds/{id}', { params, signal }),
    { everyMs: READ_EVERY_MS },
  );
  const cancel = useChange('admin', () => adminApi.DELETE('/admin/rebuilds/{id}', { params }));
  return (
    <>
      <PageHead title={`Rebuild of ${read.data?.projection ?? '…'}`} />
      <When read={read}>
        {(rebuild) => (
          <section className="card stack">
            <Head replay={rebuild} onCancel={() => cancel.mutate()} />
            <Progress share={rebuild.percent / 100} label={`${formatNumber(rebuild.percent)} %`} />
            <RebuildFacts rebuild={rebuild} />
            {cancel.error !== null && <Problem error={cancel.error} />}
          </section>
        )}
      </When>
      <BackLink />
    </>
  );
}

function RebuildFacts({ rebuild }: { rebuild: Rebuild }) {
  const { position, target, events_per_second: rate, seconds_left: left } = rebuild;
  return (
    <dl className="facts">
      <dt>Position</dt>
      <dd className="mono">
        {position} of {target}
      </dd>
      <dt>Rate</dt>
      <dd>{formatNumber(Math.round(rate))} events/s</dd>
      {left !== null && (
        <>
          <dt>Time left</dt>
          <dd>about {formatNumber(Math.ceil(left))} s</dd>
        </>
      )}
      <Times {...rebuild} />
    </dl>
  );
}

export function VerificationView() {
  const { id = '' } = useParams({ strict: false });
  const params = { path: { id } };
  const read = useRead(
    'admin',
    ['verification', id],
    (signal) => adminApi.GET('/admin/verifications/{id}', { params, signal }),
    { everyMs: READ_EVERY_MS },
  );
  const cancel = useChange('admin', () => adminApi.DELETE('/admin/verifications/{id}', { params }));
  return (
    <>
      <PageHead title={`Verification of ${read.data?.projection ?? '…'}`} />
      <When read={read}>
        {(verification) => (
          <div className="stack">
            <section className="card stack">
              <Head replay={verification} onCancel={() => cancel.mutate()} />
              <VerificationFacts verification={verification} />
              {cancel.error !== null && <Problem error={cancel.error} />}
            </section>
            <Differences verification={verification} />
          </div>
        )}
      </When>
      <BackLink />
    </>
  );
}

function VerificationFacts({ verification }: { verification: Verification }) {
  return (
    <dl className="facts">
      <dt>Rows compared</dt>
      <dd>{formatNumber(verification.rows)}</dd>
      <dt>Rows that differ</dt>
      <dd>{formatNumber(verification.differing_total)}</dd>
      <dt>Position</dt>
      <dd className="mono">{verification.position}</dd>
      <Times {...verification} />
    </dl>
  );
}

function Differences({ verification }: { verification: Verification }) {
  const { status, differing, differing_total: total } = verification;
  if (status !== 'completed') return null;
  if (total === 0) {
    return (
      <div className="card">
        <Empty title="No row differs">
          <p>The live tables hold exactly what the log says.</p>
        </Empty>
      </div>
    );
  }
  return (
    <section className="stack" aria-label="Rows that differ">
      <h2>
        {formatNumber(total)} rows differ
        {total > differing.length && `; the first ${differing.length}`}
      </h2>
      {differing.map(({ table, key, live, replayed }) => (
        <details key={`${table} ${JSON.stringify(key)}`} className="card">
          <summary>
            <code>{table}</code> <code>{JSON.stringify(key)}</code>
          </summary>
          <div className="cards">
            <div>
              <h3>Live</h3>
              <Json value={live} />
            </div>
            <div>
              <h3>From the log</h3>
              <Json value={replayed} />
            </div>
          </div>
        </details>
      ))}
    </section>
  );
}

interface Replay {
  readonly status: string;
  readonly started_at: string;
  readonly ended_at: string | null;
  readonly error: string | null;
}

function Head({ replay, onCancel }: { replay: Replay; onCancel: () => void }) {
  return (
    <>
      <div className="row" role="status">
        <Status value={replay.status} />
        <span className="grow" />
        {replay.status === 'running' && (
          <button type="button" className="button small" onClick={onCancel}>
            Cancel
          </button>
        )}
      </div>
      {replay.error !== null && <p className="notice bad">{replay.error}</p>}
    </>
  );
}

function Times({ started_at: startedAt, ended_at: endedAt }: Replay) {
  return (
    <>
      <dt>Started</dt>
      <dd>
        <Time value={startedAt} />
      </dd>
      {endedAt !== null && (
        <>
          <dt>Ended</dt>
          <dd>
            <Time value={endedAt} />
          </dd>
        </>
      )}
    </>
  );
}

export function Progress({ share, label }: { share: number; label: string }) {
  return (
    <div
      className="meter"
      role="progressbar"
      aria-valuenow={Math.round(share * 100)}
      aria-label="Progress"
      aria-valuetext={label}
    >
      <span style={{ '--share': share } as CSSProperties} />
    </div>
  );
}

function BackLink() {
  return (
    <p>
      <Link to="/operations">All projections</Link>
    </p>
  );
}
