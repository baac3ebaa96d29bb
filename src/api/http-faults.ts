import { randomUUID } from 'node:crypto';
import { maxHeaderSize, STATUS_CODES, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { LedgerError } from '../shared/errors.ts';
import { problemHeaders, problemOf, statusOf } from './problem.ts';

/**
 * What is wrong with a message as HTTP (RFC 9112), undefined where nothing is. Node leaves both
 * rules to the application, or answers without a problem document.
 */
export function faultOfMessage({
  httpVersion,
  url = '',
  rawHeaders,
}: IncomingMessage): LedgerError | undefined {
  const hosts = rawHeaders.filter(
    (name, index) => index % 2 === 0 && name.length === 4 && name.toLowerCase() === 'host',
  ).length;
  if (hosts > 1 || (hosts === 0 && httpVersion === '1.1')) {
    return new LedgerError(
      'bad-request',
      'The request has no Host header, or several: send exactly one.',
    );
  }
  if (isOfAbsoluteForm(url) && !URL.canParse(url)) {
    return new LedgerError('bad-request', 'The request target is not a valid URL: send a path.');
  }
  return undefined;
}

/** The path and query of a request target. A proxy sends a whole URL (RFC 9112, section 3.2.2). */
export function originForm(target: string): string {
  if (!isOfAbsoluteForm(target)) return target;
  const rest = target.replace(/^https?:\/\/[^/?#]*/i, '');
  return rest.startsWith('/') ? rest : `/${rest}`;
}

function isOfAbsoluteForm(target: string): boolean {
  return /^https?:\/\//i.test(target);
}

/**
 * What Node's parser, or one of its time limits, has found wrong with what came over a connection.
 */
export function faultOfConnection({ code }: NodeJS.ErrnoException): LedgerError {
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return new LedgerError(
        'headers-too-large',
        `The headers are larger than ${maxHeaderSize / 1024} KiB: send smaller ones.`,
      );
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new LedgerError(
        'request-timeout',
        'The request did not arrive in time: send it again.',
      );
    case undefined:
    default:
      return new LedgerError('bad-request', 'The message is not a valid HTTP request.');
  }
}

/** Answers a message that never reaches a route. */
export function answerFault(response: ServerResponse, fault: LedgerError): void {
  const { status, headers, body } = faultAnswer(fault);
  response.writeHead(status, headers);
  response.end(body);
}

/** Answers where there is no message that could be answered, and closes the connection. */
export function endWithFault(socket: Socket, fault: LedgerError): void {
  const { status, headers, body } = faultAnswer(fault);
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
  const head = [`HTTP/1.1 ${status} ${STATUS_CODES[status]}`, ...lines].join('\r\n');
  socket.end(`${head}\r\n\r\n${body}`, () => socket.destroy());
}

function faultAnswer(fault: LedgerError): {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
} {
  const correlationId = randomUUID();
  const body = JSON.stringify(problemOf(fault, '/', correlationId));
  return {
    status: statusOf[fault.code],
    headers: {
      ...problemHeaders(fault),
      'X-Correlation-Id': correlationId,
      'Content-Length': String(Buffer.byteLength(body)),
      Connection: 'close',
    },
    body,
  };
}
