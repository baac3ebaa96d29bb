/** The source of the current time. Deciders never read it: time enters in the command. */
export type Clock = () => Date;

export const systemClock: Clock = () => new Date();
