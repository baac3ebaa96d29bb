import { useNavigate, useSearch } from '@tanstack/react-router';
import { projectApi } from '../../api/client.ts';
import { usePages, useRead } from '../../api/reads.ts';
import { asOf } from '../../api/as-of.ts';
import { Empty, Loading, Problem, When } from '../../parts/states.tsx';
import { Snippet, Time } from '../../parts/text.tsx';
import { useMoment } from '../../time/moment.ts';
import { settersOf, type Revision } from './setters.ts';
import { Tree } from './tree.tsx';

/** The state of the device's sensor: any revision, what changed in it, and any two side by side. */
export function StateHistory({ sensorId }: { sensorId: string | null }) {
  if (sensorId === null) {
    return (
      <Empty title="No sensor is linked">
        <p>The state of a device is that of its sensor. Link one with PATCH /devices.</p>
      </Empty>
    );
  }
  return <Revisions sensorId={sensorId} />;
}

/** The newest revision at the moment bounds the slider, as the history itself takes no moment. */
function Revisions({ sensorId }: { sensorId: string }) {
  const at = useMoment();
  const newest = useRead('project', ['sensor', sensorId], (signal) =>
    projectApi.GET('/sensors/{id}', {
      params: { path: { id: sensorId }, query: asOf('/sensors/{id}', at) },
      signal,
    }),
  );
  return (
    <When read={newest}>
      {({ revision }) =>
        revision === 0 ? (
          <NeverPatched sensorId={sensorId} />
        ) : (
          <Slider sensorId={sensorId} newest={revision} />
        )
      }
    </When>
  );
}

function NeverPatched({ sensorId }: { sensorId: string }) {
  const url = new URL(`../api/v1/sensors/${encodeURIComponent(sensorId)}`, document.baseURI).href;
  return (
    <Empty title="The sensor has no state yet">
      <p>The first patch gives it one:</p>
      <Snippet
        text={`curl -X PATCH ${url} -H "Authorization: Bearer $DEVICE_KEY" \\\n  -H 'Content-Type: application/json' -d '{"data":{"temperature":21}}'`}
      />
    </Empty>
  );
}

function Slider({ sensorId, newest }: { sensorId: string; newest: number }) {
  const search = useSearch({ strict: false });
  const navigate = useNavigate();
  const revision = bounded(search.revision, newest) ?? newest;
  const comparedWith = bounded(search.from, newest) ?? revision - 1;
  const set = (change: { revision?: string; from?: string }): void => {
    void navigate({ to: '.', search: (before) => ({ ...before, ...change }), replace: true });
  };
  return (
    <div className="stack">
      <section className="card stack" aria-label="Revision">
        <div className="row">
          <Step label="Older" to={revision - 1} newest={newest} onChange={set} />
          <label className="grow">
            Revision {revision} of {newest}
            <input
              type="range"
              min={1}
              max={newest}
              value={revision}
              onChange={(event) => set({ revision: event.target.value })}
            />
          </label>
          <Step label="Newer" to={revision + 1} newest={newest} onChange={set} />
          <label>
            Compared with revision
            <input
              type="number"
              min={1}
              max={newest}
              value={Math.max(comparedWith, 1)}
              onChange={(event) => set({ from: event.target.value || undefined })}
            />
          </label>
          {search.from !== undefined && (
            <button type="button" className="button small" onClick={() => set({ from: undefined })}>
              The one before
            </button>
          )}
        </div>
      </section>
      <Compared sensorId={sensorId} revision={revision} comparedWith={comparedWith} />
      <History
        sensorId={sensorId}
        newest={newest}
        shown={revision}
        onShow={(shown) => set({ revision: String(shown) })}
      />
    </div>
  );
}

function bounded(text: string | undefined, newest: number): number | undefined {
  const revision = Number(text);
  if (text === undefined || !Number.isInteger(revision) || revision < 1) return undefined;
  return Math.min(revision, newest);
}

interface StepProps {
  readonly label: string;
  readonly to: number;
  readonly newest: number;
  readonly onChange: (change: { revision: string }) => void;
}

function Step({ label, to, newest, onChange }: StepProps) {
  return (
    <button
      type="button"
      className="button"
      disabled={to < 1 || to > newest}
      onClick={() => onChange({ revision: String(to) })}
    >
      {label}
    </button>
  );
}

interface ComparedProps {
  readonly sensorId: string;
  readonly revision: number;
  readonly comparedWith: number;
}

/** The state at a revision, with what differs from another one marked. */
function Compared({ sensorId, revision, comparedWith }: ComparedProps) {
  const shown = useRevision(sensorId, revision);
  const other = useRevision(sensorId, comparedWith);
  const before = comparedWith < 1 ? {} : other.data?.data.current;
  return (
    <div className="cards">
      <section className="card" aria-label={`Revision ${revision}`}>
        <div className="card-head">
          <h2>Revision {revision}</h2>
          <span className="small soft">
            {shown.data !== undefined && <Time value={shown.data.updated_at} />}
          </span>
        </div>
        <When read={shown}>{({ data }) => <Tree value={data.current} />}</When>
      </section>
      <section className="card" aria-label="What changed">
        <h2>{comparedWith < 1 ? 'All of it is new' : `Changed since revision ${comparedWith}`}</h2>
        {other.error !== null && comparedWith >= 1 && <Problem error={other.error} />}
        {shown.data === undefined || before === undefined ? (
          <Loading />
        ) : (
          <Tree value={shown.data.data.current} before={before} />
        )}
      </section>
    </div>
  );
}

function useRevision(sensorId: string, revision: number) {
  return useRead(
    'project',
    ['sensor', sensorId, revision],
    (signal) =>
      projectApi.GET('/sensors/{id}', {
        params: { path: { id: sensorId }, query: { revision } },
        signal,
      }),
    // A revision that was recorded stays as it is.
    { everyMs: false, isEnabled: revision >= 1 },
  );
}

interface HistoryProps {
  readonly sensorId: string;
  readonly newest: number;
  readonly shown: number;
  readonly onShow: (revision: number) => void;
}

/** Who set what, and when: the last patch of each member up to the shown revision. */
function History({ sensorId, newest, shown, onShow }: HistoryProps) {
  const pages = usePages('project', ['history', sensorId], (cursor, signal) =>
    projectApi.GET('/sensors/{id}/history', {
      params: { path: { id: sensorId }, query: { limit: 200, ...cursor } },
      signal,
    }),
  );
  const revisions: readonly Revision[] = pages.items.filter(({ revision }) => revision <= newest);
  const setters = settersOf(revisions, shown);
  if (pages.isLoading) return <Loading />;
  return (
    <div className="cards">
      <section className="card" aria-label="Who and when">
        <h2>Who set it, and when</h2>
        {pages.error !== null && <Problem error={pages.error} />}
        {setters.length === 0 && <p className="soft">Load older patches to see who set what.</p>}
        <dl className="facts">
          {setters.map(({ path, revision, recordedAt, actor }) => (
            <div key={path} style={{ display: 'contents' }}>
              <dt className="mono">{path}</dt>
              <dd>
                <bdi className="mono">{actor}</bdi>, <Time value={recordedAt} />{' '}
                <button type="button" className="button small" onClick={() => onShow(revision)}>
                  Revision {revision}
                </button>
              </dd>
            </div>
          ))}
        </dl>
      </section>
      <section className="card" aria-label="Patches">
        <h2>Patches</h2>
        <ol className="stack patches">
          {revisions.slice(0, 200).map(({ revision, patch, recorded_at: recordedAt }) => (
            <li key={revision}>
              <button
                type="button"
                className="button small"
                aria-pressed={revision === shown}
                onClick={() => onShow(revision)}
              >
                Revision {revision}
              </button>
              <Time value={recordedAt} />
              <code>{JSON.stringify(patch)}</code>
            </li>
          ))}
        </ol>
        {pages.hasMore && (
          <button type="button" className="button" onClick={pages.loadMore}>
            Load older patches
          </button>
        )}
      </section>
    </div>
  );
}
