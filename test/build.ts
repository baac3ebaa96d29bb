import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

/** Builds the program once for all tests that start it as a process. */
export default async function build(): Promise<void> {
  await promisify(execFile)('npm', ['run', '--silent', 'build']);
}
