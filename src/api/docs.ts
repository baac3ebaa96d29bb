import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { Router } from 'express';
import helmet from 'helmet';
import type { oas31 } from 'zod-openapi';
import { page } from './page.ts';

const SWAGGER_UI_FOLDER = dirname(
  createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'),
);

/** What the page needs. The package has a start page, too, which points at another host. */
const SWAGGER_UI_FILES = ['swagger-ui.css', 'swagger-ui-bundle.js', 'favicon-32x32.png'];

/** `/openapi.json`, and `/docs` to try it out: everything comes from this process. */
export function docsRouter(document: oas31.OpenAPIObject): Router {
  const router = Router();
  const text = JSON.stringify(document);
  page(router, '/openapi.json', (_request, response) => {
    response.setHeader('Content-Type', 'application/json; charset=utf-8');
    response.end(text);
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
  page(router, '/docs', (_request, response) => {
    response.setHeader('Content-Type', 'text/html; charset=utf-8');
    response.end(PAGE);
  });
  page(router, '/docs/start.js', (_request, response) => {
    response.setHeader('Content-Type', 'text/javascript; charset=utf-8');
    response.end(START);
  });
  for (const file of SWAGGER_UI_FILES) {
    page(router, `/docs/${file}`, (_request, response) => {
      response.sendFile(file, { root: SWAGGER_UI_FOLDER });
    });
  }
  return router;
}

const PAGE = `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <title>Fleetledger API</title>
    <link rel="stylesheet" href="/docs/swagger-ui.css" />
    <link rel="icon" type="image/png" href="/docs/favicon-32x32.png" />
  </head>
  <body>
    <div id="docs"></div>
    <script src="/docs/swagger-ui-bundle.js"></script>
    <script src="/docs/start.js"></script>
  </body>
</html>
`;

/** Keys that are pasted into the page are gone with it: the browser does not store them. */
const START = `SwaggerUIBundle({
  url: '/openapi.json',
  dom_id: '#docs',
  persistAuthorization: false,
  validatorUrl: null,
});
`;
