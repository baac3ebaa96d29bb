/** No device of a fleet is older: a clock that shows less was reset, to 1970 or to the year it was made. */
const PLAUSIBLE_SINCE = new Date('2015-01-01T00:00:00Z');

export type ReportClock = 'plausible' | 'implausible';

export function clockOf(reportedAt: Date): ReportClock {
  return reportedAt < PLAUSIBLE_SINCE ? 'implausible' : 'plausible';
}

/**
 * The time by which a report takes its place among those of its device: the device's own, where that is
 * plausible and not after its arrival. A clock that was reset would leave an old version current, and one
 * that is ahead would hide the next version until the clocks of others have come as far.
 */
export function orderingTime(reportedAt: Date, receivedAt: Date): Date {
  if (clockOf(reportedAt) === 'implausible') return receivedAt;
  return reportedAt < receivedAt ? reportedAt : receivedAt;
}
