/** What a child that registers batches of DevEUIs is told. */
export interface ProvisioningOrder {
  readonly databaseUrl: string;
  readonly providerUrl: string;
  readonly batches: number;
  readonly size: number;
}

export interface ProvisioningResult {
  readonly elapsedMs: number;
  /** When each batch was complete, after the request. */
  readonly endedMs: readonly number[];
  readonly maxRssBytes: number;
}
