import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { onTestFinished } from 'vitest';

/** In PEM. */
export interface Certificate {
  readonly key: string;
  readonly cert: string;
  readonly certFile: string;
}

/** A self-signed certificate for 127.0.0.1; its file is there until the test is over. */
export async function selfSignedCertificate(): Promise<Certificate> {
  const folder = await mkdtemp(path.join(tmpdir(), 'fleetledger-certificate-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const keyFile = path.join(folder, 'key.pem');
  const certFile = path.join(folder, 'cert.pem');
  const args =
    'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test';
  const names = ['-addext', 'subjectAltName=IP:127.0.0.1'];
  const files = ['-keyout', keyFile, '-out', certFile];
  await promisify(execFile)('openssl', [...args.split(' '), ...names, ...files]);
  return { key: await readFile(keyFile, 'utf8'), cert: await readFile(certFile, 'utf8'), certFile };
}
