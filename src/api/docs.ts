import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { Router, type Response } from 'express';
import helmet from 'helmet';
import type { oas31 } from 'zod-openapi';
import { forwardedPrefix } from './forwarded-prefix.ts';
import { page } from './page.ts';

const SWAGGER_UI_FOLDER = dirname(
  createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'),
);

/** What the page needs. The package has a start page, too, which points at another host. */
const SWAGGER_UI_FILES = ['swagger-ui.css', 'swagger-ui-bundle.js', 'favicon-32x32.png'];

/** `/openapi.json`, and `/docs` to try it out: everything comes from this process. */
export function docsRouter(document: oas31.OpenAPIObject): Router {
  const router = Router();
  page(router, '/openapi.json', (request, response) => {
    send(response, 'application/json', JSON.stringify(below(forwardedPrefix(request), document)));
  });
  const policy = helmet.contentSecurityPolicy({
    directives: {
      defaultSrc: ["'self'"],
      // Swagger UI styles its elements inline, and draws its icons from data URIs.
      styleSrc: ["'self'", "'unsafe-inline'"],
      imgSrc: ["'self'", 'data:'],
      fontSrc: ["'self'"],
      upgradeInsecureRequests: null,
    },
  });
  router.use('/docs', policy);
  page(router, '/docs', (request, response) => {
    send(response, 'text/html', docsPage(forwardedPrefix(request)));
  });
  page(router, '/docs/start.js', (request, response) => {
    send(response, 'text/javascript', startScript(forwardedPrefix(request)));
  });
  for (const file of SWAGGER_UI_FILES) {
    page(router, `/docs/${file}`, (_request, response) => {
      response.sendFile(file, { root: SWAGGER_UI_FOLDER });
    });
  }
  return router;
}

/** The text depends on where a proxy serves it, so caches keep one for each prefix. */
function send(response: Response, contentType: string, text: string): void {
  response.setHeader('Vary', 'X-Forwarded-Prefix');
  response.setHeader('Content-Type', `${contentType}; charset=utf-8`);
  response.end(text);
}

/** The document with the address of the API below a prefix. */
function below(prefix: string, document: oas31.OpenAPIObject): oas31.OpenAPIObject {
  const { servers = [] } = document;
  return {
    ...document,
    servers: servers.map((server) => ({ ...server, url: prefix + server.url })),
  };
}

const docsPage = (prefix: string): string => `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <title>Fleetledger API</title>
    <link rel="stylesheet" href="${prefix}/docs/swagger-ui.css" />
    <link rel="icon" type="image/png" href="${prefix}/docs/favicon-32x32.png" />
  </head>
  <body>
    <div id="docs"></div>
    <script src="${prefix}/docs/swagger-ui-bundle.js"></script>
    <script src="${prefix}/docs/start.js"></script>
  </body>
</html>
`;

/** Keys that are pasted into the page are gone with it: the browser does not store them. */
const startScript = (prefix: string): string => `SwaggerUIBundle({
  url: '${prefix}/openapi.json',
  dom_id: '#docs',
  persistAuthorization: false,
  validatorUrl: null,
});
`;
