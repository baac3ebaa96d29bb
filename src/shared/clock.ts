/** Where "now" comes from. Deciders never read it: time enters in the command. */
export type Clock = () => Date;

export const systemClock: Clock = () => new Date();
