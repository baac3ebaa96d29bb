import type * as simulatorModule from '../../src/lorawan/simulator/simulator.ts';
import { compiled } from '../build.ts';

/** The provider: our simulator, in a process of its own. */
const options = JSON.parse(process.argv[2] ?? '') as simulatorModule.SimulatorOptions;
const { startSimulator } = await compiled<typeof simulatorModule>('lorawan/simulator/simulator.ts');
const simulator = await startSimulator(options);
process.once('SIGTERM', () => {
  void simulator.close().then(() => process.exit(0));
});
process.stdout.write(`${simulator.url}\n`);
