import { useQuery, type UseQueryResult } from '@tanstack/react-query';
import { asOf } from '../../api/as-of.ts';
import { bodyOf, projectApi } from '../../api/client.ts';
import { formatBytes, Status } from '../../parts/text.tsx';
import { useMoment } from '../../time/moment.ts';

const FRESH_MS = 30_000;

interface Twin {
  readonly firmware: readonly {
    readonly component: string;
    readonly version: string;
    readonly downgraded_from: string | null;
  }[];
  readonly usage_this_month: number | string | null;
}

/** The list of devices says neither version nor usage, so rows in sight ask for their own twin. */
function useTwin(id: string): UseQueryResult<Twin> {
  const at = useMoment();
  return useQuery({
    queryKey: ['twin', id, at],
    queryFn: ({ signal }) =>
      bodyOf(
        projectApi.GET('/devices/{id}', {
          params: { path: { id }, query: asOf('/devices/{id}', at) },
          signal,
        }),
      ),
    staleTime: FRESH_MS,
  });
}

export function VersionsCell({ id }: { id: string }) {
  const { data } = useTwin(id);
  if (data === undefined) return null;
  if (data.firmware.length === 0) return <span className="soft">none reported</span>;
  return data.firmware.map(({ component, version, downgraded_from: before }) => (
    <span key={component} className="cut" title={`${component} ${version}`}>
      {component !== 'main' && <span className="soft">{component} </span>}
      {version} {before !== null && <Status value="downgraded">down from {before}</Status>}
    </span>
  ));
}

export function UsageCell({ id }: { id: string }) {
  const { data } = useTwin(id);
  return data === undefined ? null : <span>{formatBytes(data.usage_this_month)}</span>;
}
