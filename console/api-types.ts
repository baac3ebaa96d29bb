/**
 * Writes the types of the API to `console/src/api/openapi.d.ts`, made of this service's OpenAPI
 * document: all that the console knows of the service. Only answers in JSON that are no problem are
 * kept: every problem has one shape, and tables and streams are read as they come.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { adminRoutes } from '../src/api/admin/admin.ts';
import { openApiDocument } from '../src/api/openapi.ts';
import { domainRoutes } from '../src/domains.ts';

const CONSOLE = path.resolve(import.meta.dirname);
const TYPES = path.join(CONSOLE, 'src/api/openapi.d.ts');

// Routes are documented without being answered, so nothing is asked of their parts.
const nothing = new Proxy({}, { get: () => ({}) }) as never;
const routes = [...(await domainRoutes(nothing, nothing)), ...adminRoutes(nothing)];
const document = structuredClone(openApiDocument(routes, '/api/v1'));
for (const operations of Object.values(document.paths ?? {})) {
  for (const operation of Object.values(operations) as Operation[]) keepAnswers(operation);
}

const folder = mkdtempSync(path.join(tmpdir(), 'fleetledger-openapi-'));
try {
  const file = path.join(folder, 'openapi.json');
  writeFileSync(file, JSON.stringify(document));
  const cli = path.join(CONSOLE, 'node_modules/openapi-typescript/bin/cli.js');
  execFileSync(process.execPath, [cli, file, '--output', TYPES], { stdio: 'pipe' });
} finally {
  rmSync(folder, { recursive: true });
}

interface Operation {
  responses: Record<string, { headers?: unknown; content?: Record<string, unknown> }>;
  parameters?: { in: string }[];
}

function keepAnswers(operation: Operation): void {
  const kept = Object.entries(operation.responses).filter(([status]) => status < '300');
  for (const [, response] of kept) {
    delete response.headers;
    const json = response.content?.['application/json'];
    if (json !== undefined) response.content = { 'application/json': json };
  }
  operation.responses = Object.fromEntries(kept);
  operation.parameters = (operation.parameters ?? []).filter(
    (parameter) => parameter.in !== 'header',
  );
}
