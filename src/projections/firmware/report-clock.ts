/**
 * No device is older: a clock that shows an earlier time was reset, to 1970 or to its year of make.
 */
const PLAUSIBLE_SINCE = new Date('2015-01-01T00:00:00Z');

export type ReportClock = 'plausible' | 'implausible';

export function clockOf(reportedAt: Date): ReportClock {
  return reportedAt < PLAUSIBLE_SINCE ? 'implausible' : 'plausible';
}

/**
 * The time that orders the reports of a device: the device's own time where it is plausible and not
 * after the arrival, else the time of arrival. A clock that was reset would leave an old version
 * current, and a clock that is ahead would hide the next version until that time has come.
 */
export function orderingTime(reportedAt: Date, receivedAt: Date): Date {
  if (clockOf(reportedAt) === 'implausible') return receivedAt;
  return reportedAt < receivedAt ? reportedAt : receivedAt;
}
