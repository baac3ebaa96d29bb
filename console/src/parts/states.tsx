import type { ReactNode } from 'react';
import { ApiError } from '../api/client.ts';
import { isTimeless, type ReadPath } from '../api/as-of.ts';
import { describeMoment, useMoment } from '../time/moment.ts';
import { Copy } from './text.tsx';

/** What went wrong, with what whoever is asked for help needs: the code and the correlation id. */
export function Problem({ error }: { error: Error }) {
  const api = error instanceof ApiError ? error : undefined;
  return (
    <div className="notice bad" role="alert">
      <p>
        <strong>{api?.title ?? 'The console failed'}</strong>
      </p>
      <p>{error.message}</p>
      {api !== undefined && api.fields.length > 0 && (
        <ul>
          {api.fields.map(({ path, message }) => (
            <li key={path}>
              <code>{path}</code> {message}
            </li>
          ))}
        </ul>
      )}
      {api !== undefined && (
        <p className="small soft row">
          <span>
            Code <code>{api.code}</code>
          </span>
          {api.correlationId !== undefined && (
            <>
              <span>
                Correlation id <code>{api.correlationId}</code>
              </span>
              <Copy text={api.correlationId} label="Copy id" />
            </>
          )}
        </p>
      )}
    </div>
  );
}

export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="empty">
      <h2>{title}</h2>
      {children}
    </div>
  );
}

/** Takes the room that the content will take, so that nothing jumps. */
export function Loading({ lines = 6 }: { lines?: number }) {
  return (
    <div className="stack" role="status">
      <span className="hidden-but-read">Loading</span>
      {Array.from({ length: lines }, (_line, index) => (
        <div key={index} className="skeleton" />
      ))}
    </div>
  );
}

interface Loaded<Body> {
  readonly data: Body | undefined;
  readonly error: Error | null;
}

/** The content once it is there; an error beside what was read before, rather than in its place. */
export function When<Body>({
  read: { data, error },
  lines,
  children,
}: {
  read: Loaded<Body>;
  lines?: number;
  children: (body: Body) => ReactNode;
}) {
  return (
    <>
      {error !== null && <Problem error={error} />}
      {data === undefined ? error === null && <Loading lines={lines} /> : children(data)}
    </>
  );
}

/** Said wherever the service cannot answer for the moment that the rest of the page shows. */
export function NowOnly({ what, path }: { what: string; path: ReadPath }) {
  const at = useMoment();
  if (at === undefined || !isTimeless(path)) return null;
  return (
    <div className="notice past" role="note">
      <p>
        <strong>{what} as of now.</strong> The service cannot answer this for a past moment, so it
        does not show {describeMoment(at)}.
      </p>
    </div>
  );
}

export function PageHead({
  title,
  note,
  children,
}: {
  title: ReactNode;
  note?: ReactNode;
  children?: ReactNode;
}) {
  return (
    <div className="page-head">
      <div>
        <h1>{title}</h1>
        {note !== undefined && <p>{note}</p>}
      </div>
      {children !== undefined && <div className="row">{children}</div>}
    </div>
  );
}
