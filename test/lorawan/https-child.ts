import { openHttpProvider } from '../../src/lorawan/http-provider.ts';

// A process of its own: NODE_EXTRA_CA_CERTS is read when a process starts.
const [, , url = '', devEui = ''] = process.argv;
const provider = openHttpProvider({ url, timeoutMs: 30_000 });
const answer = await provider.inSlot((register) => register(devEui));
provider.close();
process.stdout.write(JSON.stringify(answer));
