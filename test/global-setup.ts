import type { TestProject } from 'vitest/node';
import { startStandInProcess } from './event-store/eventstoredb/stand-in-child.ts';
import { createTemplate, startTestServer } from './database/test-server.ts';

declare module 'vitest' {
  interface ProvidedContext {
    databaseServerUrl: string;
    databaseTemplate: string;
  }
}

/**
 * How long after it has decided on an append the stand-in shows its events, unless told otherwise.
 */
const STAND_IN_SHOWS_AFTER_MS = 5;

/**
 * The servers of the whole run: PostgreSQL, the one at TEST_DATABASE_URL or one of the run's own;
 * and, where the run is for EventStoreDB (`npm run test:eventstoredb`), the one at EVENTSTORE_URL
 * or a stand-in beside those of the databases (`test-log.ts`), which all show events
 * TEST_EVENTSTORE_SHOWS_AFTER_MS after it has decided on their append.
 */
export default async function setUp(project: TestProject): Promise<() => Promise<void>> {
  const endEventStore = await setUpEventStore();
  const endPostgres = await setUpPostgres(project);
  return async () => {
    await endPostgres();
    await endEventStore();
  };
}

async function setUpEventStore(): Promise<() => Promise<void>> {
  if (process.env['TEST_LOG'] !== 'eventstoredb') return async () => undefined;
  const given = process.env['EVENTSTORE_URL'];
  const showsAfterMs = process.env['TEST_EVENTSTORE_SHOWS_AFTER_MS'] ?? STAND_IN_SHOWS_AFTER_MS;
  process.env['TEST_EVENTSTORE_SHOWS_AFTER_MS'] = String(showsAfterMs);
  const standIn = given ? undefined : await startStandInProcess(Number(showsAfterMs));
  // The processes that run the tests, and those that tests start, have it from here.
  process.env['TEST_EVENTSTORE_URL'] = given ? given : standIn?.connectionString;
  return async () => standIn?.end();
}

async function setUpPostgres(project: TestProject): Promise<() => Promise<void>> {
  const given = process.env['TEST_DATABASE_URL'];
  const server = given ? undefined : await startTestServer();
  const url = given ? given : (server?.url ?? '');
  const template = await createTemplate(url);
  project.provide('databaseServerUrl', url);
  project.provide('databaseTemplate', template.name);
  return async () => {
    await template.remove();
    await server?.close();
  };
}
