import cors from 'cors';
import type { RequestHandler } from 'express';

/** What a browser lets a page read beside the few headers that it always does. */
const EXPOSED_HEADERS = [
  'ETag',
  'Fleetledger-Deduplicated',
  'Fleetledger-Position',
  'Idempotency-Replayed',
  'Link',
  'Location',
  'RateLimit',
  'RateLimit-Policy',
  'Retry-After',
  'WWW-Authenticate',
  'X-Correlation-Id',
];
/** How long browsers may keep the answer to a preflight request. */
const PREFLIGHT_SECONDS = 600;

/**
 * Lets pages of these origins call the API (`*`: of all origins). Keys are sent in headers that a
 * page has to set itself, so no credentials of the browser are allowed.
 */
export function crossOrigin(origins: readonly string[]): RequestHandler {
  return cors({
    origin: origins.includes('*') ? '*' : [...origins],
    methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
    exposedHeaders: EXPOSED_HEADERS,
    maxAge: PREFLIGHT_SECONDS,
  });
}
