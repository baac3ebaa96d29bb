import { ATTACKS, type Target } from './attacks.ts';

/** Runs one attack for some time, in a process of its own: its work is not the service's. */
const { name, target, durationMs } = JSON.parse(process.argv[2] ?? '') as {
  readonly name: string;
  readonly target: Target;
  readonly durationMs: number;
};
const attack = ATTACKS[name];
if (attack === undefined) throw new Error(`there is no attack '${name}'`);
await attack(target, AbortSignal.timeout(durationMs));
process.stdout.write('{}', () => process.exit(0));
