// @module-tag slow
import { afterAll, beforeAll, test, vi } from 'vitest';
import { open } from '../database/embedded-server-fixture.ts';
import { EventStoreStandIn } from '../event-store/eventstoredb/stand-in.ts';
import { PROJECTION_PARTS } from '../projections/projection-versions.ts';
import { throughAnOutage } from './through-an-outage.ts';

vi.setConfig({ testTimeout: 300_000 });

let standIn: EventStoreStandIn;

beforeAll(async () => {
  standIn = await EventStoreStandIn.start();
});
afterAll(() => standIn.close());

async function settings(prefix: string): Promise<Record<string, string>> {
  return {
    DATABASE_URL: (await open()).url,
    EVENTSTORE_URL: `${standIn.connectionString}&streamPrefix=${prefix}.`,
  };
}

// Health asks the log for its head, and so do the projections for how far they are behind.
const failing = ['log', ...PROJECTION_PARTS];

test('an EventStoreDB that is killed for a minute under load costs nothing but that time', async () => {
  await throughAnOutage({
    settings: await settings('killed'),
    outageMs: 60_000,
    failing,
    goAway: () => standIn.kill(),
    comeBack: () => standIn.restart(),
    // What can be read without the log is.
    answers: [503, 200],
    isRebuilt: true,
    isWrittenTo: false,
  });
});

test('an EventStoreDB that falls silent for 30 s under load costs nothing but that time', async () => {
  await throughAnOutage({
    settings: await settings('silent'),
    outageMs: 30_000,
    failing,
    async goAway() {
      standIn.stall();
    },
    async comeBack() {
      standIn.resume();
    },
    // It answers late what it had received.
    answers: [503, 200, 201],
    isRebuilt: false,
    isWrittenTo: false,
  });
});
