import { Link } from '@tanstack/react-router';
import type { CSSProperties } from 'react';
import { asOf } from '../../api/as-of.ts';
import { projectApi } from '../../api/client.ts';
import { useRead } from '../../api/reads.ts';
import { Empty, PageHead, When } from '../../parts/states.tsx';
import { formatNumber, Snippet, Time } from '../../parts/text.tsx';
import { useMoment } from '../../time/moment.ts';

interface Version {
  readonly component: string;
  readonly version: string;
  readonly devices: number;
  readonly share: number;
  readonly first_seen_at: string;
  readonly last_seen_at: string;
}

/** Which versions the fleet runs. */
export function Firmware() {
  const at = useMoment();
  const read = useRead('project', ['versions'], (signal) =>
    projectApi.GET('/firmware/versions', {
      params: { query: asOf('/firmware/versions', at) },
      signal,
    }),
  );
  return (
    <>
      <PageHead title="Firmware" note="Which versions the fleet runs, by component." />
      <When read={read}>
        {({ items }) =>
          items.length === 0 ? (
            <NoReports />
          ) : (
            <div className="stack">
              {[...Map.groupBy(items, ({ component }) => component)].map(
                ([component, versions]) => (
                  <Component key={component} component={component} versions={versions} />
                ),
              )}
            </div>
          )
        }
      </When>
    </>
  );
}

function Component({ component, versions }: { component: string; versions: readonly Version[] }) {
  const ordered = versions.toSorted((one, other) => byVersion(other.version, one.version));
  const newest = ordered[0]?.version;
  const stragglers = ordered.slice(1).reduce((sum, { devices }) => sum + devices, 0);
  return (
    <section className="card stack" aria-label={component}>
      <div className="card-head">
        <h2>{component}</h2>
        <span className="soft">
          {stragglers === 0
            ? `Every device runs ${newest}`
            : `${formatNumber(stragglers)} devices do not run ${newest}`}
        </span>
      </div>
      <div className="meter parts" aria-hidden="true">
        {ordered.map(({ version, share }, index) => (
          <span
            key={version}
            data-series={(index % 6) + 1}
            style={{ '--share': share } as CSSProperties}
          />
        ))}
      </div>
      <Versions versions={ordered} />
    </section>
  );
}

function Versions({ versions }: { versions: readonly Version[] }) {
  return (
    <div className="scrolled" tabIndex={0} role="region" aria-label="Versions">
      <table>
        <thead>
          <tr>
            <th scope="col">Version</th>
            <th scope="col" className="number">
              Devices
            </th>
            <th scope="col" className="number">
              Share
            </th>
            <th scope="col">First reported</th>
            <th scope="col">Last reported</th>
          </tr>
        </thead>
        <tbody>
          {versions.map((row, index) => (
            <tr key={row.version}>
              <th scope="row">
                <span className="legend">
                  <span>
                    <i data-series={(index % 6) + 1} />
                    {row.version}
                  </span>
                </span>
              </th>
              <td className="number">
                <Link to="/fleet" search={({ at }) => ({ at, version: row.version })}>
                  {formatNumber(row.devices)}
                </Link>
              </td>
              <td className="number">{(row.share * 100).toFixed(1)} %</td>
              <td>
                <Time value={row.first_seen_at} />
              </td>
              <td>
                <Time value={row.last_seen_at} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/**
 * SemVer precedence as far as an order of columns needs it: a release comes after its candidates.
 */
function byVersion(one: string, other: string): number {
  const [release = '', candidate] = one.split('+')[0]?.split(/-(.*)/s) ?? [];
  const [otherRelease = '', otherCandidate] = other.split('+')[0]?.split(/-(.*)/s) ?? [];
  const order = release.localeCompare(otherRelease, 'en', { numeric: true });
  if (order !== 0 || candidate === otherCandidate) return order;
  if (candidate === undefined) return 1;
  if (otherCandidate === undefined) return -1;
  return candidate.localeCompare(otherCandidate, 'en', { numeric: true });
}

function NoReports() {
  const url = new URL('../api/v1/firmware', document.baseURI).href;
  return (
    <Empty title="No version was reported yet">
      <p>A device reports its version with its own key:</p>
      <Snippet
        text={`curl -X POST ${url} -H "Authorization: Bearer $DEVICE_KEY" \\\n  -H 'Content-Type: application/json' -d '{"version":"1.0.0","timestamp":${Math.floor(Date.now() / 1_000)}}'`}
      />
    </Empty>
  );
}
