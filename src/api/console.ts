import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Router, type RequestHandler } from 'express';
import helmet from 'helmet';
import { forwardedPrefix } from './forwarded-prefix.ts';
import { page } from './page.ts';

/**
 * Where the build leaves the console, seen from this file's source and from what is built of it.
 */
export const CONSOLE_FOLDER = fileURLToPath(new URL('../../dist/console', import.meta.url));

/**
 * Names of assets hold a digest of their content, so a browser never needs to ask for one again.
 */
const FOREVER = 'public, max-age=31536000, immutable';
const ASSET_TYPES: Readonly<Record<string, string>> = {
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
};

/**
 * The web console at `/console`: its page for every path below, as its routes are the browser's,
 * and its assets. Undefined where the console was not built.
 */
export function consoleRouter(folder: string): Router | undefined {
  const index = path.join(folder, 'index.html');
  if (!existsSync(index)) return undefined;
  const html = readFileSync(index, 'utf8');
  const router = Router();
  router.use('/console', securityPolicy());
  page(router, '/console/assets/:file', sendAsset(path.join(folder, 'assets')));
  page(router, '/console{/*path}', (request, response) => {
    response.setHeader('Content-Type', 'text/html; charset=utf-8');
    response.setHeader('Cache-Control', 'no-cache');
    response.end(html.replace('<base href="/', `<base href="${forwardedPrefix(request)}/`));
  });
  return router;
}

/** Scripts and styles come from this process alone, and nothing of the page asks another host. */
function securityPolicy(): RequestHandler {
  return helmet.contentSecurityPolicy({
    useDefaults: false,
    directives: {
      defaultSrc: ["'none'"],
      baseUri: ["'self'"],
      connectSrc: ["'self'"],
      formAction: ["'none'"],
      frameAncestors: ["'none'"],
      imgSrc: ["'self'"],
      scriptSrc: ["'self'"],
      styleSrc: ["'self'"],
    },
  });
}

function sendAsset(folder: string): RequestHandler {
  return (request, response, next) => {
    const name = path.basename(String(request.params['file']));
    const type = ASSET_TYPES[path.extname(name)];
    const file = path.join(folder, name);
    if (type === undefined || !existsSync(file)) {
      next('router');
      return;
    }
    const isCompressed = request.acceptsEncodings('br') === 'br' && existsSync(`${file}.br`);
    const headers = { 'Content-Type': type, 'Cache-Control': FOREVER, Vary: 'Accept-Encoding' };
    response.sendFile(isCompressed ? `${name}.br` : name, {
      root: folder,
      cacheControl: false,
      headers: isCompressed ? { ...headers, 'Content-Encoding': 'br' } : headers,
    });
  };
}
