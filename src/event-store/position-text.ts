import { LedgerError } from '../shared/errors.ts';
import type { Position } from './port.ts';

/** The position as clients carry it: it names its log, and is opaque to them. */
export function formatPosition(logId: string, position: Position): string {
  return `${logId}-${position.toString()}`;
}

const POSITION = /^([0-9a-f]{8})-(0|[1-9][0-9]{0,18})$/;

/** Whether a text has the form of a position, of this or another log. */
export function isPositionText(text: string): boolean {
  return POSITION.test(text);
}

/**
 * @throws LedgerError `position-of-another-log`; `validation-failed` when the text is no position
 * at all
 */
export function parsePosition(logId: string, text: string): Position {
  const match = POSITION.exec(text);
  if (match === null) {
    throw new LedgerError(
      'validation-failed',
      `'${text.slice(0, 64)}' is not a position: send one as an answer gave it in ` +
        'Fleetledger-Position.',
    );
  }
  if (match[1] !== logId) {
    throw new LedgerError(
      'position-of-another-log',
      'The position belongs to another log: read again without it to get a current one.',
    );
  }
  return BigInt(match[2] ?? '') as Position;
}
