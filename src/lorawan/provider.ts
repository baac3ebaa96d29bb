/** What a provider says of one DevEUI. */
export type ProviderAnswer =
  | { readonly outcome: 'registered'; readonly status: number }
  /** Somebody has it already: perhaps us, when an earlier request ended without an answer. */
  | {
      readonly outcome: 'in-use';
      readonly status: number;
      /** The status and the beginning of the body, in which the provider says why. */
      readonly reason: string;
    }
  /** No answer, or one that says nothing of the DevEUI. */
  | {
      readonly outcome: 'failed';
      /** The HTTP status; null if no answer came. */
      readonly status: number | null;
      readonly reason: string;
      /**
       * False only when the request cannot have had an effect: no connection was made, or it was
       * refused.
       */
      readonly mayBeRegistered: boolean;
      /** How long the provider asks to be left alone. */
      readonly retryAfterMs?: number;
    };

/** Asks for one DevEUI. Never throws: what goes wrong is an answer, too. */
export type Register = (devEui: string) => Promise<ProviderAnswer>;

/** The provider of the LoRaWAN network, who is paid for each DevEUI that is registered. */
export interface LorawanProvider {
  /** Its address without credentials. */
  readonly address: string;
  /**
   * Whether a batch that is with an address is with this provider: by host and port, whatever the
   * path.
   */
  isAt(address: string): boolean;
  /** The same one under another path, in the same slots, of which `sharer` has its share. */
  at(address: string, sharer: string): LorawanProvider;
  /** How many wait for a slot. */
  readonly waiting: number;
  /**
   * Runs `work` in one of the few slots for requests to it, which are shared by the sharers: one
   * that has few requests waits for the next free slot, however many another one has waiting.
   * Requests are made one after the other within it, and the slot is given back when the last has
   * ended for the provider, too.
   */
  inSlot<Result>(work: (register: Register) => Promise<Result>): Promise<Result>;
  /** Ends the requests in flight, with unknown outcome. */
  abort(): void;
  /** Gives up the connections. */
  close(): void;
}
