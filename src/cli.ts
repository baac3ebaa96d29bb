#!/usr/bin/env node
import { endWhenAskedEarly, endWithShellOfNpm, ExitCode } from './cli/ending.ts';

const isService = process.argv[2] === 'serve' || process.argv[2] === 'demo';
endWhenAskedEarly(isService ? ExitCode.done : ExitCode.interrupted);
endWithShellOfNpm();
await import('./cli/program.ts');
