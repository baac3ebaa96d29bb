import { afterAll, beforeAll, describe, onTestFinished } from 'vitest';
import type { EventStore } from '../../src/event-store/port.ts';
import { appending } from './contract/appending.ts';
import { cutting } from './contract/cutting.ts';
import { positions } from './contract/positions.ts';
import { reading } from './contract/reading.ts';
import { repeating } from './contract/repeating.ts';
import { restarting } from './contract/restarting.ts';
import { subscribing } from './contract/subscribing.ts';

export interface AdapterUnderTest {
  /** Opens a new client on the same log (a "process" of its own); closed by the suite. */
  open(): Promise<{ store: EventStore; close(): Promise<void> }>;
  /** Tests that need a fault which is missing here are reported as skipped, by its name. */
  faults?: {
    /** Cuts the store's connections as a network would; new ones may be made at once. */
    cutConnections(): Promise<void>;
    /** Settles when the server takes connections again. Its data is kept. */
    restartServer?(): Promise<void>;
  };
}

/** What the tests of the suite work with. */
export interface LogUnderTest {
  /** A client that all tests share. */
  readonly store: EventStore;
  readonly faults: AdapterUnderTest['faults'];
  /** A client of the test's own, closed when it ends. */
  openAnother(): Promise<EventStore>;
}

export type SetUp = () => Promise<AdapterUnderTest & { tearDown(): Promise<void> }>;

/**
 * What every adapter must hold (design.md, section 4), whatever else its log holds: each test works
 * in a project of its own.
 */
export function eventStoreContract(name: string, setUp: SetUp): void {
  describeLog(name, setUp, (log) => {
    describe('appending', () => appending(log));
    describe('appending the same ids again', () => repeating(log));
    describe('reading', () => reading(log));
    describe('positions and times', () => positions(log));
    describe('subscribing', () => subscribing(log));
    describe('when connections are cut', () => cutting(log));
    describe('after a restart of the server', () => restarting(log));
  });
}

/** Its first parts alone, for a server that takes its time over appends. */
export function eventStoreAppendContract(name: string, setUp: SetUp): void {
  describeLog(name, setUp, (log) => {
    describe('appending', () => appending(log));
    describe('appending the same ids again', () => repeating(log));
  });
}

/** Its last part alone, for a server that nobody else uses meanwhile. */
export function eventStoreRestartContract(name: string, setUp: SetUp): void {
  describeLog(name, setUp, (log) => {
    describe('after a restart of the server', () => restarting(log));
  });
}

function describeLog(name: string, setUp: SetUp, tests: (log: LogUnderTest) => void): void {
  describe(`the event store contract, held by ${name}`, () => {
    let adapter: Awaited<ReturnType<SetUp>> | undefined;
    let shared: Awaited<ReturnType<AdapterUnderTest['open']>> | undefined;

    beforeAll(async () => {
      adapter = await setUp();
      shared = await adapter.open();
    });
    afterAll(async () => {
      await shared?.close();
      await adapter?.tearDown();
    });

    const log: LogUnderTest = {
      get store() {
        if (shared === undefined) throw new Error('the shared client is not open');
        return shared.store;
      },
      get faults() {
        return adapter?.faults;
      },
      async openAnother() {
        if (adapter === undefined) throw new Error('the adapter is not set up');
        const { store, close } = await adapter.open();
        onTestFinished(close);
        return store;
      },
    };

    tests(log);
  });
}
