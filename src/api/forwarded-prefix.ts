import type { IncomingMessage } from 'node:http';

const MAX_LENGTH = 256;
/** Segments without `.` and `..`, and none that is empty: `//host` would lead to another host. */
const PREFIX = /^(?:\/(?!\.\.?(?:\/|$))[A-Za-z0-9._~-]+)+$/;

/**
 * `X-Forwarded-Prefix`: the path that a proxy removed before it passed the request on. Links begin
 * with it. Empty without one, and for text that is no such path.
 */
export function forwardedPrefix({ headers }: Pick<IncomingMessage, 'headers'>): string {
  const given = headers['x-forwarded-prefix'];
  if (typeof given !== 'string') return '';
  // A chain of proxies lists what each of them removed, the outermost first.
  const prefix = given
    .split(',')
    .map((part) => part.trim().replace(/\/$/, ''))
    .join('');
  return prefix.length <= MAX_LENGTH && PREFIX.test(prefix) ? prefix : '';
}

/** The headers that hold paths of this service, as a client behind the proxy can follow them. */
export function withPrefix(
  headers: Readonly<Record<string, string>>,
  prefix: string,
): Readonly<Record<string, string>> {
  if (prefix === '') return headers;
  const { Location: location, Link: link, ...others } = headers;
  return {
    ...others,
    ...(location !== undefined && {
      Location: location.startsWith('/') ? prefix + location : location,
    }),
    ...(link !== undefined && { Link: link.replace(/^<\//, `<${prefix}/`) }),
  };
}
